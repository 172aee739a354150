"""Descriptions of spaces by plain values (space.yaml, ``sample file=...``), checked key by key."""

from __future__ import annotations

import dataclasses
from typing import Any

from designspace.networks.blocks import BLOCKS
from designspace.networks.network import Stem
from designspace.spaces import constraints
from designspace.spaces.axes import Axis
from designspace.spaces.latency import LatencyLimit
from designspace.spaces.parameters import NETWORK_PARAMETERS, AnyNetAxes, RegNetAxes
from designspace.spaces.space import OWN_NETWORK_AXES, DesignSpace
from designspace.spaces.template import Template
from designspace.support.checks import mapping, text
from designspace.support.errors import InputError, unknown
from designspace.support.text import shown

FAMILIES: dict[str, type[AnyNetAxes] | type[RegNetAxes]] = {"anynet": AnyNetAxes, "regnet": RegNetAxes}
KEYS = ("name", "family", "axes", "constraints", "latency", "template", *NETWORK_PARAMETERS, OWN_NETWORK_AXES)
MAX_CONSTRAINTS = 100


def space_from_dict(fields: Any) -> DesignSpace:
    """Return the space described by the values of `DesignSpace.to_dict` or of a custom file.

    ``name``, ``family`` (anynet or regnet) and ``axes`` are required. ``template`` defaults to the paper's regime,
    ``constraints`` to none, and ``radix`` to 0.

    Raises:
        InputError: a key is missing or unknown, or a value is not allowed; the error names the key.
    """
    values = mapping("a space", fields, KEYS, ("name", "family", "axes"))
    family = text("family", values["family"])
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    listed = values.get("constraints", [])
    if not isinstance(listed, list | tuple) or len(listed) > MAX_CONSTRAINTS:
        example = "[{kind: non_decreasing, parameter: width}]"
        raise InputError(f"constraints must be a list, such as {example}, not {shown(listed)}")
    template = template_from_dict(values.get("template", {}))
    own = mapping(OWN_NETWORK_AXES, values.get(OWN_NETWORK_AXES, {}))
    return DesignSpace(
        name=values["name"],
        axes=_axes(FAMILIES[family], values["axes"], template.block),
        template=template,
        own_network_axes=tuple(
            (name, _parse(f"{OWN_NETWORK_AXES}.{name}", Axis.from_dict, axis)) for name, axis in own.items()
        ),
        constraints=tuple(
            _parse(f"constraints, number {position}", constraints.from_dict, constraint)
            for position, constraint in enumerate(listed, start=1)
        ),
        latency=None if values.get("latency") is None else LatencyLimit.from_dict(values["latency"]),
        **{
            attribute: _parse(key, Axis.from_dict, values[key])
            for key, attribute in NETWORK_PARAMETERS.items()
            if key in values
        },
    )


def template_from_dict(fields: Any) -> Template:
    """Return the template described by plain values.

    Raises:
        InputError: a key is unknown or a value is not allowed; the error names the key.
    """
    values = dict(mapping("template", fields, [field.name for field in dataclasses.fields(Template)]))
    if "stem" in values:
        stem = mapping("template.stem", values["stem"], [field.name for field in dataclasses.fields(Stem)])
        values["stem"] = _parse("template.stem", lambda parts: Stem(**parts), stem)
    template: Template = _parse("template", lambda parts: Template(**parts), values)
    return template


def _axes(kind: type[AnyNetAxes] | type[RegNetAxes], fields: Any, block: str) -> AnyNetAxes | RegNetAxes:
    """Return the axes of a family, and of the own parameters of a block."""
    names = [field.name for field in dataclasses.fields(kind) if field.name != "own"]
    required = [name for name in names if name not in ("group_width", "cardinality")]
    known = [*names, *(parameter.name for parameter in BLOCKS[block].parameters)] if block in BLOCKS else None
    parsed: dict[str, Any] = {}
    for name, description in mapping("axes", fields, known, required).items():
        is_w_0 = name == "w_a" and isinstance(description, str) and description == "w_0"
        parsed[name] = None if is_w_0 else _parse(f"axes.{name}", Axis.from_dict, description)
    parsed["own"] = tuple((name, parsed.pop(name)) for name in list(parsed) if name not in names)
    axes: AnyNetAxes | RegNetAxes = _parse("axes", lambda parts: kind(**parts), parsed)
    return axes


def _parse(key: str, parser: Any, description: Any) -> Any:
    """Parse a description; an error names its key."""
    try:
        return parser(description)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
