"""What is known about the weights of a model beside their values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from designspace.data.presets import Preset
from designspace.models.weights import Weights
from designspace.models.weights.imagenet_classes import IMAGENET_CLASSES
from designspace.networks import catalog
from designspace.networks.network import Network
from designspace.support.checks import flag, from_fields, mapping, number, text
from designspace.support.errors import InputError

OWN_LICENCE = "yours to choose (designspace claims none)"


@dataclass(frozen=True, slots=True)
class MeasuredError:
    """The errors of a training in per cent, top-1."""

    final_error: float
    """After the last epoch."""
    best_error: float
    """The least of any epoch."""
    measured_on: str
    """The images, in words."""
    heldout_error: float | None = None
    """On held-out images; None if there were none."""

    def __post_init__(self) -> None:
        _check(self, "measured_on", "final_error best_error", "heldout_error")


@dataclass(frozen=True, slots=True)
class SeedMeans:
    """The errors of a network that was trained with several seeds, in per cent."""

    kind: str
    """Of mean: over how many seeds of which kind, in words."""
    fresh: bool
    """Whether the seeds played no part in choosing the network."""
    number: int
    mean: float
    """Of the errors that rank networks: on held-out images where there are any, else the final ones."""
    standard_deviation: float | None
    """Of the same errors; None for a single seed."""
    final_mean: float

    def __post_init__(self) -> None:
        flag("fresh", self.fresh)
        _check(self, "kind", "number mean final_mean", "standard_deviation")


@dataclass(frozen=True, slots=True)
class Selection:
    """Among how many networks of a run one was chosen."""

    run: str
    space: str
    rank: int
    """1 is the best; 0 for a network without a rank."""
    done: int
    failed: int
    unfinished: int
    trials: int
    """All networks of the run."""

    def __post_init__(self) -> None:
        _check(self, "run space", "rank done failed unfinished trials")


@dataclass(frozen=True, slots=True)
class TrainingInfo:
    """How a training went."""

    seed: int
    epochs: int
    train_s: float
    device: str
    ended: str
    """Coordinated universal time."""

    def __post_init__(self) -> None:
        _check(self, "device ended", "seed epochs train_s")


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """What was published of weights."""

    weights: str = ""
    """Source and tag."""
    top1: float | None = None
    """In per cent of ImageNet's validation images; None if it is not known."""
    top5: float | None = None
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", tuple(text("addresses", each) for each in self.addresses))
        _check(self, "weights", "", "top1 top5")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model's attribute ``weights`` says: they may be published ones, or from a run or a model folder."""

    name: str
    """What to call the model."""
    preset: Preset
    """How images must be prepared for it."""
    origin: str
    """Where the weights come from, in a sentence."""
    licence: str
    """Of the weights."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits; empty if they are not known."""
    result: MeasuredError | None = None
    seeds: SeedMeans | None = None
    """None for a network that was trained once."""
    selection: Selection | None = None
    """None unless the network is one of a run."""
    training: TrainingInfo | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The fields of the recipe that it was trained with; empty if that is not known."""
    provenance: tuple[Mapping[str, Any], ...] = ()
    """The commands that led to the weights, as far as they were noted."""
    published: PublishedFigure | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What more there is to say beside name, preset, origin, licence and classes, as plain JSON values."""
        values = {name: value for name in _SECTIONS if (value := getattr(self, name)) is not None}
        sections: dict[str, Any] = {name: dataclasses.asdict(value) for name, value in values.items()}
        if self.result is not None and self.result.heldout_error is None:
            del sections["result"]["heldout_error"]
        if self.published is not None:
            sections["published"]["addresses"] = list(self.published.addresses)
        if self.recipe:
            sections["recipe"] = dict(self.recipe)
        if self.provenance:
            sections["provenance"] = [dict(entry) for entry in self.provenance]
        return sections

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "name": self.name,
            "preset": dataclasses.asdict(self.preset),
            "origin": self.origin,
            "licence": self.licence,
            "classes": list(self.classes),
            "about": self.about,
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any], network: Network) -> ModelInfo:
        """Return the information that `to_dict` gave, for a network.

        Raises:
            InputError, KeyError, TypeError, ValueError, AttributeError: it does not hold together, or not with the
                network.
        """
        for name in ("name", "origin", "licence"):
            if not isinstance(fields[name], str):
                raise InputError(f"{name} must be a text, not {fields[name]!r}")
        given: dict[str, Any] = dict(fields["preset"])
        numbers = {name: tuple(float(value) for value in given.pop(name)) for name in ("mean", "std")}
        if not all(math.isfinite(value) for values in numbers.values() for value in values):
            raise InputError(f"mean and std must be numbers, not {numbers}")
        preset = Preset(**given, mean=numbers["mean"], std=numbers["std"])
        if len(preset.mean) != network.in_channels:
            raise InputError(
                f"mean has {len(preset.mean)} numbers, but the network takes {network.in_channels} channels"
            )
        classes = tuple(str(name) for name in fields["classes"])
        if classes and len(classes) != network.num_classes:
            raise InputError(f"there are {len(classes)} names for {network.num_classes} classes")
        return ModelInfo(
            fields["name"], preset, fields["origin"], fields["licence"], classes, **_sections(fields["about"])
        )


