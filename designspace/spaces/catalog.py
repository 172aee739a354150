"""The named design spaces.

AnyNetX A to E, each a refinement of the previous one, and RegNetX: "Designing Network Design Spaces" (arXiv 2003.13678,
table 1). AnyNetY and RegNetY: the same with squeeze-and-excitation. AnyNeSt and RegNeSt: the same families with
ResNeSt's blocks (arXiv 2004.08955). Vanilla, ResNet, ResNeXt-A and -B: "On Network Design Spaces for Visual
Recognition" (arXiv 1905.13214, section 3). MBConv and ConvNeXt: spaces around the networks of these names.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from designspace.networks.network import Stem
from designspace.networks.quantities import COUNTED
from designspace.spaces import limits
from designspace.spaces.axes import Axis, choice, log_uniform, powers_of_two
from designspace.spaces.block_axes import with_block, with_own_axes
from designspace.spaces.constraints import Cap, Order
from designspace.spaces.parameters import AnyNetAxes, RegNetAxes, with_law
from designspace.spaces.regime import auto_axes
from designspace.spaces.space import DesignSpace
from designspace.spaces.template import Template
from designspace.support.checks import plain, whole
from designspace.support.errors import InputError, unknown

_REFINEMENTS = {
    "A": None,
    "B": Order("bottleneck_ratio", "shared"),
    "C": Order("group_width", "shared"),
    "D": Order("width", "non_decreasing"),
    "E": Order("depth", "non_decreasing"),
}
_ANYNETS = tuple(f"AnyNet{kind}{letter}" for kind in "XY" for letter in _REFINEMENTS)
_REGNETS = ("RegNetX", "RegNetY", "RegNetXConstrained")
_NESTS = ("AnyNeSt", "RegNeSt")
# name: block, depths, widths, bottleneck ratios, cardinalities; depths and widths as (lowest, highest, count).
_NDS = {
    "Vanilla": ("vanilla", (1, 24, 9), (16, 256, 12), (1,), (1,)),
    "ResNet": ("basic", (1, 24, 9), (16, 256, 12), (1,), (1,)),
    "ResNeXt-A": ("bottleneck", (1, 16, 5), (16, 256, 5), (1, 2, 4), (1, 2, 4)),
    "ResNeXt-B": ("bottleneck", (1, 16, 5), (64, 1024, 5), (1, 2, 4), (1, 2, 4, 8, 16)),
}
_OF_BLOCKS = ("MBConv", "ConvNeXt")
NAMES = (*_ANYNETS, *_REGNETS, *_NESTS, *_NDS, *_OF_BLOCKS)


def anynet_axes() -> AnyNetAxes:
    """Return AnyNetX's axes: d_i <= 16, w_i <= 1024 by 8, b_i in {1, 2, 4}, g_i in {1, 2, ..., 32} (section 3.2)."""
    return AnyNetAxes(
        depth=log_uniform(1, 16),
        width=log_uniform(8, 1024, 8),
        bottleneck_ratio=choice([1, 2, 4]),
        group_width=powers_of_two(1, 32),
    )


def regnet_axes() -> RegNetAxes:
    """Return RegNet's axes: d < 64, w_0 and w_a <= 256, 1.5 <= w_m <= 3; b and g as in AnyNetX (section 3.3).

    The paper gives neither grids nor a lower end for w_0 and w_a. The ends and grids here are pycls's: from 8, w_0 by
    8, w_a by 0.1, w_m by 0.001. The probabilities are pycls's only with the law ``pycls``: pycls rounds up, while by
    default numbers are rounded to the nearest value (see `designspace.spaces.axes.log_uniform`).
    """
    return RegNetAxes(
        depth=log_uniform(1, 63),
        w_0=log_uniform(8, 256, 8),
        w_a=log_uniform(8, 256, 0.1),
        w_m=log_uniform(1.5, 3, 0.001),
        bottleneck_ratio=choice([1, 2, 4]),
        group_width=powers_of_two(1, 32),
    )


def log_spaced(low: int, high: int, count: int) -> Axis:
    """Return an axis of equally likely numbers at equal ratios from low to high, rounded (1905.13214, table 1)."""
    return choice([int(value) for value in np.rint(np.geomspace(low, high, count))])


