"""The word for a data set, which every command takes: ``data=pets``, in terms of the configuration files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.cli.typed import quoted
from designspace.support.errors import InputError

if TYPE_CHECKING:
    from designspace.data import DataShape

_WITH_DATA = ("explore", "launch", "prepare", "sample", "train")
"""Commands whose configuration has the group ``data``."""
_INPUTS = {"sample": "input", "explore": "input@space"}
"""Commands that draw networks, and their group of what images demand of networks."""
_NAMELESS = (None, "folder", "sampled")
"""Choices of the group ``data`` that name no data set."""
SMALL = 64
"""Images of at most so many pixels a side get networks for small images: a stem of stride 1 and a budget."""
_BUDGET_PER_PIXEL = {True: (2550.0, 4460.0), False: (7175.0, 7972.0)}
"""Least and most multiply-adds per pixel, of small images and of others: of Fashion-MNIST's band (2 to 3.5 million at
28 x 28) and of the paper's (360 to 400 million at 224 x 224)."""
WITHOUT_BUDGET = ("Vanilla", "ResNet", "ResNeXt-A", "ResNeXt-B")
"""Spaces whose networks cost more than a small budget, and whose paper has none."""


def understood(command: str, words: Sequence[str], options: Callable[[str], list[str]]) -> list[str]:
    """Return what was typed in terms of the configuration files.

    ``data=pets`` chooses the packed data set ``pets``, which is ``data=folder data.name=pets``. ``sample`` and
    ``explore`` take the shape of the images from it. ``input=cifar10`` is an older word for ``data=cifar10``.

    Args:
        command: name of the command.
        words: the overrides as they were typed.
        options: gives the names that a group of the configuration offers.

    Raises:
        InputError: there is no such data set, or two are named.
        RunError: the data set is damaged.
    """
    if command == "verify":
        return _for_verify(words)
    if command not in _WITH_DATA:
        return list(words)
    name, others = _named(words, options("data"))
    if name is None and command in _INPUTS:
        given = _value(others, _INPUTS[command])
        if given is not None and (given in _NAMELESS or given not in options("data")):
            return [*others, "data=folder"]  # images that are described and not named
        if given is None and _value(others, "data") == "folder":
            _shape(None, words)  # says that a name is missing
        name = given
    if name is None:
        return list(others)
    chosen = [f"data={name}"] if name in options("data") else ["data=folder", f"data.name={quoted(name)}"]
    if command in _INPUTS:
        return [*chosen, *_networks_for(name, command, others, options)]
    if command != "prepare":  # which may be about to make it
        _shape(name, words)  # says what there is, if not this
    return [*chosen, *others]


def budget(size: int) -> list[float]:
    """Return the least and most multiply-adds that suit networks for images of so many pixels a side, to two digits.

    >>> budget(28), budget(32), budget(224)
    ([2000000.0, 3500000.0], [2600000.0, 4600000.0], [360000000.0, 400000000.0])
    """
    per_pixel = _BUDGET_PER_PIXEL[size <= SMALL]
    return [float(f"{cost * size * size:.1e}") for cost in per_pixel]


def _named(words: Sequence[str], groups: Sequence[str]) -> tuple[str | None, list[str]]:
    """The data set that was typed, None for none; and the other words."""
    chosen, name = _value(words, "data"), _value(words, "data.name")
    if chosen not in (None, *groups) and name not in (None, chosen):
        raise InputError(f"data={chosen} and data.name={name} are two data sets; type data=<name> alone")
    named = name or (chosen if chosen not in _NAMELESS else None)
    if named is None:
        return None, list(words)
    return named, [word for word in words if _key(word) not in ("data", "data.name")]


def _networks_for(name: str, command: str, words: Sequence[str], options: Callable[[str], list[str]]) -> list[str]:
    """Words for networks that suit a data set; what was typed comes later, and wins."""
    group = _INPUTS[command]
    typed = _value(words, group)
    if typed not in (None, "folder", name):
        raise InputError(f"data={name} and {group}={typed} are two data sets; leave {group}={typed} out")
    words = [word for word in words if _key(word) != group]
    if name in options("input") and name != "folder":
        return [f"{group}={name}", *words]
    shape = _shape(name, words)
    return [f"{group}=folder", *_own_images(shape, _value(words, "space")), *words]


def _own_images(shape: DataShape, space: str | None) -> list[str]:
    """Words for networks that suit images of one's own."""
    words = [
        f"space.in_channels={shape.channels}",
        f"space.num_classes={shape.num_classes}",
        f"space.resolution={shape.size}",
    ]
    if shape.size <= SMALL:
        words += ["space.stem=cifar", "space.stem_width=16"]
        if space not in WITHOUT_BUDGET:
            words.append(f"space.flops={budget(shape.size)}".replace(" ", ""))
    return words


def _for_verify(words: Sequence[str]) -> list[str]:
    """The words for `verify`, where ``data`` is a plain key: also as other commands take them."""
    name = _value(words, "data.name")
    kept = [word for word in words if _key(word) != "data.name" and not (name is not None and _key(word) == "data")]
    kept = [f"root={word.partition('=')[2]}" if _key(word) == "data.root" else word for word in kept]
    return kept if name is None else [f"data={name}", *kept]


def _shape(name: str | None, words: Sequence[str]) -> DataShape:
    """The shape of a data set, in the folder of data sets that was typed or in the usual one."""
    from designspace import data  # brings numpy, whose 0.1 s a command without images spares

    typed = _value(words, "data.root")
    return data.shape(name, None if typed is None else Path(typed).expanduser())


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _value(words: Sequence[str], key: str) -> str | None:
    """The text that was typed last for a key, without quotes; None for none."""
    values = [word.partition("=")[2].strip("'\"") for word in words if _key(word) == key and "=" in word]
    return values[-1] if values and values[-1] not in ("", "null") else None
