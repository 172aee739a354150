"""Information about the weights of a model: origin, licence, images, errors and training."""

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
from designspace.trials.metric import TOP1_ERROR, Metric

OWN_LICENCE = "yours to choose (designspace claims none)"


@dataclass(frozen=True, slots=True)
class MeasuredError:
    """Errors of a training, as values of a metric: by default top-1 errors in percent."""

    final_error: float
    """Error after the last epoch."""
    best_error: float
    """Best error of any epoch."""
    measured_on: str
    """Description of the images."""
    heldout_error: float | None = None
    """Error on held-out images; None if there were none."""
    metric: Metric | None = None
    """What the errors are values of; None for the default metric."""

    def __post_init__(self) -> None:
        _check(self, "measured_on", "final_error best_error", "heldout_error")
        metric: Any = self.metric  # in a file, a mapping
        if metric is not None and not isinstance(metric, Metric):
            object.__setattr__(self, "metric", Metric.from_dict(metric))

    @property
    def known_metric(self) -> Metric:
        """What the errors are values of."""
        return self.metric or TOP1_ERROR


@dataclass(frozen=True, slots=True)
class SeedMeans:
    """Mean errors in percent of a network that was trained with several seeds."""

    kind: str
    """Kind of mean as text, such as "mean over 3 fresh seeds"."""
    fresh: bool
    """Whether the seeds played no part in choosing the network."""
    number: int
    """Number of seeds."""
    mean: float
    """Mean of the errors that rank networks: on held-out images if there are any, else after the last epoch."""
    standard_deviation: float | None
    """Standard deviation of the same errors; None for a single seed."""
    final_mean: float
    """Mean of the errors after the last epoch."""

    def __post_init__(self) -> None:
        flag("fresh", self.fresh)
        _check(self, "kind", "number mean final_mean", "standard_deviation")


@dataclass(frozen=True, slots=True)
class Selection:
    """The networks of a run from which this one was chosen."""

    run: str
    space: str
    rank: int
    """1 for the best network; 0 for a network without a rank."""
    done: int
    failed: int
    unfinished: int
    trials: int
    """Number of all networks of the run."""

    def __post_init__(self) -> None:
        _check(self, "run space", "rank done failed unfinished trials")


@dataclass(frozen=True, slots=True)
class TrainingInfo:
    """Seed, epochs, duration and device of a training."""

    seed: int
    epochs: int
    train_s: float
    device: str
    ended: str
    """End of the training in Coordinated Universal Time."""

    def __post_init__(self) -> None:
        _check(self, "device ended", "seed epochs train_s")


