"""Check whether a recipe's augmentation fits a data set. It works without torch, so it can run before loading data."""

from __future__ import annotations

from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe


def check_augmentation(recipe: Recipe, channels: int, size: int) -> None:
    """Raise an error unless the augmentation of a recipe is consistent and fits images of these channels and size.

    Raises:
        InputError: the recipe has two kinds of crops, a crop larger than the padded images, or colour operations for
            images without colours.
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