def space(
    name: str,
    *,
    stages: int | None = None,
    strides: Sequence[int] | None = None,
    stem: str | None = None,
    stem_width: int | None = None,
    in_channels: int = 3,
    num_classes: int = 1000,
    resolution: int = 224,
    block: str | None = None,
    head: str | None = None,
    head_width: int | None = None,
    se_ratio: float | None = None,
    bottleneck_ratio: Sequence[float] | None = None,
    group_width: Sequence[int] | None = None,
    radix: Sequence[int] | int | None = None,
    regime: str = "paper",
    law: str | None = None,
    **others: Any,
) -> DesignSpace:
    """Return a named space at a resolution and within limits on costs; None stands for the space's default.

    Args:
        name: one of `NAMES`.
        stages: number of stages.
        strides: stride of each stage.
        stem: kind of stem (`designspace.networks.stems`), or your own, such as ``mine:Patchify``.
        stem_width: output channels of the stem.
        in_channels: channels of the images.
        num_classes: number of classes.
        resolution: side of the square images, in pixels.
        block: one of `block_axes.NAMES` or of the built-in kinds (`designspace.networks.blocks`), or your own.
        head: kind of head (`designspace.networks.heads`), or your own.
        head_width: channels of a 1x1 convolution before the average pool; 0 for none.
        se_ratio: squeeze-and-excitation width as a fraction of the block's input width; 0 for none.
        bottleneck_ratio: values of the axis of b; below 1 for inverted bottlenecks.
        group_width: values of the axis of g; [1] for depthwise convolutions.
        radix: splits of split attention (ResNeSt), or several values to make it an axis; 0 for none.
        regime: ``paper`` for the paper's axes, ``auto`` for axes that fit ``flops`` (`designspace.spaces.regime`).
        law: ``pycls`` for pycls's probabilities of all log-uniform axes (`designspace.spaces.axes.log_uniform`).
        others: limits on counted quantities, such as ``flops=[2e6, 4e6]`` or ``peak_memory="320KB"`` (see `limits`),
            and values of own parameters of the block, and of the stem (``stem_...``) and the head (``head_...``), such
            as ``kernel_size=[3, 5]``: a list, one value, or the description of an axis.

    Raises:
        InputError: a name is unknown, or a value out of range.
    """
    base, bands = _named(name), limits.bands({quantity: others.pop(quantity, None) for quantity in COUNTED})
    images = {"in_channels": in_channels, "num_classes": num_classes, "resolution": resolution}
    changes = {"head": head, "head_width": head_width, "se_ratio": se_ratio, **images}
    template = _template(base.template, stem, stem_width, _strides(base.template.strides, stages, strides), changes)
    axes = auto_axes(regime, base.axes, bands.get("flops"), template, block)
    given = {"bottleneck_ratio": bottleneck_ratio, "group_width": group_width, "se_ratio": se_ratio, "radix": radix}
    result = dataclasses.replace(base, template=template, stem_width=base.stem_width if stem_width is None else None)
    result = _changed(result, axes, law, block, {key: value for key, value in given.items() if value is not None})
    return with_own_axes(result, others, _OPTIONS).refine(*bands.values())


_OPTIONS = (
    *(parameter for parameter in inspect.signature(space).parameters if parameter not in ("name", "others")),
    *COUNTED,
)
"""Names of the options of `space`."""


def _template(
    template: Template,
    stem: str | None,
    stem_width: int | None,
    strides: tuple[int, ...],
    changes: Mapping[str, Any],
) -> Template:
    """Return a template with changes; None keeps the template's value."""
    return dataclasses.replace(
        template,
        stem=Stem(stem or template.stem.kind, template.stem.width if stem_width is None else stem_width),
        strides=strides,
        **{name: value for name, value in changes.items() if value is not None},
    )


def _changed(
    space: DesignSpace, axes: AnyNetAxes | RegNetAxes, law: str | None, block: str | None, given: Mapping[str, Any]
) -> DesignSpace:
    """Return a space with other axes, whose law and values are those that are given, and with another block."""
    if law is not None:
        axes = with_law(axes, law)
    if "bottleneck_ratio" in given:
        axes = dataclasses.replace(axes, bottleneck_ratio=choice(_list("bottleneck_ratio", given["bottleneck_ratio"])))
    if "group_width" in given:
        if axes.group_width is None:
            raise InputError(f"{space.name} draws cardinalities, so group_width does not apply")
        axes = dataclasses.replace(axes, group_width=choice(_list("group_width", given["group_width"])))
    radix = _radix_axis(given["radix"]) if "radix" in given else space.radix
    result = dataclasses.replace(space, axes=axes, radix=radix)
    return result if block is None else with_block(result, block, list(given))


def _named(name: str) -> DesignSpace:
    """Return a space as in its paper, without a budget."""
    if name in _ANYNETS:
        result = DesignSpace(name, anynet_axes(), Template(se_ratio=0.25 if name[-2] == "Y" else 0.0))
        refinements = [order for letter, order in _REFINEMENTS.items() if order is not None and letter <= name[-1]]
        return result.refine(*refinements)
    if name == "RegNetXConstrained":
        return _constrained_regnetx()
    if name in _REGNETS:
        return DesignSpace(name, regnet_axes(), Template(se_ratio=0.25 if name[-1] == "Y" else 0.0))
    if name in _NESTS:
        return _nest(name)
    if name in _NDS:
        return _nds(name)
    if name in _OF_BLOCKS:
        return _mbconv() if name == "MBConv" else _convnext()
    raise unknown("space", name, NAMES)


