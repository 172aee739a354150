"""Membership of a network in a space, with the reasons against it.

A network is *realised*, while a space's axes and orders apply to *drawn* values. So a network is in the space if any
draw realises to it. The search covers the few settings that realise to each stage.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks.blocks import BLOCKS
from designspace.networks.columns import NetworkColumns
from designspace.networks.counting import count
from designspace.networks.network import Network, Stage
from designspace.networks.parameters import Pairs
from designspace.networks.quantities import COUNTED
from designspace.networks.regnet import quantized_linear
from designspace.spaces.constraints import STAGE_PARAMETERS, Limit, Order, StageRange
from designspace.spaces.parameters import AnyNetAxes, RegNetAxes, column_prefix, groups_axis, realise
from designspace.spaces.template import POOL_DOWNSAMPLINGS
from designspace.support.display import shortened

if TYPE_CHECKING:  # space.py imports this module
    from designspace.spaces.space import DesignSpace


@dataclass(frozen=True, slots=True)
class Membership:
    """Result of a membership test; true if there are no reasons against membership."""

    reasons: tuple[str, ...]
    """Reasons against membership, each with the stage or parameter that it is about."""

    def __bool__(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        return "\n".join(self.reasons) or "a member"


class StageSettings(NamedTuple):
    """Drawn values that realise to one stage of a network."""

    depth: int
    width: int
    bottleneck_ratio: float
    groups: int
    """Group width or cardinality, depending on the space."""
    own: tuple[tuple[str, Any], ...] = ()
    """Own parameters of the block."""

    def value(self, parameter: str) -> Any:
        """Return the drawn value of a parameter."""
        own = dict(self.own)
        name = "groups" if parameter in ("group_width", "cardinality") else parameter
        return own[name] if name in own else getattr(self, name)


def contains(space: DesignSpace, network: Network) -> Membership:
    """Return whether any draw from the space gives this network, with the reasons if none does."""
    reasons = list(_template_reasons(space, network))
    if len(network.stages) == space.num_stages:
        if isinstance(space.axes, AnyNetAxes):
            reasons += _anynet_reasons(space, space.axes, network)
        else:
            reasons += _regnet_reasons(space.axes, network)
    limits = [constraint for constraint in space.constraints if isinstance(constraint, Limit)]
    quantities = dict.fromkeys(["flops", *(limit.quantity for limit in limits)])
    columns = count(NetworkColumns.of(network), space.template.resolution, quantities)
    costs = {quantity: int(column[0]) for quantity, column in columns.items()}
    for limit in limits:
        if not limit.allows(costs):
            unit = COUNTED[limit.quantity].unit
            reasons.append(f"{limit} (it has {costs[limit.quantity]:,}{f' {unit}' if unit else ''})")
    return Membership(tuple(reasons))


def _template_reasons(space: DesignSpace, network: Network) -> Iterator[str]:
    """Yield the differences from the space's template and network axes."""
    template = space.template
    strides = tuple(stage.stride for stage in network.stages)
    if len(strides) != space.num_stages:
        yield f"the space has {space.num_stages} stages, the network {len(strides)}"
    elif strides != template.strides:
        yield f"the space has strides {template.strides}, the network {strides}"
    for name in ("block", "se_ratio", "shortcut", "head", "head_width", "num_classes", "in_channels"):
        expected, actual = getattr(template, name), getattr(network, name)
        if expected != actual:
            yield f"the space has {name} {expected}, the network {actual}"
    if network.stem.kind != template.stem.kind:
        yield f"the space has a stem {template.stem.kind!r}, the network {network.stem.kind!r}"
    pooled = network.downsampling in POOL_DOWNSAMPLINGS
    if space.downsampling_first is None and network.downsampling != template.downsampling:
        yield f"the space has downsampling {template.downsampling!r}, the network {network.downsampling!r}"
    values = {
        "radix": network.radix,
        "stem_width": network.stem.width,
        "avd_first": POOL_DOWNSAMPLINGS.index(network.downsampling) if pooled else -1,
        **{name: _own_value(network, network.parameters, name) for name, _ in space.own_network_axes},
    }
    for key, axis in space.network_axes().items():
        if values[key] not in axis.values:
            yield f"{key} {values[key]} is not among {axis.values.tolist()}"
    if space.stem_width is None and network.stem.width != template.stem.width:
        yield f"the space has stem width {template.stem.width}, the network {network.stem.width}"


