"""Checks of numbers. Numbers of NumPy, pandas and torch are numbers; True and False are not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from designspace.support.errors import InputError


def plain(value: Any) -> Any:
    """Return a single number of NumPy or torch (0-d arrays included) as a Python number, anything else unchanged.

    Python's own numbers are what JSON, YAML and hashes take.

    >>> import numpy as np
    >>> plain(np.int64(5)), plain(np.array(0.5)), plain(np.bool_(True)), plain("text")
    (5, 0.5, True, 'text')
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value


def make_plain(instance: Any) -> None:
    """Make the numbers in the fields of a frozen dataclass plain (see `plain`), in place; for ``__post_init__``."""
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        converted = plain(value)
        if converted is not value:
            object.__setattr__(instance, field.name, converted)


def whole(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number as an int.

    Raises:
        InputError: it is not a whole number, or not in ``low`` to ``high`` (both included).

    >>> whole("n", 3.5, low=1)
    Traceback (most recent call last):
    designspace.support.errors.InputError: n must be a whole number >= 1, not 3.5
    """
    given = plain(value)
    if not isinstance(given, int) or isinstance(given, bool) or not _within(given, low, high):
        raise InputError(f"{name} must be a whole number{_range(low, high)}, not {given!r}")
    return given


def number(name: str, value: Any, low: float | None = None, high: float | None = None) -> float:
    """Return a finite number as a float or int.

    Raises:
        InputError: it is not a number, not finite, or not in ``low`` to ``high`` (both included).
    """
    given = plain(value)
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not math.isfinite(given) or not _within(given, low, high):
        raise InputError(f"{name} must be a number{_range(low, high)}, not {given!r}")
    return float(given) if isinstance(given, float) else int(given)


def _within(value: float, low: float | None, high: float | None) -> bool:
    """Whether a value is between two bounds, of which None is none."""
    return (low is None or low <= value) and (high is None or value <= high)


def _range(low: float | None, high: float | None) -> str:
    """The bounds in words."""
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" >= {low}" if low is not None else f" <= {high}" if high is not None else ""