def _constrained_regnetx() -> DesignSpace:
    """Return RegNetX with b = 1, 12 <= d <= 28, w_m >= 2, and capped parameters and activations (section 4, figure 13).

    The caps are the lines that the paper fits to its best networks (figure 12): 3.0 + 5.5 f million parameters and
    6.5 sqrt(f) million activations for f billion multiply-adds.
    """
    axes = dataclasses.replace(
        regnet_axes(), depth=log_uniform(12, 28), w_m=log_uniform(2, 3, 0.001), bottleneck_ratio=choice([1])
    )
    caps = (Cap("params", 3e6, 5.5e-3, 1), Cap("activations", 0, 6.5e6 / 1e9**0.5, 0.5))
    return DesignSpace("RegNetXConstrained", axes, Template(), constraints=caps)


def _nest(name: str) -> DesignSpace:
    """Return a space around ResNeSt: deep stem, average-pool shortcuts and downsampling, radix and cardinality.

    AnyNeSt contains ResNeSt-50, 101, 200 and 269 and the seven ``fast`` models of the ablation (with b = 3.2 or 8/3 for
    a group width of 40 or 24 in the first stage).
    """
    template = Template(Stem("deep", 64), (1, 2, 2, 2), shortcut="avg_pool", downsampling="avg_pool_after")
    groups: dict[str, Any] = {"bottleneck_ratio": choice([1, 2, 8 / 3, 3.2, 4]), "cardinality": powers_of_two(1, 32)}
    axes: AnyNetAxes | RegNetAxes
    if name == "AnyNeSt":
        axes = AnyNetAxes(depth=log_uniform(1, 48), width=log_uniform(8, 2048, 8), **groups)
    else:
        axes = dataclasses.replace(regnet_axes(), group_width=None, **groups)
    return DesignSpace(
        name,
        axes,
        template,
        radix=choice([0, 1, 2, 4]),
        stem_width=choice([64, 128]),
        downsampling_first=choice([0, 1]),
    )


def _nds(name: str) -> DesignSpace:
    """Return a space of "On Network Design Spaces": three stages after a 3x3 stem of width 16."""
    block, depths, widths, ratios, cardinalities = _NDS[name]
    axes = AnyNetAxes(
        depth=log_spaced(*depths),
        width=log_spaced(*widths),
        bottleneck_ratio=choice(ratios),
        cardinality=choice(cardinalities),
    )
    return DesignSpace(name, axes, Template(Stem("cifar", 16), (1, 2, 2), block=block))


def _mbconv() -> DesignSpace:
    """Return a space around EfficientNet (arXiv 1905.11946), which contains EfficientNet-B0 and -B1."""
    axes = AnyNetAxes(
        depth=log_uniform(1, 8),
        width=log_uniform(8, 384, 8),
        bottleneck_ratio=choice([1]),
        cardinality=choice([1]),
        own=(("expansion", choice([1, 3, 6])), ("kernel_size", choice([3, 5, 7]))),
    )
    template = Template(Stem("imagenet", 32), (1, 2, 2, 2, 1, 2, 1), block="mbconv", se_ratio=0.25, head_width=1280)
    return DesignSpace("MBConv", axes, template, constraints=(Order("width", "non_decreasing"),))


def _convnext() -> DesignSpace:
    """Return a space around ConvNeXt (arXiv 2201.03545), which contains ConvNeXt-T and -S."""
    axes = AnyNetAxes(
        depth=log_uniform(1, 36),
        width=log_uniform(32, 1024, 32),
        bottleneck_ratio=choice([1]),
        cardinality=choice([1]),
        own=(("expansion", choice([2, 3, 4])), ("kernel_size", choice([3, 5, 7, 9]))),
    )
    template = Template(Stem("patch", 96), (1, 2, 2, 2), block="convnext", head="layer_norm")
    return DesignSpace("ConvNeXt", axes, template, constraints=(Order("width", "non_decreasing"),))


def _strides(default: tuple[int, ...], stages: int | None, strides: Sequence[int] | None) -> tuple[int, ...]:
    """Return the given strides, or the default ones cut to the number of stages or continued with 2."""
    stages = None if stages is None else whole("stages", stages, 1)
    if strides is None:
        return (*default, *(2,) * (stages or 0))[: stages or len(default)]
    listed = tuple(_list("strides", strides))
    if stages is not None and len(listed) != stages:
        raise InputError(f"strides {list(listed)} has {len(listed)} values, but stages is {stages}")
    return listed


def _list(name: str, values: Sequence[Any]) -> list[Any]:
    """Return the values of an axis or of all stages as a list of plain numbers."""
    listed = values.tolist() if hasattr(values, "tolist") else values  # an array or a Series
    if not isinstance(listed, (list, tuple, range)):
        raise InputError(f"{name} must be a list, such as [1,2], not {values!r}")
    return [plain(value) for value in listed]


def _radix_axis(radix: Sequence[int] | int) -> Axis:
    """Return the axis of one or several radices."""
    values = [plain(radix)] if isinstance(plain(radix), int) else _list("radix", radix)  # type: ignore[arg-type]
    return choice([whole("radix", value, 0) for value in values])