def _own_value(network: Network, pairs: Pairs, name: str) -> Any:
    """Return an own parameter of a network or stage: the block's default if it is left out, None if there is none."""
    values = dict(pairs)
    if name in values or network.block not in BLOCKS:
        return values.get(name)
    return BLOCKS[network.block].default(name)


def _own_reasons(axes: AnyNetAxes | RegNetAxes, network: Network) -> list[str]:
    """Return the reasons against the own parameters of the stages."""
    reasons = []
    for number, stage in enumerate(network.stages, start=1):
        for name, axis in axes.own:
            value = _own_value(network, stage.parameters, name)
            if value not in axis.values.tolist():
                reasons.append(f"stage {number}: {name} {value} is not among {shortened(axis.values.tolist())}")
    return reasons


def _anynet_reasons(space: DesignSpace, axes: AnyNetAxes, network: Network) -> list[str]:
    """Return the reasons against the stages of an AnyNet."""
    stages, radix = network.stages, network.radix
    settings: list[list[StageSettings]] = []
    reasons = _own_reasons(axes, network)
    for number, stage in enumerate(stages, start=1):
        if stage.depth not in axes.depth.values:
            reasons.append(f"stage {number}: depth {stage.depth} is not on the axis of depths")
        if stage.bottleneck_ratio not in axes.bottleneck_ratio.values:
            allowed = axes.bottleneck_ratio.values.tolist()
            reasons.append(f"stage {number}: bottleneck ratio {stage.bottleneck_ratio:g} is not among {allowed}")
        own = tuple((name, _own_value(network, stage.parameters, name)) for name, _ in axes.own)
        of_stage = stage_settings(axes, stage, axes.width.values, radix)
        settings.append([setting._replace(own=own) for setting in of_stage])
        if not settings[-1] and not reasons:
            reasons.append(
                f"stage {number}: no drawn width and groups give width {stage.width} with group width "
                f"{stage.group_width} (bottleneck ratio {stage.bottleneck_ratio:g})"
            )
    return reasons or _range_reasons(space, network, settings) or _order_reasons(space, network, settings)


def _range_reasons(space: DesignSpace, network: Network, settings: list[list[StageSettings]]) -> list[str]:
    """Return the reasons against values outside the ranges of their stages; drop the settings outside them."""
    reasons = []
    for limit in space.constraints:
        if isinstance(limit, StageRange):
            of_stage = settings[limit.stage - 1]
            of_stage[:] = [setting for setting in of_stage if limit.allows_value(setting.value(limit.parameter))]
            if not of_stage:
                reasons.append(f"{limit} (the network has {_values(limit.parameter, network)})")
    return reasons


def stage_settings(
    axes: AnyNetAxes | RegNetAxes, stage: Stage, widths: NDArray[Any], radix: int
) -> list[StageSettings]:
    """Return the settings that realise to one stage, with a width from ``widths``."""
    width, groups = (grid.ravel() for grid in np.meshgrid(widths, groups_axis(axes).values, indexing="ij"))
    new_width, group_width = realise(axes, width, stage.bottleneck_ratio, groups, radix)
    fits = (new_width == stage.width) & (group_width == stage.group_width)
    return [
        StageSettings(stage.depth, int(w), stage.bottleneck_ratio, int(g))
        for w, g in zip(width[fits], groups[fits], strict=True)
    ]


def _order_reasons(space: DesignSpace, network: Network, settings: list[list[StageSettings]]) -> list[str]:
    """Return a reason for each order that no choice of settings meets, or one if only their combination fails."""
    orders = [constraint for constraint in space.constraints if isinstance(constraint, Order)]
    failed = [order for order in orders if not can_meet([order], settings)]
    if not failed and orders and not can_meet(orders, settings):
        return [f"no single draw meets all of: {', '.join(f'{o.parameter} {o.order}' for o in orders)}"]
    return [
        f"{order.parameter} must be {order.order.replace('_', '-')} from stage to stage, but the network has "
        f"{column_prefix(order.parameter)} = {_values(order.parameter, network)}"
        for order in failed
    ]


