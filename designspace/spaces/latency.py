"""Limits on measured latency, which a network meets only once it has been measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from designspace.spaces.costs import Setting
from designspace.support.checks import make_plain, mapping, number
from designspace.support.errors import InputError

KEYS = ("device", "batch", "precision", "threads", "below_ms", "above_ms")


@dataclass(frozen=True, slots=True)
class LatencyLimit:
    """A range of latencies, both ends included, under one setting.

    Raises:
        InputError: an end is not a positive number of milliseconds, or the range is empty or unlimited.
    """

    setting: Setting
    below_ms: float = math.inf
    above_ms: float = 0.0

    def __post_init__(self) -> None:
        make_plain(self)
        number("latency: above_ms", self.above_ms, 0)
        if self.below_ms != math.inf:
            number("latency: below_ms", self.below_ms, 0)
        if not self.above_ms < self.below_ms:
            raise InputError(f"latency: above_ms={self.above_ms:g} must be less than below_ms={self.below_ms:g}")
        if (self.above_ms, self.below_ms) == (0, math.inf):
            raise InputError("latency needs a limit: give below_ms, above_ms, or both")

    def __str__(self) -> str:
        """Return the range and its setting as text.

        >>> print(LatencyLimit(Setting("cpu", 1, threads=2), below_ms=5))
        latency at most 5 ms (cpu, 2 threads, batch 1, float32)
        """
        ends = [f"at least {self.above_ms:g} ms"] if self.above_ms else []
        ends += [f"at most {self.below_ms:g} ms"] if self.below_ms < math.inf else []
        return f"latency {' and '.join(ends)} ({self.setting.describe()})"

    def allows(self, latency_ms: float, margin: float) -> bool:
        """Return whether a latency is within the range even if it is off by a relative ``margin``."""
        return latency_ms * (1 + margin) <= self.below_ms and latency_ms * (1 - margin) >= self.above_ms

    def excludes(self, latency_ms: float, margin: float) -> bool:
        """Return whether a latency is outside the range even if it is off by a relative ``margin``."""
        return latency_ms * (1 - margin) > self.below_ms or latency_ms * (1 + margin) < self.above_ms

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which `from_dict` creates an equal limit."""
        setting = self.setting
        fields = {"device": setting.device, "batch": setting.batch, "precision": setting.precision}
        ends = {"below_ms": self.below_ms, "above_ms": self.above_ms}
        given = {name: value for name, value in ends.items() if value not in (0, math.inf)}
        return {**fields, "threads": setting.threads, **given}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> LatencyLimit:
        """Return the limit described by plain values; only an end is required.

        Raises:
            InputError: a key is unknown, or a value is not allowed.
        """
        values = dict(mapping("latency", fields, KEYS))
        ends = {name: values.pop(name) for name in ("below_ms", "above_ms") if values.get(name) is not None}
        setting = {name: value for name, value in values.items() if value is not None and name in KEYS[:4]}
        return LatencyLimit(Setting(**setting), **ends)