@dataclass(frozen=True, slots=True)
class PublishedAccuracy:
    """Accuracy and addresses of published weights."""

    weights: str = ""
    """Source and tag of the weights, such as "timm:in1k"."""
    top1: float | None = None
    """Accuracy in percent on ImageNet's validation images; None if it is not known."""
    top5: float | None = None
    addresses: tuple[str, ...] = ()
    """URLs of the file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", tuple(text("addresses", address) for address in self.addresses))
        _check(self, "weights", "", "top1 top5")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Description of a model's weights, which is its attribute ``weights``."""

    name: str
    """Name of the model."""
    preset: Preset
    """How images must be prepared for the model."""
    origin: str
    """Origin of the weights as text."""
    licence: str
    """Licence of the weights."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of the logits; empty if they are not known."""
    result: MeasuredError | None = None
    seeds: SeedMeans | None = None
    """Mean errors; None for a network that was trained once."""
    selection: Selection | None = None
    """None unless the network belongs to a run."""
    training: TrainingInfo | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe with which the model was trained; empty if it is not known."""
    provenance: tuple[Mapping[str, Any], ...] = ()
    """The recorded commands that led to the weights."""
    published: PublishedAccuracy | None = None

    @property
    def about(self) -> dict[str, Any]:
        """Everything except name, preset, origin, licence and classes, as plain JSON values."""
        values = {name: value for name in _SECTIONS if (value := getattr(self, name)) is not None}
        sections: dict[str, Any] = {name: dataclasses.asdict(value) for name, value in values.items()}
        if self.result is not None:
            optional = {"heldout_error": self.result.heldout_error, "metric": self.result.metric}
            for name in (name for name, value in optional.items() if value is None):
                del sections["result"][name]
            if self.result.metric is not None:
                sections["result"]["metric"] = self.result.metric.to_dict()
        if self.published is not None:
            sections["published"]["addresses"] = list(self.published.addresses)
        if self.recipe:
            sections["recipe"] = dict(self.recipe)
        if self.provenance:
            sections["provenance"] = [dict(entry) for entry in self.provenance]
        return sections

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            "name": self.name,
            "preset": self.preset.to_dict(),
            "origin": self.origin,
            "licence": self.licence,
            "classes": list(self.classes),
            "about": self.about,
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any], network: Network) -> ModelInfo:
        """Return the information that `to_dict` described, for a network.

        Raises:
            InputError, KeyError, TypeError, ValueError, AttributeError: the fields are inconsistent, or do not fit the
                network.
        """
        for name in ("name", "origin", "licence"):
            if not isinstance(fields[name], str):
                raise InputError(f"{name} must be a text, not {fields[name]!r}")
        preset_fields: dict[str, Any] = dict(fields["preset"])
        numbers = {name: tuple(float(value) for value in preset_fields.pop(name)) for name in ("mean", "std")}
        if not all(math.isfinite(value) for values in numbers.values() for value in values):
            raise InputError(f"mean and std must be numbers, not {numbers}")
        preset = Preset(**preset_fields, mean=numbers["mean"], std=numbers["std"])
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
    "published": PublishedAccuracy,
}


def _sections(about: Any) -> dict[str, Any]:
    """Return the fields of `ModelInfo` from `ModelInfo.about`. Sections of later versions are left out."""
    values = mapping("about", about)
    sections: dict[str, Any] = {
        name: _section(name, kind, values[name]) for name, kind in _SECTIONS.items() if name in values
    }
    sections["recipe"] = dict(mapping("recipe", values.get("recipe", {})))
    provenance = values.get("provenance", [])
    if not isinstance(provenance, list):
        raise InputError("provenance must be a list")
    return {**sections, "provenance": tuple(dict(mapping("provenance", entry)) for entry in provenance)}


def _section(name: str, kind: Any, value: Any) -> Any:
    """Return the value of a section; keys of later versions are left out."""
    names = {section_field.name for section_field in dataclasses.fields(kind)}
    return from_fields(kind, {key: item for key, item in mapping(name, value).items() if key in names})


def _check(instance: Any, texts: str, numbers: str, optional: str = "") -> None:
    """Raise `InputError` unless the named fields are texts, numbers, or numbers or None."""
    for name in texts.split():
        text(name, getattr(instance, name))
    for name in numbers.split():
        number(name, getattr(instance, name))
    for name in optional.split():
        if getattr(instance, name) is not None:
            number(name, getattr(instance, name))


def published_info(name: str, weights: Weights | None, in_channels: int = 3, num_classes: int = 1000) -> ModelInfo:
    """Return the information about a published network with some weights, or with its initial ones (None).

    The names of the classes are ImageNet's if the weights are published and the classifier has 1000 classes.

    If the weights are adapted to another number of channels, mean and standard deviation of the images are too: for
    grey images they are the means over the three channels; other numbers of channels repeat the three in turn.
    """
    name = catalog.canonical_name(name)
    if weights is None:
        crop = catalog.published(name).resolution
        preset = Preset(crop=crop, resize=round(crop / 0.875))
        preset = _with_channels(preset, in_channels)
        return ModelInfo(name, preset, "random initial weights: **not trained**", OWN_LICENCE)
    published = None
    if (file := weights.published) is not None:
        addresses = tuple(download.url for download in file.downloads)
        published = PublishedAccuracy(file.qualified_tag, file.top1, file.top5, addresses)
    classes = IMAGENET_CLASSES if published and num_classes == len(IMAGENET_CLASSES) else ()
    preset = _with_channels(weights.preset, in_channels)
    return ModelInfo(name, preset, weights.origin, weights.licence, classes, published=published)


def _with_channels(preset: Preset, count: int) -> Preset:
    """Return a preset for images with ``count`` channels."""
    mean, std = preset.mean, preset.std
    if count == len(mean):
        return preset
    if count == 1:
        return dataclasses.replace(preset, mean=(sum(mean) / len(mean),), std=(sum(std) / len(std),))
    indices = [channel % len(mean) for channel in range(count)]
    return dataclasses.replace(preset, mean=tuple(mean[i] for i in indices), std=tuple(std[i] for i in indices))
