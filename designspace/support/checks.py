"""Checks of values. Numbers of NumPy, pandas and torch count as numbers; True and False do not."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from designspace.support.errors import InputError
from designspace.support.text import shown

_PLAIN = frozenset({int, float, str, bool, type(None)})
"""The types of values that `plain` need not examine."""


def plain(value: Any) -> Any:
    """Return a NumPy or torch scalar (0-d arrays included) as a Python number, and anything else unchanged.

    JSON, YAML and hashes need Python's own numbers.

    >>> import numpy as np
    >>> plain(np.int64(5)), plain(np.array(0.5)), plain(np.bool_(True)), plain("text")
    (5, 0.5, True, 'text')
    """
    if type(value) in _PLAIN:
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value


def make_plain(instance: Any) -> None:
    """Convert the fields of a frozen dataclass with `plain`, in place; for use in ``__post_init__``."""
    for name in instance.__dataclass_fields__:  # a run has hundreds of thousands; `dataclasses.fields` takes longer
        value = getattr(instance, name)
        converted = plain(value)
        if converted is not value:
            object.__setattr__(instance, name, converted)


def whole(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number as an int.

    Raises:
        InputError: the value is not a whole number, or not from ``low`` to ``high`` (both included).

    >>> whole("n", 3.5, low=1)
    Traceback (most recent call last):
    designspace.support.errors.InputError: n must be a whole number >= 1, not 3.5
    """
    converted = plain(value)
    if not isinstance(converted, int) or isinstance(converted, bool) or not _within(converted, low, high):
        raise InputError(f"{name} must be a whole number{_range(low, high)}, not {shown(converted)}")
    return converted


def whole_or_null(name: str, value: Any, low: int) -> int | None:
    """Return a whole number as an int; None is allowed.

    Raises:
        InputError: the value is something else, or below ``low``.
    """
    return None if value is None else whole(f"{name} (or null)", value, low)


def number(name: str, value: Any, low: float | None = None, high: float | None = None) -> float:
    """Return a finite number as a float or int.

    Raises:
        InputError: the value is not a number, not finite, or not from ``low`` to ``high`` (both included).
    """
    if type(value) is float and math.isfinite(value) and _within(value, low, high):
        return value  # the fast path, since a history may have thousands of numbers
    converted = plain(value)
    is_number = isinstance(converted, int | float) and not isinstance(converted, bool)
    if not is_number or not _is_finite(converted) or not _within(converted, low, high):
        raise InputError(f"{name} must be a number{_range(low, high)}, not {shown(converted)}")
    return float(converted) if isinstance(converted, float) else int(converted)


def at_most(name: str, value: float, high: float) -> None:
    """Check that a number is at most ``high``, a limit that only a mistake exceeds.

    Raises:
        InputError: the number is larger.
    """
    if value > high:
        raise InputError(f"{name} must be at most {high:,}, not {shown(value)}")


def text(name: str, value: Any, most: int = 200) -> str:
    """Return a string of at most ``most`` characters.

    Raises:
        InputError: the value is not a string, or longer.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {shown(value)}")
    if len(value) > most:
        raise InputError(f"{name} must be text of at most {most:,} characters, not {shown(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """Return a boolean as a Python bool.

    Raises:
        InputError: the value is not a boolean.
    """
    converted = plain(value)
    if not isinstance(converted, bool):
        raise InputError(f"{name} must be true or false, not {shown(converted)}")
    return converted


def mapping(
    name: str, value: Any, allowed: Iterable[str] | None = None, needed: Iterable[str] = ()
) -> Mapping[str, Any]:
    """Return a mapping after checking its keys.

    Args:
        name: what to call the mapping in messages.
        value: the mapping.
        allowed: the allowed keys; None allows any string.
        needed: keys that are required.

    Raises:
        InputError: the value is not a mapping, or a key is unknown or missing.

    >>> mapping("depth", {"kind": "uniform", "lo": 1}, ["kind", "low", "high"])
    Traceback (most recent call last):
    designspace.support.errors.InputError: depth: unknown key 'lo'; did you mean 'low'? choose from: kind, low, high
    """
    names = None if allowed is None else list(allowed)
    required = list(needed)
    if not isinstance(value, Mapping):
        keys = names if names is not None else required
        described = f" with {', '.join(keys)}" if keys else ""
        raise InputError(f"{name} must be a mapping{described}, not {shown(value)}")
    for key in value:
        if not isinstance(key, str) or (names is not None and key not in names):
            close = difflib.get_close_matches(str(key)[:100], names or [], 1)
            hint = f"; did you mean {close[0]!r}? choose" if close else "; choose"
            listed = ", ".join(names or ["texts"])
            raise InputError(f"{name}: unknown key {shown(key)}{hint} from: {listed}")
    for key in required:
        if key not in value:
            raise InputError(f"{name}: {key} is missing; it has {', '.join(value) or 'no keys'}"[:300])
    return value


def from_fields(kind: Any, fields: Any) -> Any:
    """Create a dataclass from a mapping of its fields.

    Raises:
        InputError: a field is missing or unknown, or the class rejects a value.
    """
    if isinstance(fields, dict):
        try:  # the fast path, since a history may have thousands of lines
            return kind(**fields)
        except TypeError:
            pass  # `mapping` below reports which field is wrong
    known = dataclasses.fields(kind)
    needed = [
        field.name
        for field in known
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return kind(**mapping(kind.__name__, fields, [field.name for field in known], needed))


def _is_finite(value: float) -> bool:
    """Return whether a number is finite as a float; an int of 400 digits is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _within(value: float, low: float | None, high: float | None) -> bool:
    """Return whether a value is within two bounds; None means no bound."""
    return (low is None or low <= value) and (high is None or value <= high)


def _range(low: float | None, high: float | None) -> str:
    """Return the bounds as text."""
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" >= {low}" if low is not None else f" <= {high}" if high is not None else ""
