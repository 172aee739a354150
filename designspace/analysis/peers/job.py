"""One job in a file of another program, whose values are checked when they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from designspace.support.errors import RunError

_NUMBER_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of a file, with its position for error messages."""

    location: str
    """File and job, for messages."""
    values: Mapping[str, Any]
    group: str = ""
    """Name of the list that holds the job; empty if the file is a single list."""

    def get(self, key: str) -> Any:
        """Return the value of a dotted key; None if there is none."""
        value: Any = self.values
        parent = ""
        for name in key.split("."):
            if value is None:
                return None
            if not isinstance(value, dict):
                raise self.invalid(parent, value, "an object")
            value = value.get(name)
            parent = f"{parent}.{name}" if parent else name
        return value

    def invalid(self, key: str, value: object, expected: str) -> RunError:
        """Return the error for an invalid value."""
        return RunError(f"{self.location}: {key} must be {expected}, not {str(value)[:60]!r}")

    def number(self, key: str) -> float:
        """Return a finite number; NaN if there is none."""
        value = self.get(key)
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _NUMBER_LIMIT:
            raise self.invalid(key, value, "a number")
        return float(value)

    def whole(self, key: str) -> int | None:
        """Return a whole number >= 0; None if there is none."""
        value = self.get(key)
        return None if value is None else self._as_whole(key, value)

    def wholes(self, key: str) -> list[int]:
        """Return a list of whole numbers >= 0; an empty list if there is none."""
        return [self._as_whole(f"{key}[{index}]", value) for index, value in enumerate(self._list(key))]

    def numbers(self, key: str) -> list[float]:
        """Return a list of numbers, some perhaps NaN (a loss that diverged); an empty list if there is none."""
        values = self._list(key)
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float | None) or abs(value or 0) >= _NUMBER_LIMIT:
                raise self.invalid(f"{key}[{index}]", value, "a number")
        return [math.nan if value is None else float(value) for value in values]

    def text(self, key: str) -> str:
        """Return a text; an empty one if there is none."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.invalid(key, value, "a text")
        return value or ""

    def check_errors(self, key: str, errors: list[float]) -> None:
        """Raise unless all errors that were read from a key are in percent."""
        for index, error in enumerate(errors):
            if not math.isnan(error) and not 0 <= error <= 100:
                raise self.invalid(f"{key}[{index}]", error, "an error from 0 to 100 percent")

    def _list(self, key: str) -> list[Any]:
        values = self.get(key)
        if values is not None and not isinstance(values, list):
            raise self.invalid(key, values, "a list")
        return values or []

    def _as_whole(self, key: str, value: Any) -> int:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole or not 0 <= value < _NUMBER_LIMIT:
            raise self.invalid(key, value, "a whole number")
        return int(value)
