"""Options with which scripts of several experiments draw and train networks on CIFAR-10."""

from __future__ import annotations

OPTIONS = (
    "space.num_classes=10",
    "space.resolution=32",
    "space.stem=cifar",
    "space.stem_width=8",
    "space.flops=[2e6,3.5e6]",
    "recipe=quick",
    "recipe.train_images=4000",
    "recipe.test_images=2000",
)
"""Networks of 2 to 3.5 million multiply-adds; ten epochs."""


def options(more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options of a study, with the data set unless ``more`` names a copy of it; ``more`` come last."""
    data = () if any(word.startswith("data=") for word in more) else ("data=cifar10",)
    return (*data, *OPTIONS, *more)
