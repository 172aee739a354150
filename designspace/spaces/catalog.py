"""The named design spaces: each AnyNetX is the one before it, refined ("Designing Network Design Spaces", table 1)."""

from __future__ import annotations

from collections.abc import Sequence

from designspace.networks.network import Stem
from designspace.spaces.axes import Axis, choice, log_uniform, powers_of_two
from designspace.spaces.constraints import QUANTITIES, Band, Order
from designspace.spaces.regime import auto_axes
from designspace.spaces.space import AnyNetAxes, DesignSpace, RegNetAxes, Template
from designspace.support.errors import InputError, unknown

Limits = Sequence[float] | None
"""Lowest and highest value, both allowed; None for no limit."""

_REFINEMENTS = {
    "A": None,
    "B": Order("bottleneck_ratio", "shared"),
    "C": Order("group_width", "shared"),
    "D": Order("width", "non_decreasing"),
    "E": Order("depth", "non_decreasing"),
}
NAMES = (*(f"AnyNetX{letter}" for letter in _REFINEMENTS), "RegNetX", "RegNetY")


def anynet_axes() -> AnyNetAxes:
    """AnyNetX: d_i <= 16 and w_i <= 1024 (by 8) log-uniform, b_i in {1, 2, 4}, g_i in {1, 2, ..., 32} (section 3.2)."""
    return AnyNetAxes(
        depth=log_uniform(1, 16),
        width=log_uniform(8, 1024, 8),
        bottleneck_ratio=choice([1, 2, 4]),
        group_width=powers_of_two(1, 32),
    )


def regnet_axes() -> RegNetAxes:
    """RegNet: d < 64, w_0 and w_a <= 256, 1.5 <= w_m <= 3, log-uniform; b and g as in AnyNetX (section 3.3).

    The paper gives no lower end for w_0 and w_a nor the grids; those are pycls's: from 8, w_0 by 8, w_a by 0.1,
    w_m by 0.001.
    """
    return RegNetAxes(
        depth=log_uniform(1, 63),
        w_0=log_uniform(8, 256, 8),
        w_a=log_uniform(8, 256, 0.1),
        w_m=log_uniform(1.5, 3, 0.001),
        bottleneck_ratio=choice([1, 2, 4]),
        group_width=powers_of_two(1, 32),
    )


def space(
    name: str,
    *,
    stages: int = 4,
    strides: Sequence[int] | None = None,
    stem: str = "imagenet",
    stem_width: int = 32,
    in_channels: int = 3,
    num_classes: int = 1000,
    resolution: int = 224,
    radix: Sequence[int] | int = 0,
    regime: str = "paper",
    flops: Limits = None,
    params: Limits = None,
    activations: Limits = None,
) -> DesignSpace:
    """A named space, at a resolution and within a compute budget.

    Args:
        name: one of `NAMES`.
        stages: number of stages.
        strides: stride of each stage; 2 for all unless given.
        stem: kind of stem (`designspace.networks.network.Stem`).
        stem_width: channels that the stem gives.
        in_channels: channels of the images.
        num_classes: classes to tell apart.
        resolution: side of the square images, in pixels.
        radix: splits of split attention (ResNeSt), or several to choose from as one more axis; 0 for none.
        regime: ``paper`` for the paper's axes, ``auto`` for axes that suit the limits on flops
            (`designspace.spaces.regime`).
        flops: least and most multiply-adds.
        params: least and most parameters.
        activations: least and most activations.

    Raises:
        InputError: an unknown name, or a value out of range.
    """
    if name not in NAMES:
        raise unknown("space", name, NAMES)
    if isinstance(stages, bool) or not isinstance(stages, int) or stages < 1:
        raise InputError(f"stages must be a whole number >= 1, not {stages!r}")
    strides = tuple(strides) if strides is not None else (2,) * stages
    if len(strides) != stages:
        raise InputError(f"strides {list(strides)} are {len(strides)}, but stages is {stages}")
    template = Template(
        stem=Stem(stem, stem_width),
        strides=strides,
        se_ratio=0.25 if name.endswith("Y") else 0.0,
        num_classes=num_classes,
        in_channels=in_channels,
        resolution=resolution,
    )
    axes = regnet_axes() if name.startswith("RegNet") else anynet_axes()
    axes = auto_axes(regime, axes, None if flops is None else _band("flops", flops), template)
    result = DesignSpace(name, axes, template, _radix_axis(radix))
    if isinstance(axes, AnyNetAxes):
        for letter, order in _REFINEMENTS.items():
            if order is not None and letter <= name[-1]:
                result = result.refine(order)
    limits = dict(zip(QUANTITIES, (flops, params, activations), strict=True))
    return result.refine(*(_band(quantity, limit) for quantity, limit in limits.items() if limit is not None))


def _radix_axis(radix: Sequence[int] | int) -> Axis:
    """The axis of one or several radices."""
    values = [radix] if isinstance(radix, int) else list(radix)
    if any(isinstance(value, bool) or not isinstance(value, int) or value < 0 for value in values):
        raise InputError(f"radix must be whole numbers >= 0, not {values}")
    return choice(values)


def _band(quantity: str, limits: Sequence[float]) -> Band:
    """The band between two limits."""
    if not isinstance(limits, (list, tuple)) or len(limits) != 2:
        raise InputError(f"{quantity} must be [least, most], not {limits!r}")
    try:
        low, high = (float(limit) for limit in limits)
    except (TypeError, ValueError) as error:
        raise InputError(f"{quantity} must be two numbers, not {list(limits)!r}") from error
    return Band(quantity, low, high)
