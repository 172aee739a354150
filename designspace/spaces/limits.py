"""Limits on the costs of networks, as a user writes them: ``[lowest, highest]``, or a size such as ``320KB``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from designspace.networks.quantities import COUNTED
from designspace.spaces.constraints import Band
from designspace.support.amounts import amount
from designspace.support.errors import InputError
from designspace.support.text import shown

Limits = Sequence[float | str] | float | str | None
"""Lowest and highest allowed value; for quantities in bytes also sizes, of which a single one is the highest; None for
no limit."""


def bands(limits: Mapping[str, Limits]) -> dict[str, Band]:
    """Return the bands between limits, by quantity; none for a quantity without limits.

    Raises:
        InputError: a limit is not of one of the forms of `Limits`, or the lowest value is above the highest.

    >>> bands({"flops": [2e6, 4e6], "params": None, "peak_memory": "320KB"})["peak_memory"]
    Band(quantity='peak_memory', low=0.0, high=320000.0)
    """
    given = {name: ends(name, limit) for name, limit in limits.items() if limit is not None}
    return {name: Band(name, float(low), float(high)) for name, (low, high) in given.items()}


def ends(quantity: str, limits: Any) -> tuple[float, float]:
    """Return the lowest and the highest value that a limit allows.

    Raises:
        InputError: the limit is not of one of the forms of `Limits`.
    """
    values = limits.tolist() if hasattr(limits, "tolist") else limits  # an array or a Series
    is_size = COUNTED[quantity].unit == "B"
    if is_size and not isinstance(values, (list, tuple)):
        values = [0, values]
    if not isinstance(values, (list, tuple)) or len(values) != 2:
        raise InputError(f"{quantity} must be {_allowed(is_size)}, not {shown(limits)}")
    low, high = (_end(quantity, value, is_size) for value in values)
    return low, high


def _end(quantity: str, value: Any, is_size: bool) -> float:
    """Return one end of a limit as a number."""
    if value == math.inf:  # no upper limit
        return math.inf
    try:
        return amount(quantity, value)
    except InputError:
        if isinstance(value, str):
            raise InputError(f"{quantity} must be {_allowed(is_size)}, not {shown(value)}") from None
        raise


def _allowed(is_size: bool) -> str:
    """Return the allowed forms of a limit as text."""
    pair = "[lowest, highest], such as "
    return f"a size such as 320KB or 1.5MiB, or {pair}[100KB,320KB]" if is_size else f"{pair}[2e6,4e6]"
