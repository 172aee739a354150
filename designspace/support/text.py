"""Counts, times and names as people read them, at a terminal, in a shell, in a spreadsheet."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

MAX_SHOWN = 60
"""Characters of a value that a message shows."""


def quantity(value: float) -> str:
    """A count with three digits and a unit prefix.

    >>> quantity(397_678_568), quantity(5_157_512), quantity(812), quantity(11.75)
    ('398 M', '5.16 M', '812', '11.8')
    """
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if 0.9995 * factor <= value < float("inf"):  # 999,950 is 1.00 M, not 1000 k
            scaled = value / factor
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {prefix}"
    return f"{value:.3g}"


def exact(count: int) -> tuple[str, str]:
    """A whole number of any size in full and in scientific notation.

    >>> exact(817_446_539_520), exact(10**400)[1]
    (('817,446,539,520', '8.174e+11'), '1.000e+400')
    """
    return f"{count:,}", f"{Decimal(count):.3e}"


def duration(seconds: float | None) -> str:
    """A time in its two largest units; ``-`` where it is not known (None or NaN).

    >>> duration(7.31), duration(125), duration(5400), duration(200_000), duration(None)
    ('7 s', '2 min 5 s', '1 h 30 min', '2 d 7 h', '-')
    """
    if seconds is None or not seconds >= 0:
        return "-"
    whole = round(seconds)
    for unit, size, smaller, smaller_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller_size} {smaller}"
    return f"{whole} s"


def counted(count: int, noun: str) -> str:
    """Return a count and its noun, in the singular or the plural.

    >>> counted(1, "trial"), counted(2000, "image"), counted(0, "class"), counted(2, "epoch")
    ('1 trial', '2,000 images', '0 classes', '2 epochs')
    """
    plural = f"{noun}es" if noun.endswith(("s", "tch", "nch")) else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move a terminal's cursor, start its commands or reorder its text, and bytes that are not UTF-8."""


def printable(text: str) -> str:
    r"""Return text in which every character that a terminal would obey, and not show, is spelt out.

    >>> printable("a\x1b[2Jb\r\u202ec\udce9 and é")
    'a\\x1b[2Jb\\x0d\\u202ec\\xe9 and é'
    """
    return _UNSAFE.sub(_spelt, text)


def is_printable(text: str) -> bool:
    """Return whether text can be typed and shown as it is: no control characters, and all of it UTF-8."""
    return not (_UNSAFE.search(text) or "\n" in text or "\t" in text)


def _spelt(found: re.Match[str]) -> str:
    """Return the escape of a character; of a byte that is not UTF-8, that of the byte."""
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def command(name: str, **values: object) -> str:
    r"""Return a command to type in a shell; of a list, its items.

    >>> print(command("launch", run="runs/my run"))
    python -m designspace.launch 'run=runs/my run'
    >>> print(command("analyze", runs=["a", "b,c"]))
    python -m designspace.analyze 'runs=[a,"b,c"]'
    """
    words = [f"{key}={_listed(value) if isinstance(value, list) else _text(value)}" for key, value in values.items()]
    return shlex.join(["python", "-m", f"designspace.{name}", *words])


def _text(value: object) -> str:
    """Return a value as it is typed: not like a path in the home folder, a list or a text in quotes."""
    text = str(value)
    return f"./{text}" if text.startswith(("~", "'", '"', "[")) else text


def _listed(items: list[object]) -> str:
    """Return a list as it is typed: one item alone, several in brackets, in quotes where they hold a list's signs."""
    texts = [_text(item) for item in items]
    if len(texts) == 1:
        return texts[0]
    quoted = [
        '"{}"'.format(text.replace('"', '\\"')) if re.search(r"[\[\],'\"]|^\s|\s$|^$", text) else text for text in texts
    ]
    return f"[{','.join(quoted)}]"


_FORMULA = re.compile("'*[=+@\t\r-]")
"""Beginnings of texts that a spreadsheet would take for a formula, and of those that are marked as text already."""


def to_cell(value: object) -> object:
    """Return a value for a CSV file: a text that a spreadsheet would run as a formula gets an apostrophe before it.

    >>> to_cell("=1+1"), to_cell("diverged"), to_cell(-1.5)
    ("'=1+1", 'diverged', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def from_cell(text: str) -> str:
    """Return the text that `to_cell` was given.

    >>> from_cell("'=1+1"), from_cell("'tis"), from_cell(str(to_cell("'=")))
    ('=1+1', "'tis", "'=")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def as_utf8(text: str) -> str:
    r"""A text that any file and terminal takes: bytes of a file's name that are not UTF-8 become escapes.

    >>> as_utf8("caf\udce9/1.png") == "caf\\xe9/1.png"
    True
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which is the name of no file
        return text.encode("utf-8", "backslashreplace").decode()


def first_few(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are.

    >>> first_few(["a", "b", "c"], 2), first_few(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def shown(value: object) -> str:
    """Return a value as a message shows it: its ``repr``, shortened.

    >>> shown("x" * 1000), shown({"a": [1, 2]}), shown(10**400)
    ("'xxxxxxxxxxxxxxxxxxxxxxxx...' (1,000 characters)", "{'a': [1, 2]}", 'a number of more than 60 digits')
    """
    if isinstance(value, str):
        if len(value) <= MAX_SHOWN:
            return repr(value)
        return f"{value[:24] + '...'!r} ({len(value):,} characters)"
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**MAX_SHOWN else f"a number of more than {MAX_SHOWN} digits"
    if isinstance(value, list | tuple | dict | set):
        # The text of nested aliases may be longer than memory, so nothing large or deep is turned into text.
        text = repr(value) if _is_small(value) else ""
        kind = {list: "list", dict: "mapping"}.get(type(value), type(value).__name__)
        many = f"{len(value):,} value{'' if len(value) == 1 else 's'}"
        return text if text and len(text) <= 2 * MAX_SHOWN else f"a {kind} of {many}"
    text = repr(value)
    return text if len(text) <= 2 * MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _is_small(value: Any, depth: int = 3) -> bool:
    """Whether a value is quickly written down: few entries, nested three deep at most."""
    if isinstance(value, dict):
        parts: list[Any] = [*value.keys(), *value.values()] if len(value) <= 12 else []
    elif isinstance(value, list | tuple | set):
        parts = list(value) if len(value) <= 12 else []
    else:
        return not (isinstance(value, str) and len(value) > MAX_SHOWN) and not (
            isinstance(value, int) and abs(value) >= 10**MAX_SHOWN
        )
    return len(value) <= 12 and depth > 0 and all(_is_small(part, depth - 1) for part in parts)