_SECTIONS: dict[str, Any] = {
    "result": MeasuredError,
    "seeds": SeedMeans,
    "selection": Selection,
    "training": TrainingInfo,
    "published": PublishedFigure,
}


def _sections(about: Any) -> dict[str, Any]:
    """Return the fields of `ModelInfo` that `ModelInfo.about` gave. Sections of later versions are left out."""
    given = mapping("about", about)
    found: dict[str, Any] = {
        name: _section(name, kind, given[name]) for name, kind in _SECTIONS.items() if name in given
    }
    found["recipe"] = dict(mapping("recipe", given.get("recipe", {})))
    provenance = given.get("provenance", [])
    if not isinstance(provenance, list):
        raise InputError("provenance must be a list")
    return {**found, "provenance": tuple(dict(mapping("provenance", entry)) for entry in provenance)}


def _section(name: str, kind: Any, value: Any) -> Any:
    """Return the value of a section; keys of later versions are left out."""
    known = {each.name for each in dataclasses.fields(kind)}
    return from_fields(kind, {key: item for key, item in mapping(name, value).items() if key in known})


def _check(instance: Any, texts: str, numbers: str, optional: str = "") -> None:
    """Raise `InputError` unless the fields of those names are texts, numbers, or numbers or None."""
    for name in texts.split():
        text(name, getattr(instance, name))
    for name in numbers.split():
        number(name, getattr(instance, name))
    for name in optional.split():
        if getattr(instance, name) is not None:
            number(name, getattr(instance, name))


def of_published(name: str, weights: Weights | None, in_channels: int = 3, num_classes: int = 1000) -> ModelInfo:
    """What is known about a published network with some weights; without any it has its first ones.

    Published weights are for ImageNet's classes, unless the classifier is one for other classes.

    Where the weights are adapted to another number of channels, so are mean and deviation of the images: the one of
    grey images is the mean of the three, and others take them in turn.
    """
    name = catalog.canonical_name(name)
    if weights is None:
        crop = catalog.published(name).resolution
        preset = Preset(crop=crop, resize=round(crop / 0.875))
        preset = _of_channels(preset, in_channels)
        return ModelInfo(name, preset, "first weights, drawn at random: **not trained**", OWN_LICENCE)
    published = None
    if (file := weights.about) is not None:
        addresses = tuple(download.url for download in file.downloads)
        published = PublishedFigure(file.which, file.top1, file.top5, addresses)
    classes = IMAGENET_CLASSES if published and num_classes == len(IMAGENET_CLASSES) else ()
    preset = _of_channels(weights.preset, in_channels)
    return ModelInfo(name, preset, weights.origin, weights.licence, classes, published=published)


def _of_channels(preset: Preset, count: int) -> Preset:
    """Return a preset for images with ``count`` channels."""
    mean, std = preset.mean, preset.std
    if count == len(mean):
        return preset
    if count == 1:
        return dataclasses.replace(preset, mean=(sum(mean) / len(mean),), std=(sum(std) / len(std),))
    turns = [channel % len(mean) for channel in range(count)]
    return dataclasses.replace(preset, mean=tuple(mean[i] for i in turns), std=tuple(std[i] for i in turns))
