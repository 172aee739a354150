"""Check whether a recipe's augmentation fits a data set. It works without torch, so it can run before loading data."""

from __future__ import annotations

import json
from typing import Any

from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe


def check_target(name: str, target: str) -> None:
    """Raise an error unless the accuracy of networks can be verified on the labels of a data set.

    Args:
        name: name of the data set.
        target: what its labels say (see `designspace.data.ImageData.target`).

    Raises:
        InputError: they are not classes.
    """
    if target != "class":
        raise InputError(f"{name} has labels for {target}, but only data sets of one class per image can be verified")


def check_labels_stay_in_place(recipe: Recipe, name: str) -> None:
    """Raise an error if a recipe moves or mixes pixels, since labels of pixels stay where they are.

    Raises:
        InputError: the recipe flips, crops, distorts, erases or mixes images.
    """
    off: dict[str, Any] = {"flip": False, "crop_padding": 0, "crop_area": 1.0, "crop_size": None, "test_size": None}
    off |= {"policy": None, "erasing": 0.0, "mixup": 0.0}
    moving = [option for option, value in off.items() if getattr(recipe, option) != value]
    if moving:
        remedy = " ".join(f"recipe.{option}={json.dumps(off[option])}" for option in moving)
        raise InputError(
            f"{name} has labels of pixels, which {', '.join(f'recipe.{option}' for option in moving)} would not move "
            f"with the images; switch them off: {remedy}"
        )


def check_augmentation(recipe: Recipe, channels: int, size: int, dtype: str = "uint8") -> None:
    """Raise an error unless the augmentation of a recipe is consistent and fits images of these channels and size.

    Raises:
        InputError: the recipe has two kinds of crops, a crop larger than the padded images, or colour operations for
            images without colours or whose values are not bytes.
    """
    if recipe.crop_area < 1 and recipe.crop_padding:
        raise InputError(
            f"recipe: crop_area {recipe.crop_area:g} and crop_padding {recipe.crop_padding} are two kinds of crops; "
            "set crop_area=1 or crop_padding=0"
        )
    if recipe.crop_area == 1 and (recipe.crop_size or 0) > size + 2 * recipe.crop_padding:
        raise InputError(
            f"recipe: crop_size {recipe.crop_size} is larger than the padded images ({size} pixels per side, and "
            f"crop_padding {recipe.crop_padding}); only random resized crops (crop_area below 1) scale images up"
        )
    for name, allowed in (("policy", (1, 3)), ("colour_jitter", (1, 3)), ("lighting", (3,))):
        if getattr(recipe, name) and channels not in allowed:
            channel_counts = " or ".join(str(number) for number in allowed)
            raise InputError(f"recipe: {name} is for images of {channel_counts} channels, but these have {channels}")
        if getattr(recipe, name) and dtype != "uint8":
            raise InputError(
                f"recipe: {name} changes colours of 8 bits (uint8), but these images are {dtype}; switch it off"
            )
