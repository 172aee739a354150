"""Builds the description of trained weights from the recipe, the result and the images of their training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.data.presets import Preset
from designspace.models.info import MeasuredError, ModelInfo, SeedMeans, Selection, TrainingInfo
from designspace.trials.metric import Metric
from designspace.trials.recipe import Recipe
from designspace.trials.trial import TrialResult


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Properties of a model's training images that its users need."""

    size: int
    """Height and width of the test images in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()
    """Names of the classes; empty if they are not known."""
    dtype: str = "uint8"
    """Type of the images' values."""


def trained_info(
    name: str,
    recipe: Recipe,
    result: TrialResult,
    *,
    seed: int,
    ended: float,
    images: ImageFacts,
    origin: str,
    licence: str,
    provenance: Sequence[Mapping[str, Any]],
    seeds: SeedMeans | None = None,
    selection: Selection | None = None,
    metric: Metric | None = None,
) -> ModelInfo:
    """Return the description of trained weights.

    Args:
        name: name of the model.
        recipe: recipe of the training.
        result: result of the training.
        seed: seed of the training.
        ended: end of the training in seconds since 1970.
        images: properties of the data set's images.
        origin: origin of the weights as text.
        licence: licence of the weights.
        provenance: commands that led to the weights.
        seeds: mean errors of the network over several seeds.
        selection: networks of the run from which it was chosen.
        metric: what the errors are values of; None for the default metric.
    """
    return ModelInfo(
        name=name,
        preset=preset_for_recipe(recipe, images),
        origin=origin,
        licence=licence,
        classes=images.classes,
        result=MeasuredError(
            result.final_error,
            result.best_error,
            f"{describe_count(recipe.test_images)} test images of {recipe.data}",
            result.heldout_error,
            metric,
        ),
        seeds=seeds,
        selection=selection,
        training=TrainingInfo(
            seed,
            result.epochs,
            result.train_s,
            result.device,
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended)),
        ),
        recipe=recipe.to_dict(),
        provenance=tuple(provenance),
    )


def preset_for_recipe(recipe: Recipe, images: ImageFacts) -> Preset:
    """Return how images must be prepared for a model that a recipe trained."""
    crop = recipe.test_size or recipe.crop_size or images.size
    return Preset(crop=crop, resize=images.size, mean=images.mean, std=images.std, dtype=images.dtype)


def describe_count(images: int | None) -> str:
    """Return a recipe's number of images as text."""
    return "all" if images is None else f"{images:,}"
