"""Counts and times as people say them."""

from __future__ import annotations

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
