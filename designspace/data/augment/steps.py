"""The changes that make up an augmentation, each as a value: what is random in it is drawn first, then applied."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from designspace.data.augment import colour, geometry, policies

_TRIES = 10
"""Rectangles that are drawn for an image; the first that fits is taken."""


class Step(abc.ABC):
    """One kind of change. What is random is drawn for a whole batch, and applied to any part of it."""

    on_host: ClassVar[bool] = False
    """Whether `apply` takes what was drawn on the host, and not on the images' device."""

    @abc.abstractmethod
    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw for so many images of that size: tensors of length count, on the generator's device or the host."""

    @abc.abstractmethod
    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Change images (n, C, height, width), given what was drawn for them."""

    def size_after(self, height: int, width: int) -> tuple[int, int]:
        """Give the height and width of the images afterwards."""
        return height, width


@dataclass(frozen=True)
class Flip(Step):
    """From left to right, with probability 1/2."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose images."""
        return (torch.rand(count, generator=generator, device=generator.device) < 0.5,)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Flip the chosen ones."""
        return geometry.flip(images, *drawn)


@dataclass(frozen=True)
class PadCrop(Step):
    """A window of the image with zeros around it, at a random place."""

    padding: int
    size: int | None
    """Side of the window; None for one of the image's size."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose the windows' upper left corners, rows and columns."""
        rows, columns = self.size_after(height, width)
        places = (height + 2 * self.padding - rows + 1, width + 2 * self.padding - columns + 1)
        return (
            torch.stack([torch.randint(n, (count,), generator=generator, device=generator.device) for n in places], 1),
        )

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Cut the windows out."""
        return geometry.pad_crop(images, self.padding, drawn[0], self.size_after(*images.shape[2:]))

    def size_after(self, height: int, width: int) -> tuple[int, int]:
        """Give the window's size."""
        return (self.size, self.size) if self.size else (height, width)


@dataclass(frozen=True)
class ResizedCrop(Step):
    """A part of random area and shape, brought to one size (arXiv 1409.4842, section 6).

    Width by height is log-uniform in 3/4 to 4/3; 10 tries, and then the whole image.
    """

    area: float
    """The least part of the image's area."""
    size: int
    """Side of the result."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose rectangles."""
        uniform = torch.rand(count, 2 * _TRIES + 2, generator=generator, device=generator.device)
        areas = self.area + (1 - self.area) * uniform[:, :_TRIES]
        ratios = (4 / 3) ** (2 * uniform[:, _TRIES:-2] - 1)
        boxes, _ = geometry.first_fit(areas, ratios, uniform[:, -2:], height, width)
        return boxes

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Cut them out and resample them."""
        return geometry.resample(images, geometry.Boxes(*drawn), self.size)

    def size_after(self, height: int, width: int) -> tuple[int, int]:
        """Give the window's size."""
        return self.size, self.size


@dataclass(frozen=True)
class AutoAugment(Step):
    """One of 25 pairs of operations an image, each done with a probability of its own (arXiv 1805.09501)."""

    on_host: ClassVar[bool] = True

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose operations and their arguments."""
        return policies.draw_autoaugment(count, generator)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Do them."""
        return policies.perform(images, *drawn)


@dataclass(frozen=True)
class RandAugment(Step):
    """So many of 14 operations an image, all of one magnitude, 0 to 30 (arXiv 1909.13719)."""

    operations: int
    magnitude: float
    on_host: ClassVar[bool] = True

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose operations and their arguments."""
        return policies.draw_randaugment(count, self.operations, self.magnitude, generator)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Do them."""
        return policies.perform(images, *drawn)


@dataclass(frozen=True)
class Jitter(Step):
    """Brightness, contrast and saturation, by factors uniform in 1 - strength to 1 + strength, in random order."""

    strength: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose factors and the order of the three."""
        uniform = torch.rand(count, 6, generator=generator, device=generator.device)
        return 1 + self.strength * (2 * uniform[:, :3] - 1), uniform[:, 3:].argsort(1)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Change the colours."""
        return colour.jitter(images, *drawn)


@dataclass(frozen=True)
class Lighting(Step):
    """Normal amounts of the principal components of ImageNet's colours, one of each an image."""

    std: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose amounts."""
        return (self.std * torch.randn(count, 3, generator=generator, device=generator.device),)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Add them."""
        return colour.light(images, *drawn)


@dataclass(frozen=True, eq=False)
class Normalise(Step):
    """To mean 0 and deviation 1, float32, channels last."""

    mean: Tensor
    std: Tensor

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Subtract the mean and divide by the deviation."""
        return colour.normalise(images, self.mean, self.std)


@dataclass(frozen=True)
class Erasing(Step):
    """With some probability, a rectangle set to the data's mean (arXiv 1708.04896, algorithm 1).

    Its area is uniform in 2 to 40% of the image's, its height by width in 0.3 to 1/0.3; 10 tries, and then none. The
    mean instead of random values is what the paper calls RE-M (table 4: 4.35% instead of 4.31%).
    """

    probability: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Choose rectangles, and which of them are erased."""
        uniform = torch.rand(count, 2 * _TRIES + 3, generator=generator, device=generator.device)
        areas = 0.02 + 0.38 * uniform[:, :_TRIES]
        ratios = 0.3 + (1 / 0.3 - 0.3) * uniform[:, _TRIES : 2 * _TRIES]
        boxes, found = geometry.first_fit(areas, 1 / ratios, uniform[:, -3:-1], height, width)
        return (*boxes, found & (uniform[:, -1] < self.probability))

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Erase them."""
        return geometry.erase(images, geometry.Boxes(*drawn[:4]), drawn[4])
