"""What is typed for a path or a name is text: nothing in it is read as a number, a list or a formula of Hydra's.

Hydra reads ``run=2024_01_15`` as the number 20240115, ``id=60e881614052`` as another one, and ``run=o'brien`` not at
all. So the keys in `PATHS` and `NAMES` never pass through it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from designspace.support.errors import InputError
from designspace.support.text import is_printable, printable

PATHS = frozenset({"run", "runs", "others", "out", "to", "from", "file", "root", "data.root"})
"""Keys of paths: ``~`` is the home folder, and a folder may be called ``null``."""

NAMES = frozenset(
    {
        *("id", "trial", "name", "data.name", "data", "model", "weights", "reason", "trials", "delete", "spaces"),
        *("device", "stem", "interpolation", "failures", "figures", "match", "recipe.trainer"),
        *("launcher.partition", "launcher.account", "launcher.qos", "launcher.constraint", "launcher.gres"),
        *("launcher.setup", "launcher.sbatch"),
    }
)
"""Keys of names, some of which are paths as well: ``null`` stands for none."""

LISTS = frozenset({"runs", "others", "from", "delete", "spaces", "launcher.setup", "launcher.sbatch"})
"""Keys of lists: ``[a,b]``, or one item without brackets."""

_SWITCHES: Mapping[str, Mapping[str, bool]] = {"weights": {"true": True, "false": False}}
"""Words that are no names: ``weights=true`` means those of the model."""

_QUOTED = re.compile(r"""(["'])((?:(?!\1).|\\\1)*)\1""")


def split(words: Sequence[str], groups: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Split what was typed into the values of text keys, and the words that Hydra may read.

    Args:
        words: what was typed, as ``key=value``.
        groups: keys by which the command chooses from groups, which are not text whatever they are called.

    Raises:
        InputError: a word that is not of this form, or holds signs that nobody can type.
    """
    values: dict[str, Any] = {}
    others = []
    for word in words:
        key, value = split_word(word)
        if key in groups or key not in PATHS | NAMES:
            others.append(f"{key}={_whole(value)}")
        elif key in LISTS:
            values[key] = [_text(key, item) for item in _items(value)]
        else:
            values[key] = _text(key, value)
    return values, others


def split_word(word: str) -> tuple[str, str]:
    """Split a word into key and value; Hydra's ``+key=value`` says no more here than ``key=value``.

    Raises:
        InputError: the word is not of this form, or holds signs that nobody can type.
    """
    if not is_printable(word):
        raise InputError(
            f"{printable(word)} holds control characters, or bytes that are not UTF-8; if a file is called that, "
            "rename it"
        )
    key, equals, value = word.partition("=")
    key = key.lstrip("+")
    if not equals or not key or key.startswith("~"):
        raise InputError(f"{word!r} is not of the form key=value; see --help")
    return key, value


def alternatives(text: str) -> list[str]:
    """Return the values that commas outside of quotes and brackets separate.

    >>> alternatives("[1,2],[3,4]"), alternatives("'a,b'")
    (['[1,2]', '[3,4]'], ["'a,b'"])
    """
    return _items(f"[{text}]") or [text]


def path(key: str, text: str) -> str:
    """Return the path that was typed for a key.

    Raises:
        InputError: it is empty, or in the home folder of a user that does not exist.
    """
    return str(_text(key, text))


def quoted(text: str) -> str:
    """Return a text in quotes, as Hydra's syntax takes it, which would read 2020 as a number."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _whole(value: str) -> str:
    """Return a value, and a whole number without its exponent: ``1e3`` is a number of networks like ``1000``."""
    exponent = re.fullmatch(r"\d{1,9}(\.\d{1,9})?[eE]\+?\d{1,2}", value)
    return f"{float(value):.0f}" if exponent and float(value).is_integer() else value


def _text(key: str, text: str) -> str | bool | None:
    """Return the value that a text stands for.

    Raises:
        InputError: it is empty, or in the home folder of a user whom there is not.
    """
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        text = quoted[2].replace(f"\\{quoted[1]}", quoted[1])
    elif key in NAMES and text in ("null", ""):
        return None
    elif text in _SWITCHES.get(key, ()):
        return _SWITCHES[key][text]
    if not text:
        raise InputError(f"{key}= is empty; leave it out, or type a value after the sign")
    if key.startswith("launcher.") or not text.startswith("~"):
        return text
    path = os.path.expanduser(text)  # noqa: PTH111  (pathlib raises where there is no such user)
    if path == text:
        user = text[1:].partition("/")[0]
        owner = f"there is no user {user!r}" if user else "no home folder is known"
        raise InputError(f"{key}={text}: {owner} here; a file or folder of that name is {key}=./{text}")
    return path


def _items(text: str) -> list[str]:
    """Return the items of a list: what stands between commas outside of quotes and inner brackets."""
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    items, start, depth, position = [], 0, 0, 0
    inner = text[1:-1]
    while position < len(inner):
        quoted = _QUOTED.match(inner, position) if not inner[start:position].strip() else None
        sign = inner[position]
        if quoted:
            position = quoted.end()
            continue
        depth += (sign == "[") - (sign == "]" and depth > 0)
        if sign == "," and not depth:
            items.append(inner[start:position].strip())
            start = position + 1
        position += 1
    last = inner[start:].strip()
    return [*items, last] if items or last else []