def _values(parameter: str, network: Network) -> str:
    """Return the parameter's values in the network as text."""
    if parameter in STAGE_PARAMETERS:
        return ", ".join(f"{getattr(stage, parameter):g}" for stage in network.stages)
    return ", ".join(str(_own_value(network, stage.parameters, parameter)) for stage in network.stages)


def can_meet(orders: Sequence[Order], settings: list[list[StageSettings]]) -> bool:
    """Return whether settings of all stages can be chosen so that all orders hold.

    An order involves only two consecutive stages, so the set of reachable settings of the last stage suffices.
    """
    reachable = set(settings[0])
    for options in settings[1:]:
        reachable = {
            current
            for previous, current in itertools.product(reachable, options)
            if all(_holds(order, previous, current) for order in orders)
        }
    return bool(reachable)


def _holds(order: Order, previous: StageSettings, current: StageSettings) -> bool:
    """Return whether two consecutive stages are in order."""
    a, b = previous.value(order.parameter), current.value(order.parameter)
    if order.order == "shared":
        return bool(a == b)
    return bool(a <= b) if order.order == "non_decreasing" else bool(a >= b)


def _regnet_reasons(axes: RegNetAxes, network: Network) -> list[str]:
    """Return the reasons against the stages of a RegNet, which need a common line, b, g and own parameters."""
    stages, radix = network.stages, network.radix
    if reasons := _own_reasons(axes, network):
        return reasons
    for name, _ in axes.own:
        values = [_own_value(network, stage.parameters, name) for stage in stages]
        if len(set(values)) > 1:
            return [f"all stages need the same {name}, not {', '.join(map(str, values))}"]
    depth, ratios = sum(stage.depth for stage in stages), {stage.bottleneck_ratio for stage in stages}
    if depth not in axes.depth.values:
        return [f"depth {depth} is not on the axis of depths"]
    if len(ratios) > 1 or ratios.pop() not in axes.bottleneck_ratio.values:
        return [f"all stages need the same bottleneck ratio, one of {axes.bottleneck_ratio.values.tolist()}"]
    # A line can give any multiple of 8, up to the largest width that could realise to the widest stage.
    widths = np.arange(8, 2 * max(stage.width for stage in stages) + 264, 8)
    settings = [stage_settings(axes, stage, widths, radix) for stage in stages]
    for groups in sorted(set.intersection(*({setting.groups for setting in options} for options in settings))):
        options = [{setting.width for setting in stage if setting.groups == groups} for stage in settings]
        if _line_exists(axes, [stage.depth for stage in stages], options):
            return []
    listed = ", ".join(f"{stage.depth} x {stage.width}" for stage in stages)
    return [f"no w_0, w_a and w_m on the axes give the stages {listed}"]


def _line_exists(axes: RegNetAxes, depths: list[int], options: list[set[int]]) -> bool:
    """Return whether some (w_0, w_a, w_m) of the axes give stages of these depths with widths from the options."""
    allowed = [np.array(sorted(option)) for option in options]
    for w_0 in axes.w_0.values[np.isin(axes.w_0.values, allowed[0])]:
        factors = axes.w_m.values
        for stage in range(1, len(depths)):
            width = np.rint(np.round(w_0 * factors**stage / 8, 9)).astype(np.int64) * 8
            factors = factors[np.isin(width, allowed[stage])]
        for w_m in factors:
            slopes = np.array([w_0], np.float64) if axes.w_a is None else axes.w_a.values
            count = len(slopes)
            rows = quantized_linear([sum(depths)] * count, [w_0] * count, slopes, [w_m] * count)
            if rows.depths.shape[1] < len(depths):
                continue
            exact = (rows.num_stages == len(depths)) & (rows.num_levels == len(depths))
            if np.any(exact & np.all(rows.depths[:, : len(depths)] == depths, axis=1)):
                return True
    return False
