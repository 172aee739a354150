"""Visits of networks in windows of about a second, each of which is quiet or disturbed as a whole."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from designspace.measurement.runners import Runs, median_ms
from designspace.support.text import counted

MAX_SLOWDOWN = 1.1
"""Time of the reference network, relative to its usual time, above which a window is disturbed: by other processes that
cannot be seen, by other guests of the host, or by a processor that lowers its clock."""
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Visit:
    """Several runs of a network in a row, of which the median counts."""

    id: str
    ms: float
    mj: float | None = None

    @staticmethod
    def of(id_: str, runs: Runs) -> Visit:
        """Return the visit of a network that consisted of these runs."""
        return Visit(id_, median_ms(runs), runs.mj)


@dataclass(slots=True)
class Window:
    """Visits in a row, at whose end the reference network was visited."""

    visits: list[Visit] = field(default_factory=list)
    reference_ms: float = 0.0
    """Time of the reference network at its end."""
    before_ms: float = float("nan")
    """Time of the reference network at its beginning; NaN if other processes used the cores then."""
    is_loaded: bool = False
    """Whether other processes were seen to use the cores."""
    clock_mhz: float = float("nan")

    @property
    def local_ms(self) -> float:
        """Time of the reference network around the visits, which tells how fast the machine was."""
        return self.reference_ms if math.isnan(self.before_ms) else (self.before_ms + self.reference_ms) / 2


@dataclass(frozen=True, slots=True)
class Judgement:
    """Windows of one session, told apart by what happened in them."""

    quiet: Sequence[Window]
    loaded: Sequence[Window]
    """Windows in which others were seen to use the cores."""
    slow: Sequence[Window]
    """Other windows in which the reference network was slow."""

    @property
    def unloaded(self) -> Sequence[Window]:
        """Windows, quiet or slow, in which no other process was seen to use the cores; their visits count."""
        return [*self.quiet, *self.slow]

    @staticmethod
    def of(windows: Sequence[Window]) -> Judgement:
        """Judge windows.

        The usual time of the reference is the lower quartile of its times in windows without a foreign load, so that a
        disturbance may last for most of a session.
        """
        unloaded = [window for window in windows if not window.is_loaded]
        usual = lower_quartile([window.reference_ms for window in unloaded]) if unloaded else 0.0
        is_slow = [window.reference_ms > MAX_SLOWDOWN * usual for window in unloaded]
        return Judgement(
            [window for window, slow in zip(unloaded, is_slow, strict=True) if not slow],
            [window for window in windows if window.is_loaded],
            [window for window, slow in zip(unloaded, is_slow, strict=True) if slow],
        )

    def among(self, windows: Sequence[Window]) -> Judgement:
        """Return the judgement of some of the windows, by what is usual in all of them."""
        chosen = {id(window) for window in windows}
        kinds = (self.quiet, self.loaded, self.slow)
        return Judgement(*([window for window in kind if id(window) in chosen] for kind in kinds))

    def usual_ms(self) -> float:
        """Return the median time of the reference network in the unloaded windows, or in all if there are none."""
        times = [window.reference_ms for window in self.unloaded or self.loaded]
        return statistics.median(times) if times else float("nan")

    def noise(self, visits: int) -> float:
        """Return the relative difference of two medians that noise alone exceeds in one of 20 cases.

        The reference network's two times of a window tell the noise of any network: their ratio has the variance of
        two visits, and a corrected visit that of one and a half, since it is divided by the mean of two. So two medians
        of ``visits`` such ratios are drawn again and again, which differ by noise alone.

        Args:
            visits: number of visits of each network.

        Returns:
            NaN if there are fewer than three windows with two times.
        """
        windows = self.unloaded or self.loaded
        ratios = np.array([window.reference_ms / window.before_ms for window in windows if window.before_ms > 0])
        if len(ratios) < 3:
            return float("nan")
        times = ratios ** math.sqrt(1.5 / 2)
        drawn = np.random.default_rng(0).choice(times, (RESAMPLES, 2, visits))
        first, second = np.median(drawn, axis=2).T
        return float(np.quantile(np.abs(first - second) / np.minimum(first, second), CONFIDENCE))

    def describe(self) -> str:
        """Return what disturbed the measurement as a sentence; empty if nothing did."""
        total = len(self.quiet) + len(self.loaded) + len(self.slow)
        reasons = []
        if self.loaded:
            reasons.append(f"other processes used the cores in {len(self.loaded)}")
        if self.slow:
            clocks = [median_clock(windows) for windows in (self.slow, self.quiet)]
            is_throttled = clocks[0] < 0.95 * clocks[1]
            why = f" (the clock fell from {clocks[1]:.0f} to {clocks[0]:.0f} MHz)" if is_throttled else ""
            reasons.append(f"the reference network was over {MAX_SLOWDOWN - 1:.0%} slower in {len(self.slow)}{why}")
        return f"of {counted(total, 'window')} of about a second, {', and '.join(reasons)}" if reasons else ""


def median_clock(windows: Iterable[Window]) -> float:
    """Return the median clock in windows, in MHz; NaN if it is not known."""
    clocks = [window.clock_mhz for window in windows if window.clock_mhz == window.clock_mhz]
    return statistics.median(clocks) if clocks else float("nan")


def lower_quartile(times: Sequence[float]) -> float:
    """Return a value that a quarter of the times are below."""
    return float(np.quantile(times, 0.25))
