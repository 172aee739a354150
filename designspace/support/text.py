"""Formatting of counts, times, names and commands for terminals, shells and spreadsheets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

MAX_SHOWN = 60
"""Maximum number of characters of a value in a message."""


def prefixed(value: float, unit: str = "") -> str:
    """Return a number with three digits, a unit prefix and a unit.

    >>> prefixed(397_678_568), prefixed(5_157_512), prefixed(812), prefixed(11.75)
    ('398 M', '5.16 M', '812', '11.8')
    >>> prefixed(320_000, "B"), prefixed(812, "B")
    ('320 kB', '812 B')
    """
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if 0.9995 * factor <= value < float("inf"):  # 999,950 is 1.00 M, not 1000 k
            scaled = value / factor
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {prefix}{unit}"
    return f"{value:.3g}{f' {unit}' if unit else ''}"


def exact(count: int) -> tuple[str, str]:
    """Return a whole number of any size in full and in scientific notation.

    >>> exact(817_446_539_520), exact(10**400)[1]
    (('817,446,539,520', '8.174e+11'), '1.000e+400')
    """
    return f"{count:,}", f"{Decimal(count):.3e}"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units, or ``-`` if it is not known (None or NaN).

    >>> duration(7.31), duration(125), duration(5400), duration(200_000), duration(None)
    ('7 s', '2 min 5 s', '1 h 30 min', '2 d 7 h', '-')
    """
    if seconds is None or not seconds >= 0:
        return "-"
    total = round(seconds)
    for unit, size, smaller, smaller_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if total >= size:
            return f"{total // size} {unit} {total % size // smaller_size} {smaller}"
    return f"{total} s"


def counted(count: int, noun: str) -> str:
    """Return a count and its noun, in the singular or the plural.

    >>> counted(1, "trial"), counted(2000, "image"), counted(0, "class"), counted(2, "epoch")
    ('1 trial', '2,000 images', '0 classes', '2 epochs')
    """
    plural = f"{noun}es" if noun.endswith(("s", "tch", "nch")) else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Terminal control characters, characters that reorder text, and bytes that are not UTF-8."""


def printable(text: str) -> str:
    r"""Return a text in which control characters and bytes that are not UTF-8 are escaped.

    >>> printable("a\x1b[2Jb\r\u202ec\udce9 and é")
    'a\\x1b[2Jb\\x0d\\u202ec\\xe9 and é'
    """
    return _UNSAFE.sub(_escape, text)


def is_printable(text: str) -> bool:
    """Return whether a text contains no control characters and is valid UTF-8."""
    return not (_UNSAFE.search(text) or "\n" in text or "\t" in text)


def _escape(match: re.Match[str]) -> str:
    """Return the escape sequence of a character, or of a byte that is not UTF-8."""
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def command(name: str, **values: object) -> str:
    r"""Return a command of this project as it is typed in a shell.

    >>> print(command("launch", run="runs/my run"))
    python -m designspace.launch 'run=runs/my run'
    >>> print(command("analyze", runs=["a", "b,c"]))
    python -m designspace.analyze 'runs=[a,"b,c"]'
    """
    arguments = [
        f"{key}={_list_argument(value) if isinstance(value, list) else _argument(value)}"
        for key, value in values.items()
    ]
    return shlex.join(["python", "-m", f"designspace.{name}", *arguments])


def _argument(value: object) -> str:
    """Return a value as it is typed, so that it is not read as a home folder, a list or a quoted text."""
    text = str(value)
    return f"./{text}" if text.startswith(("~", "'", '"', "[")) else text


def _list_argument(items: list[object]) -> str:
    """Return a list as it is typed: a single item alone, several in brackets, quoted where necessary."""
    texts = [_argument(item) for item in items]
    if len(texts) == 1:
        return texts[0]
    quoted = [
        '"{}"'.format(text.replace('"', '\\"')) if re.search(r"[\[\],'\"]|^\s|\s$|^$", text) else text for text in texts
    ]
    return f"[{','.join(quoted)}]"


_FORMULA = re.compile("'*[=+@\t\r-]")
"""Beginnings of texts that spreadsheets read as formulas, or that already have an apostrophe in front."""


def to_cell(value: object) -> object:
    """Return a value for a CSV file; a text that a spreadsheet would run as a formula gets a leading apostrophe.

    >>> to_cell("=1+1"), to_cell("diverged"), to_cell(-1.5)
    ("'=1+1", 'diverged', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def from_cell(text: str) -> str:
    """Return the text that `to_cell` has escaped.

    >>> from_cell("'=1+1"), from_cell("'tis"), from_cell(str(to_cell("'=")))
    ('=1+1', "'tis", "'=")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def as_utf8(text: str) -> str:
    r"""Return a text as valid UTF-8: bytes of file names that are not UTF-8 are escaped.

    >>> as_utf8("caf\udce9/1.png") == "caf\\xe9/1.png"
    True
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # an unpaired surrogate, which no file name contains
        return text.encode("utf-8", "backslashreplace").decode()


def first_few(names: Sequence[str], most: int) -> str:
    """Return the first few names as text, with the number of the others.

    >>> first_few(["a", "b", "c"], 2), first_few(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def shown(value: object) -> str:
    """Return a value as it is shown in messages: its ``repr``, shortened.

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
        # Nested aliases may expand to more text than fits in memory, so the text of a large or deep value is not built.
        text = repr(value) if _is_small(value) else ""
        kind = {list: "list", dict: "mapping"}.get(type(value), type(value).__name__)
        many = f"{len(value):,} value{'' if len(value) == 1 else 's'}"
        return text if text and len(text) <= 2 * MAX_SHOWN else f"a {kind} of {many}"
    text = repr(value)
    return text if len(text) <= 2 * MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _is_small(value: Any, depth: int = 3) -> bool:
    """Return whether a value has few entries and is nested at most three levels deep."""
    if isinstance(value, dict):
        parts: list[Any] = [*value.keys(), *value.values()] if len(value) <= 12 else []
    elif isinstance(value, list | tuple | set):
        parts = list(value) if len(value) <= 12 else []
    else:
        return not (isinstance(value, str) and len(value) > MAX_SHOWN) and not (
            isinstance(value, int) and abs(value) >= 10**MAX_SHOWN
        )
    return len(value) <= 12 and depth > 0 and all(_is_small(part, depth - 1) for part in parts)
