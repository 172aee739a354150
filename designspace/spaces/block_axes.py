"""Spaces with another block, stem or head, and the axes of their own parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from designspace.networks import blocks, heads, stems
from designspace.networks.parameters import Parameter
from designspace.spaces.axes import Axis, choice
from designspace.spaces.constraints import Order
from designspace.spaces.parameters import OwnAxes
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError, suggest, unknown
from designspace.support.imported import is_import_name
from designspace.support.text import shown

NAMES = {"X": "bottleneck", "R": "bottleneck", "V": "single", "VR": "single_residual"}
"""Blocks of the paper's generalisation study (section 3.4): X; R, without groups; V, one 3x3; VR, V with shortcut."""


def with_block(space: DesignSpace, block: str, given: Sequence[str] = ()) -> DesignSpace:
    """Return a space with another block; axes of parameters that the block lacks get one value.

    Args:
        space: the space.
        block: one of `NAMES` or of `designspace.networks.blocks.BLOCKS`, or a name to import, such as ``mine:Block``.
        given: parameters whose values were chosen, so that the block must have them.

    Raises:
        InputError: the block is unknown, cannot be imported, or lacks a given parameter.
    """
    if block not in (*NAMES, *blocks.BLOCKS) and not is_import_name(block):
        raise unknown("block", block, (*NAMES, *blocks.BLOCKS))
    name = NAMES.get(block, block)
    uses = blocks.get(name).uses
    if missing := [parameter for parameter in given if parameter not in uses and block not in NAMES]:
        raise InputError(f"a {block} block has no {missing[0]}; leave out space.{missing[0]}")
    axes, template = space.axes, space.template
    has_groups = "group_width" in uses and block != "R"
    if not has_groups:
        axes = dataclasses.replace(axes, group_width=None, cardinality=choice([1]))
    if "bottleneck_ratio" not in uses:
        axes = dataclasses.replace(axes, bottleneck_ratio=choice([1]))
    template = dataclasses.replace(
        template,
        block=name,
        se_ratio=template.se_ratio if "se_ratio" in uses else 0.0,
        shortcut=template.shortcut if "shortcut" in uses else "conv",
        downsampling=template.downsampling if "downsampling" in uses else "conv",
    )
    orders_of_groups = [c for c in space.constraints if isinstance(c, Order) and c.parameter == "group_width"]
    return dataclasses.replace(
        space,
        axes=axes,
        template=template,
        radix=space.radix if "radix" in (*uses, *given) else choice([0]),
        downsampling_first=space.downsampling_first if "downsampling" in uses else None,
        constraints=tuple(c for c in space.constraints if has_groups or c not in orders_of_groups),
    )


def with_own_axes(space: DesignSpace, values: Mapping[str, Any], others: Iterable[str]) -> DesignSpace:
    """Return a space with axes for all own parameters of its block, stem and head: the given ones, or their defaults.

    Args:
        space: the space.
        values: parameter -> its values: a list, a single value, or the description of an axis.
        others: further names to suggest if a parameter does not exist.

    Raises:
        InputError: a parameter does not exist, has no default and no value, or values that it cannot take.
    """
    template = space.template
    of_block = blocks.get(template.block).parameters
    of_parts = [
        dataclasses.replace(parameter, name=f"{prefix}{parameter.name}", once=True)
        for prefix, kind in (("stem_", stems.get(template.stem.kind)), ("head_", heads.get(template.head)))
        for parameter in kind.parameters
    ]
    parameters = {parameter.name: parameter for parameter in (*of_block, *of_parts)}
    for name in values:
        if name not in parameters:
            known = [*parameters, *others]
            raise InputError(f"unknown parameter {name!r} of {template.block} blocks; {suggest(name, known)}")
    given = {**dict((*space.axes.own, *space.own_network_axes)), **values}
    own = {name: _own_axis(parameter, given, template.block) for name, parameter in parameters.items()}
    of_stages: OwnAxes = tuple((name, axis) for name, axis in own.items() if not parameters[name].once)
    return dataclasses.replace(
        space,
        axes=dataclasses.replace(space.axes, own=of_stages),
        own_network_axes=tuple((name, axis) for name, axis in own.items() if parameters[name].once),
    )


def _own_axis(parameter: Parameter, given: Mapping[str, Any], block: str) -> Axis:
    """Return the axis of a parameter: of its given values, or of its default."""
    values = given.get(parameter.name, parameter.default)
    if values is None:
        raise InputError(
            f"{block} needs values for {parameter.name}, which has no default: space.{parameter.name}=[...]"
        )
    try:
        if isinstance(values, Axis):
            return values
        if isinstance(values, Mapping):
            return Axis.from_dict(values)
        axis = choice(values if isinstance(values, list | tuple | range) else [values])
    except InputError as error:
        raise InputError(f"{parameter.name}: {error}") from error
    if parameter.default is not None and isinstance(parameter.default, str) != bool(axis.labels):
        kind = "texts" if isinstance(parameter.default, str) else "numbers"
        raise InputError(f"{parameter.name} takes {kind}, such as {parameter.default}, not {shown(values)}")
    return axis
