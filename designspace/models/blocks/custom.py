"""Blocks in the user's own files: their modules, built from the values of a network."""

from __future__ import annotations

from typing import Any

from torch import nn

from designspace.models.blocks.options import BlockOptions
from designspace.networks import blocks
from designspace.networks.blocks.custom import REQUIRED
from designspace.networks.network import Network, Stage
from designspace.networks.user_class import UserClass, user_class
from designspace.support.errors import InputError


def build_custom_block(network: Network, stage: Stage, in_width: int, stride: int, options: BlockOptions) -> nn.Module:
    """Build a block: (N, in_width, H, W) -> (N, stage.width, H', W').

    Raises:
        InputError: it cannot be imported or built, or does not take an option that is set.
    """
    kind = blocks.get(network.block)
    user = user_class("space.block", network.block, REQUIRED)
    shared = {
        "bottleneck_ratio": stage.bottleneck_ratio,
        "group_width": stage.group_width,
        "se_ratio": network.se_ratio,
        "radix": network.radix,
    }
    own = {**dict(stage.parameters), **network.parameters_of("block")}
    arguments = {
        "in_width": in_width,
        "width": stage.width,
        "stride": stride,
        **{name: value for name, value in shared.items() if name in kind.uses},
        **own,
        **_accepted_options(user, options),
    }
    return build(user, arguments)


def build(user: UserClass, arguments: dict[str, Any]) -> nn.Module:
    """Build a module of the user's.

    Raises:
        InputError: its constructor fails, or gives something else.
    """
    try:
        module = user.object(**arguments)
    except Exception as error:  # a custom constructor may raise anything
        call = user.call_text(arguments)
        raise InputError(f"{user.what}: {call} raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{user.what}: {user.name} must be a torch module, derived from torch.nn.Module")
    return module


def _accepted_options(user: UserClass, options: BlockOptions) -> dict[str, float]:
    """Return the options that are set, as arguments."""
    if options.keep_resolution or options.dilation > 1:
        raise InputError(f"output_stride is not possible for the custom block {user.name}")
    values = {"drop_path": options.drop_path, "drop_block": options.drop_block}
    for name, value in values.items():
        if value and name not in user.defaults:
            raise InputError(
                f"recipe.{name}={value:g} needs a block that takes {name}, but the constructor of {user.name} does not"
            )
    return {name: value for name, value in values.items() if name in user.defaults}
