"""Arguments whose values are text: paths and names are not parsed as numbers, lists or Hydra expressions.

Hydra would read ``run=2024_01_15`` as the number 20240115 and ``id=60e881614052`` as a float, and cannot read
``run=o'brien`` at all. The keys in `PATHS` and `NAMES` are therefore never passed to it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from designspace.support.errors import InputError
from designspace.support.text import is_printable, printable

PATHS = frozenset({"run", "runs", "against", "others", "out", "to", "from", "file", "root", "data.root"})
"""Keys of paths: ``~`` is the home folder, and ``null`` is an ordinary folder name."""

NAMES = frozenset(
    {
        *("id", "trial", "name", "data.name", "data", "model", "weights", "reason", "trials", "delete", "spaces"),
        "networks",
        *("device", "stem", "interpolation", "failures", "figures", "match", "recipe.trainer"),
        *("space.block", "space.stem", "space.head"),
        *("launcher.partition", "launcher.account", "launcher.qos", "launcher.constraint", "launcher.gres"),
        *("launcher.setup", "launcher.sbatch"),
    }
)
"""Keys of names, some of which may also be paths: ``null`` means no value."""

LISTS = frozenset(
    {"runs", "against", "others", "from", "delete", "spaces", "networks", "match", "launcher.setup", "launcher.sbatch"}
)
"""Keys of lists: ``[a,b]``, or a single item without brackets."""

_SWITCHES: Mapping[str, Mapping[str, bool]] = {"weights": {"true": True, "false": False}}
"""Values that are not names: ``weights=true`` means the default weights of the model."""

_QUOTED = re.compile(r"""(["'])((?:(?!\1).|\\\1)*)\1""")


def split_arguments(arguments: Sequence[str], groups: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Split arguments into the values of text keys and the arguments that Hydra parses.

    Args:
        arguments: the arguments, as ``key=value``.
        groups: keys that choose from groups, which are never text keys.

    Raises:
        InputError: an argument does not have this form, or contains control characters.
    """
    values: dict[str, Any] = {}
    others = []
    for argument in arguments:
        key, value = split_argument(argument)
        if key in groups or key not in PATHS | NAMES:
            others.append(f"{key}={_without_exponent(value)}")
        elif key in LISTS:
            items = [_text_value(key, item) for item in _list_items(value)]
            values[key] = None if items == [None] else items
        else:
            values[key] = _text_value(key, value)
    return values, others


def split_argument(argument: str) -> tuple[str, str]:
    """Split an argument into key and value; Hydra's ``+key=value`` means the same as ``key=value``.

    Raises:
        InputError: the argument does not have this form, or contains control characters.
    """
    if not is_printable(argument):
        raise InputError(
            f"{printable(argument)} contains control characters, or bytes that are not UTF-8; if it is the name of "
            "a file, rename the file"
        )
    key, equals, value = argument.partition("=")
    key = key.lstrip("+")
    if not equals or not key or key.startswith("~"):
        raise InputError(f"{argument!r} does not have the form key=value; see --help")
    return key, value


def alternatives(text: str, opening: str = "[") -> list[str]:
    """Return the values in a text that are separated by commas outside quotes and brackets.

    Args:
        text: the text.
        opening: the brackets that count: ``[{`` where values may be mappings, as those of a recipe.

    >>> alternatives("[1,2],[3,4]"), alternatives("'a,b'"), alternatives("{a: 1, b: 2},{a: 3}", "[{")
    (['[1,2]', '[3,4]'], ["'a,b'"], ['{a: 1, b: 2}', '{a: 3}'])
    """
    return _list_items(f"[{text}]", opening) or [text]


def path(key: str, text: str) -> str:
    """Return the path given for a key.

    Raises:
        InputError: the path is empty, or in the home folder of an unknown user.
    """
    return str(_text_value(key, text))


def quoted(text: str) -> str:
    """Return a text in quotes for Hydra, which would otherwise read 2020 as a number."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _without_exponent(value: str) -> str:
    """Return a value; a whole number with an exponent, such as ``1e3``, becomes ``1000``."""
    exponent = re.fullmatch(r"\d{1,9}(\.\d{1,9})?[eE]\+?\d{1,2}", value)
    return f"{float(value):.0f}" if exponent and float(value).is_integer() else value


def _text_value(key: str, text: str) -> str | bool | None:
    """Return the value of a text argument: without quotes, with ``~`` expanded, None for ``null``.

    Raises:
        InputError: the text is empty, or a path in the home folder of an unknown user.
    """
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        text = quoted[2].replace(f"\\{quoted[1]}", quoted[1])
    elif key in NAMES and text in ("null", ""):
        return None
    elif text in _SWITCHES.get(key, ()):
        return _SWITCHES[key][text]
    if not text:
        raise InputError(f"{key}= is empty; leave it out, or type a value after the equals sign")
    if key.startswith("launcher.") or not text.startswith("~"):
        return text
    path = os.path.expanduser(text)  # noqa: PTH111  (pathlib raises an error if there is no such user)
    if path == text:
        user = text[1:].partition("/")[0]
        problem = f"there is no user {user!r} here" if user else "your home folder is not known"
        raise InputError(f"{key}={text}: {problem}; for a file or folder with this name, type {key}=./{text}")
    return path


def _list_items(text: str, opening: str = "[") -> list[str]:
    """Return the items of a list in brackets, separated by commas outside quotes and inner brackets."""
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    closing = opening.translate(str.maketrans("[{", "]}"))
    items, start, depth, position = [], 0, 0, 0
    inner = text[1:-1]
    while position < len(inner):
        quoted = _QUOTED.match(inner, position) if not inner[start:position].strip() else None
        character = inner[position]
        if quoted:
            position = quoted.end()
            continue
        depth += (character in opening) - (character in closing and depth > 0)
        if character == "," and not depth:
            items.append(inner[start:position].strip())
            start = position + 1
        position += 1
    last = inner[start:].strip()
    return [*items, last] if items or last else []
