"""The transforms that make up an augmentation. Each draws its random values first, and then applies them."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from designspace.data.augment import colour, geometry, policies

_CANDIDATES = 10
"""Number of rectangles drawn per image; the first one that fits is taken."""


class Transform(abc.ABC):
    """A kind of change. Random values are drawn for a whole batch, and applied to any part of it."""

    on_host: ClassVar[bool] = False
    """Whether `apply` takes the drawn values on the host instead of the images' device."""

    @abc.abstractmethod
    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw random values for ``count`` images: tensors of that length, on the generator's device or the host."""

    @abc.abstractmethod
    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Change images (n, C, height, width) according to the values drawn for them."""

    def size_after(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the images afterwards."""
        return height, width


@dataclass(frozen=True)
class Flip(Transform):
    """Flip from left to right, with probability 1/2."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw which images are flipped."""
        return (torch.rand(count, generator=generator, device=generator.device) < 0.5,)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Flip the chosen images."""
        return geometry.flip(images, *drawn)


@dataclass(frozen=True, eq=False)
class PadCrop(Transform):
    """Random crop of the image padded with zeros, or with other values."""

    padding: int
    size: int | None
    """Height and width of the crop; None for the image's size."""
    fill: Tensor | None = None
    """Value of the padding in each channel, (C, 1, 1); None for 0."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the upper left corners of the crops: rows and columns."""
        rows, columns = self.size_after(height, width)
        counts = (height + 2 * self.padding - rows + 1, width + 2 * self.padding - columns + 1)
        return (
            torch.stack([torch.randint(n, (count,), generator=generator, device=generator.device) for n in counts], 1),
        )

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Pad and crop the images."""
        return geometry.pad_crop(images, self.padding, drawn[0], self.size_after(*images.shape[2:]), self.fill)

    def size_after(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the crop."""
        return (self.size, self.size) if self.size else (height, width)


@dataclass(frozen=True)
class ResizedCrop(Transform):
    """Random crop of random area and shape, resized to one size (arXiv 1409.4842, section 6).

    Width by height is log-uniform in 3/4 to 4/3. If none of 10 candidates fits, the whole image is taken.
    """

    area: float
    """Smallest fraction of the image's area."""
    size: int
    """Height and width of the result."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw rectangles."""
        uniform = torch.rand(count, 2 * _CANDIDATES + 2, generator=generator, device=generator.device)
        areas = self.area + (1 - self.area) * uniform[:, :_CANDIDATES]
        ratios = (4 / 3) ** (2 * uniform[:, _CANDIDATES:-2] - 1)
        boxes, _ = geometry.first_fit(areas, ratios, uniform[:, -2:], height, width)
        return boxes

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Crop and resample the rectangles."""
        return geometry.resample(images, geometry.Boxes(*drawn), self.size)

    def size_after(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the result."""
        return self.size, self.size


@dataclass(frozen=True)
class AutoAugment(Transform):
    """One of 25 pairs of operations per image, each operation with its own probability (arXiv 1805.09501)."""

    on_host: ClassVar[bool] = True

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw operations and their arguments."""
        return policies.draw_autoaugment(count, generator)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Apply the operations."""
        return policies.perform(images, *drawn)


@dataclass(frozen=True)
class RandAugment(Transform):
    """A number of operations per image, out of 14, all of one magnitude, 0 to 30 (arXiv 1909.13719)."""

    operations: int
    magnitude: float
    on_host: ClassVar[bool] = True

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw operations and their arguments."""
        return policies.draw_randaugment(count, self.operations, self.magnitude, generator)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Apply the operations."""
        return policies.perform(images, *drawn)


@dataclass(frozen=True)
class Jitter(Transform):
    """Brightness, contrast and saturation by factors uniform in 1 - strength to 1 + strength, in random order."""

    strength: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the factors and the order of the three."""
        uniform = torch.rand(count, 6, generator=generator, device=generator.device)
        return 1 + self.strength * (2 * uniform[:, :3] - 1), uniform[:, 3:].argsort(1)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Change the colours."""
        return colour.jitter(images, *drawn)


@dataclass(frozen=True)
class Lighting(Transform):
    """Normally distributed amounts of the principal components of ImageNet's colours, one per component and image."""

    std: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the amounts."""
        return (self.std * torch.randn(count, 3, generator=generator, device=generator.device),)

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Add the components."""
        return colour.light(images, *drawn)


@dataclass(frozen=True, eq=False)
class Normalise(Transform):
    """Normalisation to mean 0 and standard deviation 1, float32, channels last."""

    mean: Tensor
    std: Tensor

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return nothing, because nothing is random."""
        return ()

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation."""
        return colour.normalise(images, self.mean, self.std)


@dataclass(frozen=True)
class Erasing(Transform):
    """Set a rectangle to the data's mean, with some probability (arXiv 1708.04896, algorithm 1).

    Its area is uniform in 2 to 40% of the image's, its height by width in 0.3 to 1/0.3. If none of 10 candidates fits,
    nothing is erased. The paper calls the mean instead of random values RE-M (table 4: 4.35% instead of 4.31%).
    """

    probability: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw rectangles, and which of them are erased."""
        uniform = torch.rand(count, 2 * _CANDIDATES + 3, generator=generator, device=generator.device)
        areas = 0.02 + 0.38 * uniform[:, :_CANDIDATES]
        ratios = 0.3 + (1 / 0.3 - 0.3) * uniform[:, _CANDIDATES : 2 * _CANDIDATES]
        boxes, any_fits = geometry.first_fit(areas, 1 / ratios, uniform[:, -3:-1], height, width)
        return (*boxes, any_fits & (uniform[:, -1] < self.probability))

    def apply(self, images: Tensor, *drawn: Tensor) -> Tensor:
        """Erase the chosen rectangles."""
        return geometry.erase(images, geometry.Boxes(*drawn[:4]), drawn[4])
