"""Spaces as a person or a program writes them down (space.yaml, ``sample file=...``), checked key by key."""

from __future__ import annotations

import dataclasses
from typing import Any

from designspace.networks.network import Stem
from designspace.spaces import constraints
from designspace.spaces.axes import Axis
from designspace.spaces.parameters import NETWORK_PARAMETERS, AnyNetAxes, RegNetAxes
from designspace.spaces.space import DesignSpace
from designspace.spaces.template import Template
from designspace.support.checks import mapping, text
from designspace.support.errors import InputError, unknown
from designspace.support.text import shown

FAMILIES: dict[str, type[AnyNetAxes] | type[RegNetAxes]] = {"anynet": AnyNetAxes, "regnet": RegNetAxes}
KEYS = ("name", "family", "axes", "constraints", "template", *NETWORK_PARAMETERS)
MAX_CONSTRAINTS = 100


def space_from_dict(fields: Any) -> DesignSpace:
    """Return the space that `DesignSpace.to_dict` described, or one that a person wrote down.

    ``name``, ``family`` (anynet or regnet) and ``axes`` are needed. Without ``template`` the networks are those of the
    paper's regime, without ``constraints`` there are none, and without ``radix`` it is 0.

    Raises:
        InputError: a key is missing or unknown, or a value is not allowed; the error names the key.
    """
    given = mapping("a space", fields, KEYS, ("name", "family", "axes"))
    family = text("family", given["family"])
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    listed = given.get("constraints", [])
    if not isinstance(listed, list | tuple) or len(listed) > MAX_CONSTRAINTS:
        example = "[{kind: non_decreasing, parameter: width}]"
        raise InputError(f"constraints must be a list, as {example}, not {shown(listed)}")
    return DesignSpace(
        name=given["name"],
        axes=_axes(FAMILIES[family], given["axes"]),
        template=template_from_dict(given.get("template", {})),
        constraints=tuple(
            _in_words(f"constraints, number {position}", constraints.from_dict, constraint)
            for position, constraint in enumerate(listed, start=1)
        ),
        **{
            attribute: _in_words(key, Axis.from_dict, given[key])
            for key, attribute in NETWORK_PARAMETERS.items()
            if key in given
        },
    )


def template_from_dict(fields: Any) -> Template:
    """Return the template that some plain values describe.

    Raises:
        InputError: a key is unknown or a value is not allowed; the error names the key.
    """
    values = dict(mapping("template", fields, [field.name for field in dataclasses.fields(Template)]))
    if "stem" in values:
        stem = mapping("template.stem", values["stem"], [field.name for field in dataclasses.fields(Stem)])
        values["stem"] = _in_words("template.stem", lambda parts: Stem(**parts), stem)
    template: Template = _in_words("template", lambda parts: Template(**parts), values)
    return template


def _axes(kind: type[AnyNetAxes] | type[RegNetAxes], fields: Any) -> AnyNetAxes | RegNetAxes:
    """The axes of a family."""
    names = [field.name for field in dataclasses.fields(kind)]
    needed = [name for name in names if name not in ("group_width", "cardinality")]
    given = mapping("axes", fields, names, needed)
    axes: dict[str, Any] = {}
    for name, described in given.items():
        is_w_0 = name == "w_a" and isinstance(described, str) and described == "w_0"
        axes[name] = None if is_w_0 else _in_words(f"axes.{name}", Axis.from_dict, described)
    made: AnyNetAxes | RegNetAxes = _in_words("axes", lambda parts: kind(**parts), axes)
    return made


def _in_words(where: str, make: Any, described: Any) -> Any:
    """Make a value of its description; an error says where that stands."""
    try:
        return make(described)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
