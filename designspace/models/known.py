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
from designspace.support.errors import InputError

OWN_LICENCE = "yours to choose (designspace claims none)"


@dataclass(frozen=True, slots=True)
class Known:
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
    about: Mapping[str, Any] = field(default_factory=dict)
    """What more there is to say, as plain JSON values in sections: ``result``, ``seeds``, ``selection``,
    ``training``, ``recipe``, ``provenance``, ``published``."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "name": self.name,
            "preset": dataclasses.asdict(self.preset),
            "origin": self.origin,
            "licence": self.licence,
            "classes": list(self.classes),
            "about": dict(self.about),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any], network: Network) -> Known:
        """What `to_dict` gave, for a network.

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
        return Known(fields["name"], preset, fields["origin"], fields["licence"], classes, {**fields["about"]})


def of_published(name: str, weights: Weights | None, in_channels: int = 3, num_classes: int = 1000) -> Known:
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
        return Known(name, preset, "first weights, drawn at random: **not trained**", OWN_LICENCE)
    about = {} if weights.about is None else {"published": weights.about.to_dict()}
    classes = IMAGENET_CLASSES if about and num_classes == len(IMAGENET_CLASSES) else ()
    return Known(name, _of_channels(weights.preset, in_channels), weights.origin, weights.licence, classes, about)


def _of_channels(preset: Preset, count: int) -> Preset:
    """A preset for images of so many channels."""
    mean, std = preset.mean, preset.std
    if count == len(mean):
        return preset
    if count == 1:
        return dataclasses.replace(preset, mean=(sum(mean) / len(mean),), std=(sum(std) / len(std),))
    turns = [channel % len(mean) for channel in range(count)]
    return dataclasses.replace(preset, mean=tuple(mean[i] for i in turns), std=tuple(std[i] for i in turns))
