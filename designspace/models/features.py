"""Networks as backbones: the maps of several stages instead of logits, in the conventions of timm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from designspace.models.anynet import AnyNet, stem_stride
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True)
class Feature:
    """One of a backbone's maps: (N, channels, H / reduction, W / reduction), rounded up."""

    index: int
    """0 for the stem's map, and so on: what ``out_indices`` names."""
    channels: int
    reduction: int
    """Pixels of the image for one of the map, each way."""
    module: str
    """Name of the submodule that gives it."""


class FeatureInfo:
    """What a backbone's maps are, as timm's ``feature_info`` says it. All lists are in the order of the maps."""

    def __init__(self, features: Sequence[Feature], out_indices: Sequence[int]) -> None:
        self.features, self.out_indices = tuple(features), tuple(out_indices)

    def channels(self) -> list[int]:
        """Channels of each map that is given."""
        return [self.features[index].channels for index in self.out_indices]

    def reduction(self) -> list[int]:
        """Pixels of the image for one of each map, each way."""
        return [self.features[index].reduction for index in self.out_indices]

    def module_name(self) -> list[str]:
        """Name of the submodule that gives each map."""
        return [self.features[index].module for index in self.out_indices]

    def get_dicts(self) -> list[dict[str, int | str]]:
        """Everything, with timm's keys."""
        return [
            {"index": f.index, "num_chs": f.channels, "reduction": f.reduction, "module": f.module}
            for f in (self.features[index] for index in self.out_indices)
        ]

    def __getitem__(self, position: int) -> dict[str, int | str]:
        return self.get_dicts()[position]

    def __len__(self) -> int:
        return len(self.out_indices)


class Backbone(nn.Module):
    """The maps of a network's stages: images (N, in_channels, H, W) -> a list of maps, the largest first.

    Index 0 is the stem's map (before its max pool, if it has one), index i that of stage i. The weights have the names
    that they have in an `AnyNet`, without the head's and those of stages behind the last map.

    Args:
        model: the network; its modules are taken over, not copied.
        out_indices: which maps, in rising order; negative ones count from the end. None for all.

    Raises:
        InputError: there is no map of such an index, or the order is not rising.
    """

    def __init__(self, model: AnyNet, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        features = _features(model)
        indices = _checked(out_indices, len(features))
        self.network = model.network
        self.stem = model.stem
        self.stages = nn.Sequential(*list(model.stages)[: max(indices)])
        self.feature_info = FeatureInfo(features, indices)
        self.out_indices = tuple(indices)
        self.weights = model.weights

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, in_channels, H, W) to maps (N, channels, H', W')."""
        maps = []
        if hasattr(self.stem, "pool"):
            *before, pool = self.stem.children()
            for layer in before:
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


def _features(model: AnyNet) -> list[Feature]:
    """Every map that the network has."""
    network = model.network
    pooled = hasattr(model.stem, "pool")
    reduction = stem_stride(network.stem)
    module = f"stem.{[name for name, _ in model.stem.named_children()][-2]}" if pooled else "stem"
    features = [Feature(0, network.stem.width, reduction // 2 if pooled else reduction, module)]
    for number, (stage, modules) in enumerate(zip(network.stages, model.stages, strict=True), start=1):
        reduction *= 1 if next(modules.children()).is_dense else stage.stride
        features.append(Feature(number, stage.width, reduction, f"stages.{number - 1}"))
    return features


def _checked(out_indices: Sequence[int] | None, count: int) -> list[int]:
    """Give the indices as numbers from 0."""
    indices = list(range(count)) if out_indices is None else list(out_indices)
    resolved = [index + count if index < 0 else index for index in indices]
    if not resolved or sorted(set(resolved)) != resolved or resolved[0] < 0 or resolved[-1] >= count:
        raise InputError(f"out_indices must be in rising order and name some of 0 to {count - 1}, not {indices}")
    return resolved
