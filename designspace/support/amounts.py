"""Amounts with units, as users type them: ``400M``, ``320KB``, ``1.5MiB``."""

from __future__ import annotations

import re
from typing import Any

from designspace.support.checks import number
from designspace.support.errors import InputError
from designspace.support.text import shown

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_AMOUNT = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*([kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)


def amount(name: str, value: Any) -> float:
    """Return a number that may be written with a prefix and, for sizes, with the unit of bytes.

    k, M, G and T are powers of 1000, as are KB, MB, GB and TB; KiB, MiB, GiB and TiB are powers of 1024.

    Args:
        name: name of the number in messages.
        value: the number, or a text.

    Raises:
        InputError: the value is neither a finite number >= 0 nor such a text.

    >>> amount("limit", "320KB"), amount("limit", "1.5MiB"), amount("limit", "400M"), amount("limit", 1e6)
    (320000.0, 1572864.0, 400000000.0, 1000000.0)
    """
    if not isinstance(value, str):
        return float(number(name, value, 0))
    match = _AMOUNT.fullmatch(value.strip())
    if match is None or ((match[4] or "").lower() == "ib" and not match[3]):
        raise InputError(
            f"{name} must be a number >= 0, which may end with k, M, G, KB, MB, GB, KiB, MiB or GiB, not {shown(value)}"
        )
    base = 1024.0 if (match[4] or "").lower() == "ib" else 1000.0
    return float(number(name, float(match[1] + (match[2] or "")) * base ** _PREFIXES[match[3].lower()], 0))
