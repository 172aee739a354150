"""Networks as backbones: feature maps of several stages instead of logits, with timm's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from designspace.models.anynet import AnyNet, stem_stride
from designspace.models.norms import freeze_norms
from designspace.models.tracing import count_module
from designspace.networks import stems
from designspace.networks.complexity import Complexity
from designspace.support.checks import whole
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature map of a backbone: (N, channels, H / reduction, W / reduction), rounded up."""

    index: int
    """Index of the map in ``out_indices``: 0 for the stem's."""
    channels: int
    reduction: int
    """Ratio of the image's height and width to the map's."""
    module: str
    """Name of the submodule that computes the map."""


class FeatureInfo:
    """Description of a backbone's feature maps, like timm's ``feature_info``; lists are in the order of the maps."""

    def __init__(self, features: Sequence[Feature], out_indices: Sequence[int]) -> None:
        self.features, self.out_indices = tuple(features), tuple(out_indices)

    def channels(self) -> list[int]:
        """Return the number of channels of each map."""
        return [self.features[index].channels for index in self.out_indices]

    def reduction(self) -> list[int]:
        """Return the ratio of the image's height and width to those of each map."""
        return [self.features[index].reduction for index in self.out_indices]

    def module_name(self) -> list[str]:
        """Return the name of the submodule that computes each map."""
        return [self.features[index].module for index in self.out_indices]

    def get_dicts(self) -> list[dict[str, int | str]]:
        """Return a dict with timm's keys for each map."""
        return [
            {"index": f.index, "num_chs": f.channels, "reduction": f.reduction, "module": f.module}
            for f in (self.features[index] for index in self.out_indices)
        ]

    def __getitem__(self, position: int) -> dict[str, int | str]:
        return self.get_dicts()[position]

    def __len__(self) -> int:
        return len(self.out_indices)


class Backbone(nn.Module):
    """A network that returns feature maps: images (N, in_channels, H, W) -> a list of maps, the largest first.

    Index 0 is the stem's map (before its max pool, if it has one), index i that of stage i. The weights have the same
    names as in an `AnyNet`; those of the head and of stages after the last map are left out.

    Args:
        model: the network; the backbone shares its modules.
        out_indices: indices of the maps in increasing order; negative ones count from the end. None for all maps.

    Raises:
        InputError: an index does not exist, or the order is not increasing.
    """

    def __init__(self, model: AnyNet, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        features = _features(model)
        indices = _resolve_indices(out_indices, len(features))
        self.network = model.network
        self.stem = model.stem
        self.has_pool = stems.get(model.network.stem.kind).has_pool
        self.stages = nn.Sequential(*list(model.stages)[: max(indices)])
        self.feature_info = FeatureInfo(features, indices)
        self.out_indices = tuple(indices)
        self.weights = model.weights

    def freeze(self, parts: int) -> Backbone:
        """Make the first parts of the network constant: the stem is the first, then each stage is one.

        Their weights are not trained, and their batch-norms become `designspace.models.norms.FrozenBatchNorm2d`, whose
        weights have the same names. Returns the backbone.

        Raises:
            InputError: there are fewer parts.
        """
        for module in [self.stem, *self.stages][: whole("frozen_stages", parts, 0, 1 + len(self.stages))]:
            freeze_norms(module).requires_grad_(False)
        return self

    def complexity(self, resolution: int = 224) -> Complexity[int]:
        """Count multiply-adds, parameters and activations for an image of ``resolution`` pixels: those of this module.

        The head and the stages that were left out do not count, dilation (``output_stride``) does, and the weights of
        constant batch-norms are not learned, so they are not parameters. With all stages this equals
        ``complexity(network, resolution, features=True)`` of `designspace.networks.complexity`.

        Raises:
            InputError: ``resolution`` is not a positive number of pixels.
        """
        return count_module(self, self.network.in_channels, whole("resolution", resolution, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, in_channels, H, W) to feature maps (N, channels, H', W')."""
        maps = []
        if self.has_pool:
            *layers, pool = self.stem.children()
            for layer in layers:
                x = layer(x)
            maps.append(x)
            x = pool(x)
        else:
            x = self.stem(x)
            maps.append(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[index] for index in self.out_indices]


def pyramid_indices(model: AnyNet) -> list[int]:
    """Return the indices of the stages whose maps make a feature pyramid: the last one of each size."""
    stages = _features(model)[1:]
    last = {feature.reduction: feature.index for feature in stages}
    return sorted(last.values())


def _features(model: AnyNet) -> list[Feature]:
    """Return all feature maps of a network."""
    network = model.network
    has_pool = stems.get(network.stem.kind).has_pool
    reduction = stem_stride(network.stem)
    module = f"stem.{[name for name, _ in model.stem.named_children()][-2]}" if has_pool else "stem"
    features = [Feature(0, network.stem.width, reduction // 2 if has_pool else reduction, module)]
    for number, (stage, modules) in enumerate(zip(network.stages, model.stages, strict=True), start=1):
        # A custom block never keeps the resolution.
        reduction *= 1 if getattr(next(modules.children()), "keeps_resolution", False) else stage.stride
        features.append(Feature(number, stage.width, reduction, f"stages.{number - 1}"))
    return features


def _resolve_indices(out_indices: Sequence[int] | None, count: int) -> list[int]:
    """Return the indices as numbers from 0."""
    indices = list(range(count)) if out_indices is None else list(out_indices)
    resolved = [index + count if index < 0 else index for index in indices]
    if not resolved or sorted(set(resolved)) != resolved or resolved[0] < 0 or resolved[-1] >= count:
        raise InputError(f"out_indices must be indices from 0 to {count - 1} in increasing order, not {indices}")
    return resolved
