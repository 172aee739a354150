"""Translation of ``data=pets``, which all commands accept, to the keys of the configuration files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.cli.text_values import quoted
from designspace.support.errors import InputError

if TYPE_CHECKING:
    from designspace.data import DataShape

_WITH_DATA = ("explore", "launch", "prepare", "sample", "train")
"""Commands whose configuration has the group ``data``."""
_INPUTS = {"sample": "input", "explore": "input@space"}
"""Commands that sample networks, and their group for the requirements of the images."""
_UNNAMED = (None, "arrays", "folder", "sampled")
"""Choices in the group ``data`` that do not name a data set."""
SMALL_SIDE = 64
"""Maximum side of small images in pixels; their networks get a stem of stride 1 and a budget."""
_BUDGET_PER_PIXEL = {True: (2550.0, 4460.0), False: (7175.0, 7972.0)}
"""Whether images are small -> minimum and maximum multiply-adds per pixel.

They come from Fashion-MNIST's budget (2 to 3.5 million at 28 x 28) and the paper's (360 to 400 million at 224 x 224).
"""
WITHOUT_BUDGET = ("Vanilla", "ResNet", "ResNeXt-A", "ResNeXt-B")
"""Spaces whose networks exceed the budget for small images, and whose paper has no budget."""


def expand_data(command: str, arguments: Sequence[str], options: Callable[[str], list[str]]) -> list[str]:
    """Return command-line arguments in which ``data`` is translated to the keys of the configuration files.

    ``data=pets`` chooses the packed data set ``pets``, like ``data=folder data.name=pets``. ``sample`` and ``explore``
    also set the shape of the images. ``input=cifar10`` is an older form of ``data=cifar10``.

    Args:
        command: name of the command.
        arguments: the arguments.
        options: function that returns the choices in a group.

    Raises:
        InputError: the data set does not exist, or two are named.
        RunError: the data set is damaged.
    """
    if command in (*_WITH_DATA, "verify"):
        arguments = _described_arrays(arguments)
    if command == "verify":
        return _verify_arguments(arguments)
    if command not in _WITH_DATA:
        return list(arguments)
    name, others = _split_data(arguments, options("data"))
    if name is None and command in _INPUTS:
        choice = _value(others, _INPUTS[command])
        if choice is not None and (choice in _UNNAMED or choice not in options("data")):
            return [*others, "data=folder"]  # the images are described instead of named
        if choice is None and _value(others, "data") == "folder":
            _shape(None, arguments)  # raises the error for a missing name
        name = choice
    if name is None:
        return list(others)
    chosen = [f"data={name}"] if name in options("data") else ["data=folder", f"data.name={quoted(name)}"]
    if command in _INPUTS:
        return [*chosen, *_network_arguments(name, command, others, options)]
    if command != "prepare":  # which may create it
        _shape(name, arguments)  # raises an error with the known names if it does not exist
    return [*chosen, *others]


def budget(size: int) -> list[float]:
    """Return the minimum and maximum multiply-adds for images of ``size`` x ``size`` pixels, to two digits.

    >>> budget(28), budget(32), budget(224)
    ([2000000.0, 3500000.0], [2600000.0, 4600000.0], [360000000.0, 400000000.0])
    """
    per_pixel = _BUDGET_PER_PIXEL[size <= SMALL_SIDE]
    return [float(f"{cost * size * size:.1e}") for cost in per_pixel]


def _split_data(arguments: Sequence[str], groups: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the data set that was given, or None, and the other arguments."""
    chosen, name = _value(arguments, "data"), _value(arguments, "data.name")
    if chosen not in (None, *groups) and name not in (None, chosen):
        raise InputError(f"data={chosen} and data.name={name} are two data sets; give only data=<name>")
    name = name or (chosen if chosen not in _UNNAMED else None)
    if name is None:
        return None, list(arguments)
    return name, [argument for argument in arguments if _key(argument) not in ("data", "data.name")]


def _network_arguments(
    name: str, command: str, arguments: Sequence[str], options: Callable[[str], list[str]]
) -> list[str]:
    """Return arguments for networks that fit a data set; arguments of the user come later and take precedence."""
    group = _INPUTS[command]
    choice = _value(arguments, group)
    if choice not in (None, "folder", name):
        raise InputError(f"data={name} and {group}={choice} are two data sets; leave out {group}={choice}")
    arguments = [argument for argument in arguments if _key(argument) != group]
    if name in options("input") and name != "folder":
        return [f"{group}={name}", *arguments]
    shape = _shape(name, arguments)
    return [f"{group}=folder", *_shape_arguments(shape, _value(arguments, "space")), *arguments]


def _shape_arguments(shape: DataShape, space: str | None) -> list[str]:
    """Return arguments for networks that fit images of a shape."""
    arguments = [
        f"space.in_channels={shape.channels}",
        f"space.num_classes={shape.num_classes}",
        f"space.resolution={shape.size}",
    ]
    if shape.target == "dense":
        arguments.append("space.head=dense")
    if shape.size <= SMALL_SIDE:
        arguments += ["space.stem=cifar", "space.stem_width=16"]
        if space not in WITHOUT_BUDGET:
            arguments.append(f"space.flops={budget(shape.size)}".replace(" ", ""))
    return arguments


def _described_arrays(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the name of a data set for ``data=arrays`` and its files, which are described now.

    Raises:
        InputError: a file is missing or does not hold what it should, or the name already belongs to other files.
        RunError: a file cannot be read or written.
    """
    if _value(arguments, "data") != "arrays":
        return list(arguments)
    from designspace import data
    from designspace.data import array_files, catalog
    from designspace.data.packed import is_packed

    files = {key: _value(arguments, f"data.{key}") for key in (*array_files.KEYS, "classes")}
    root = _value(arguments, "data.root")
    name = _value(arguments, "data.name") or Path(files["images"] or "images").stem
    folder = (data.default_root() if root is None else Path(root).expanduser()) / catalog.check_name(name)
    if is_packed(folder):
        raise InputError(f"data.name={name} already is a packed data set; choose another name")
    array_files.describe(folder, files, _value(arguments, "data.layout"))
    translated = {"data", "data.name", "data.layout", *(f"data.{key}" for key in files)}
    others = [argument for argument in arguments if _key(argument) not in translated]
    return ["data=folder", f"data.name={quoted(name)}", *others]


def _verify_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments for `verify`, where ``data`` is a plain key; the forms of other commands work as well."""
    name = _value(arguments, "data.name")
    others = [
        argument
        for argument in arguments
        if _key(argument) != "data.name" and not (name is not None and _key(argument) == "data")
    ]
    others = [
        f"root={argument.partition('=')[2]}" if _key(argument) == "data.root" else argument for argument in others
    ]
    return others if name is None else [f"data={name}", *others]


def _shape(name: str | None, arguments: Sequence[str]) -> DataShape:
    """Return the shape of a data set in the given folder of data sets, or in the default one."""
    from designspace import data  # imports numpy, which takes 0.1 s that a command without images saves

    root = _value(arguments, "data.root")
    return data.shape(name, None if root is None else Path(root).expanduser())


def _key(argument: str) -> str:
    """Return the key of an argument."""
    return argument.partition("=")[0].lstrip("+")


def _value(arguments: Sequence[str], key: str) -> str | None:
    """Return the last value of a key without quotes, or None."""
    values = [
        argument.partition("=")[2].strip("'\"") for argument in arguments if _key(argument) == key and "=" in argument
    ]
    return values[-1] if values and values[-1] not in ("", "null") else None
