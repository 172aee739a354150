"""Spaces in custom files, completed by a command's options for images, stem and limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from designspace.networks.quantities import COUNTED
from designspace.spaces.block_axes import with_own_axes
from designspace.spaces.description import space_from_dict
from designspace.spaces.limits import ends
from designspace.spaces.space import DesignSpace
from designspace.spaces.template import Template
from designspace.support.checks import mapping
from designspace.support.errors import InputError
from designspace.support.text import shown
from designspace.support.yaml_text import read_yaml

_IN_TEMPLATE = tuple(field.name for field in dataclasses.fields(Template) if field.name not in ("stem", "block"))
_STEM = {"stem": "kind", "stem_width": "width"}


def read_custom_space(path: Path, required: Mapping[str, Any], defaults: Mapping[str, Any]) -> DesignSpace:
    """Read a space from a file and complete it.

    Args:
        path: a YAML file in the format of space.yaml, in which only name, family and axes are required.
        required: values that the space must have, by the names of `catalog.space`'s parameters (such as
            ``resolution``); None stands for no limit, or for the space's default.
        defaults: values to use if neither the file nor ``required`` has any.

    Raises:
        InputError: the file does not describe a space, or contradicts ``required``.
        RunError: the file cannot be read.
    """
    fields = read_yaml(path)
    try:
        space_from_dict(fields)  # reports errors of the file itself, before other values are added
        completed = _complete(fields, required, defaults)
        return with_own_axes(space_from_dict(completed), {}, ())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _complete(fields: Mapping[str, Any], required: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with the missing values added."""
    template = dict(fields.get("template", {}))
    stem = dict(mapping("template.stem", template.get("stem", {})))
    constraints = list(fields.get("constraints", []))
    completed = dict(fields)
    limited = {constraint.get("quantity") for constraint in constraints if constraint["kind"] == "band"}
    values = [(name, value, True) for name, value in required.items()]
    values += [(name, value, False) for name, value in defaults.items() if name not in required]
    for name, value, is_required in values:
        if value is None:
            continue
        if name in COUNTED:
            low, high = ends(name, value)
            band = {"kind": "band", "quantity": name, "low": low, "high": high}
            if name not in limited:
                constraints.append(band)
            elif is_required and band not in constraints:
                other = next(c for c in constraints if c.get("quantity") == name and c["kind"] == "band")
                raise _conflict(name, value, f"constraints: [{other['low']}, {other['high']}]")
        elif name in _STEM or name in _IN_TEMPLATE:
            part, key = (stem, _STEM[name]) if name in _STEM else (template, name)
            where = f"template.stem.{key}" if name in _STEM else f"template.{key}"
            if name == "stem_width" and "stem_width" in fields:
                part, key, where = completed, "stem_width", "stem_width"
            if key not in part:
                part[key] = value
            elif is_required and part[key] != value:
                raise _conflict(name, value, f"{where}: {shown(part[key])}")
        elif is_required:
            _apply_other(fields, name, value, completed)
    if stem:
        template["stem"] = stem
    return {**completed, "template": template, "constraints": constraints}


def _apply_other(fields: Mapping[str, Any], name: str, value: Any, completed: dict[str, Any]) -> None:
    """Set the radix, check the name and the number of stages, and reject values that only the file can set."""
    if name == "stages":
        strides = fields.get("template", {}).get("strides", list(Template().strides))
        if value != len(strides):
            raise _conflict(name, value, f"template.strides: {shown(strides)}")
    elif name == "radix":
        radix = {"kind": "choice", "values": value if isinstance(value, list) else [value]}
        if fields.get("radix", radix) != radix:
            raise _conflict(name, value, f"radix: {shown(fields['radix'])}")
        completed["radix"] = radix
    elif name == "name":
        if value != fields["name"]:
            raise _conflict(name, value, f"name: {shown(fields['name'])}")
    elif name != "regime" or value != "paper":
        parts = {"regime": "axes", "law": "law of each log_uniform axis", "block": "template.block"}
        where = parts.get(name, f"axes.{name}")
        raise InputError(f"space.{name}={value} cannot be combined with file=...; set it in the file, as {where}")


def _conflict(name: str, value: Any, in_file: str) -> InputError:
    """Return the error for a value that contradicts the file."""
    return InputError(
        f"{name} is set to {shown(value)}, but the file has {in_file}; change the file, or do not set {name}"
    )
