"""A space in a file of one's own, completed by what a command is told about images, stem and limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from designspace.spaces.constraints import QUANTITIES
from designspace.spaces.description import space_from_dict
from designspace.spaces.space import DesignSpace
from designspace.spaces.template import Template
from designspace.support.checks import mapping
from designspace.support.errors import InputError
from designspace.support.text import shown
from designspace.support.yaml_text import read_yaml

_IN_TEMPLATE = tuple(field.name for field in dataclasses.fields(Template) if field.name not in ("stem", "block"))
_STEM = {"stem": "kind", "stem_width": "width"}
_IN_AXES = ("bottleneck_ratio", "group_width")


def read_custom_space(path: Path, told: Mapping[str, Any], usual: Mapping[str, Any]) -> DesignSpace:
    """Read a space from a file, and complete it.

    Args:
        path: a YAML file as space.yaml is, where only name, family and axes are needed.
        told: values that must hold, by the names of `catalog.space`'s parameters, as ``resolution``; None for no
            limit, or for the space's own choice.
        usual: values that hold where neither the file nor ``told`` says anything.

    Raises:
        InputError: the file describes no space, or says something else than ``told``.
        RunError: the file cannot be read.
    """
    fields = read_yaml(path)
    try:
        space_from_dict(fields)  # so that what is wrong in the file is found before it is mixed with other values
        completed = _complete(fields, told, usual)
        return space_from_dict(completed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _complete(fields: Mapping[str, Any], told: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """A description with the values that it lacks."""
    template = dict(fields.get("template", {}))
    stem = dict(mapping("template.stem", template.get("stem", {})))
    constraints = list(fields.get("constraints", []))
    completed = dict(fields)
    limited = {constraint.get("quantity") for constraint in constraints if constraint["kind"] == "band"}
    both = [(name, value, True) for name, value in told.items()]
    both += [(name, value, False) for name, value in usual.items() if name not in told]
    for name, value, must in both:
        if value is None:
            continue
        if name in QUANTITIES:
            band = {"kind": "band", "quantity": name, **_band(name, value)}
            if name not in limited:
                constraints.append(band)
            elif must and band not in constraints:
                held = next(one for one in constraints if one.get("quantity") == name and one["kind"] == "band")
                raise _disagreement(name, value, f"constraints: [{held['low']}, {held['high']}]")
        elif name in _STEM or name in _IN_TEMPLATE:
            part, key = (stem, _STEM[name]) if name in _STEM else (template, name)
            where = f"template.stem.{key}" if name in _STEM else f"template.{key}"
            if name == "stem_width" and "stem_width" in fields:
                part, key, where = completed, "stem_width", "stem_width"
            if key not in part:
                part[key] = value
            elif must and part[key] != value:
                raise _disagreement(name, value, f"{where}: {shown(part[key])}")
        elif must:
            _check_other(fields, name, value, completed)
    if stem:
        template["stem"] = stem
    return {**completed, "template": template, "constraints": constraints}


def _check_other(fields: Mapping[str, Any], name: str, value: Any, completed: dict[str, Any]) -> None:
    """Take over a radix or a number of stages; refuse what only the file can say."""
    if name == "stages":
        strides = fields.get("template", {}).get("strides", list(Template().strides))
        if value != len(strides):
            raise _disagreement(name, value, f"template.strides: {shown(strides)}")
    elif name == "radix":
        radix = {"kind": "choice", "values": value if isinstance(value, list) else [value]}
        if fields.get("radix", radix) != radix:
            raise _disagreement(name, value, f"radix: {shown(fields['radix'])}")
        completed["radix"] = radix
    elif name == "name":
        if value != fields["name"]:
            raise _disagreement(name, value, f"name: {shown(fields['name'])}")
    elif name != "regime" or value != "paper":
        parts = {"regime": "axes", "law": "law of each log_uniform axis", "block": "template.block"}
        where = f"axes.{name}" if name in _IN_AXES else parts[name]
        raise InputError(f"space.{name}={value} cannot be given with file=...; write it into the file, as {where}")


def _band(name: str, value: Any) -> dict[str, Any]:
    """The ends of a limit."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InputError(f"{name} must be [least, most], as [2e6,4e6], not {shown(value)}")
    return {"low": value[0], "high": value[1]}


def _disagreement(name: str, value: Any, held: str) -> InputError:
    """The error where the command line and the file say different things."""
    return InputError(
        f"{name} would be {shown(value)}, but the file says {held}; change the file, or leave {name} to it"
    )
