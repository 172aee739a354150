"""The published networks as modules, by name."""

from __future__ import annotations

from collections.abc import Callable

from designspace.models.anynet import AnyNet
from designspace.networks import catalog
from designspace.networks.complexity import complexity
from designspace.support.text import quantity


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a shell pattern, such as ``regnety_*``."""
    return catalog.names(pattern)


def create_model(name: str, pretrained: bool | str = False) -> AnyNet:
    """Build a published network. (Skeleton: weights, adapted ends and features follow.)"""
    return AnyNet(catalog.get(name))


def entry_point(name: str) -> Callable[..., AnyNet]:
    """Make the function of one network, as torch.hub and users of torchvision know them."""

    def build(pretrained: bool | str = False, **options: object) -> AnyNet:
        return create_model(name, pretrained, **options)

    about = catalog.published(name)
    cost = complexity(catalog.get(name), about.resolution)
    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"{name}: {quantity(int(cost.params))} parameters, {quantity(int(cost.flops))} multiply-adds at {about.resolution} "
        f"pixels, {about.top1:.1f}% top-1 on ImageNet.\n\n    {about.source}. Arguments are those of `create_model`.\n"
    )
    return build
