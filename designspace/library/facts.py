"""What is known of trained weights, from the recipe, the result and the images of their training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.data.presets import Preset
from designspace.models.info import MeasuredError, ModelInfo, SeedMeans, Selection, TrainingInfo
from designspace.trials.recipe import Recipe
from designspace.trials.trial import TrialResult


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a model's user needs to know of the images that it was trained on."""

    size: int
    """Height and width of those that it was tested on, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()
    """Names of the classes; empty if they are not known."""


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
) -> ModelInfo:
    """Return what is known of weights that a recipe trained.

    Args:
        name: what to call the model.
        recipe: how it was trained.
        result: what came of it.
        seed: of the training.
        ended: when it ended, in seconds since 1970.
        images: of the data set.
        origin: where the weights come from, in a sentence.
        licence: of the weights.
        provenance: the commands that led to them.
        seeds: the errors of the network with several seeds.
        selection: among how many networks it was chosen.
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
    """Return how images must be prepared for what a recipe trained."""
    crop = recipe.test_size or recipe.crop_size or images.size
    return Preset(crop=crop, resize=images.size, mean=images.mean, std=images.std)


def describe_count(images: int | None) -> str:
    """Return a recipe's number of images in words."""
    return "all" if images is None else f"{images:,}"
