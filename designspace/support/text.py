"""Counts and times as people say them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal


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
