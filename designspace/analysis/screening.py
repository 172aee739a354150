"""Comparison of spaces without training: how many of their networks meet limits, and how many flops those have.

TinyNAS (MCUNet, arXiv 2007.10319, section 3.1) prefers the space whose networks that fit a device have more flops. The
tests, bands and corrections are those of errors, with a quantity of which more is better in their place.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from designspace.analysis.comparison import Comparison, compare_all
from designspace.analysis.edf import EDF
from designspace.analysis.figures import Drawing, draw_edf, edf_numbers, finish, new_axes
from designspace.analysis.figures.error_axis import set_error_axis
from designspace.analysis.p_values import p_text
from designspace.analysis.populations import Populations
from designspace.analysis.results import Results
from designspace.analysis.tables import Table
from designspace.networks.quantities import Quantity
from designspace.spaces.constraints import Band
from designspace.spaces.screening import Screened
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import Metric

HIGH_POINT = 0.8
"""Quantile that TinyNAS compares: a fifth of the networks that fit have more than this."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A space at a resolution, as screening found it."""

    name: str
    """Name of the space, with the resolution if several were screened."""
    space: str
    resolution: int
    """Side of the images, in pixels."""
    drawn: int
    """Number of networks drawn to estimate the share."""
    fitting: int
    """Number of these that meet all limits."""
    share_low: float
    """Lower end of the interval of Clopper and Pearson for the share that fits."""
    share_high: float
    n: int
    """Number of networks that fit whose quantity was counted."""
    mean: float
    """Mean of the quantity over the networks that fit; NaN without any."""
    high_point: float
    """Quantile `HIGH_POINT` of the quantity."""

    @property
    def share(self) -> float:
        """Share of the space's networks that meet all limits."""
        return self.fitting / self.drawn


@dataclass(frozen=True, eq=False, repr=False)
class Screening(Outlined):
    """Spaces in the order of the mean quantity of their networks that fit."""

    quantity: Quantity
    limits: tuple[Band, ...]
    entries: tuple[Entry, ...]
    """The most promising one first; those of which no network fits last."""
    results: tuple[Results, ...]
    """The quantity of the networks that fit as values of a metric, for each entry that has any, in this order."""
    comparisons: tuple[Comparison, ...]
    """All pairs of these."""
    level: float

    def first_of(self, a: str, b: str) -> str | None:
        """Return which of two entries is shown to come first: by the test of the pair, and by the mean.

        None if the test does not show a difference, if the two disagree, or if no network of one of them fits.
        """
        pair = self._pairs().get(frozenset((a, b)))
        return None if pair is None else _first(pair)

    def not_shown(self, name: str) -> tuple[str, ...]:
        """Return the other entries, in order, that are neither shown to come before an entry nor after it."""
        pairs = self._pairs()
        others = [entry.name for entry in self.entries if frozenset((name, entry.name)) in pairs]
        return tuple(other for other in others if _first(pairs[frozenset((name, other))]) is None)

    def _pairs(self) -> dict[frozenset[str], Comparison]:
        """Return the comparisons by the names of their entries."""
        return {frozenset((pair.a, pair.b)): pair for pair in self.comparisons}

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each pair, in the order of the entries, and those of `without_networks`."""
        pairs = self._pairs()
        ordered = itertools.combinations([result.name for result in self.results], 2)
        return (*(_sentence(pairs[frozenset(names)], self.level) for names in ordered), *self.without_networks())

    def without_networks(self) -> tuple[str, ...]:
        """Return a sentence on the entries of which no network fits; empty if there are none."""
        entries = [entry for entry in self.entries if not entry.n]
        if not entries:
            return ()
        highest = percent(max(entry.share_high for entry in entries))
        return (
            f"No network fits of {', '.join(entry.name for entry in entries)}: of each, at most {highest} of the "
            f"networks do ({100 * (1 - self.level):g}% interval). Loosen a limit, lower the resolution, or raise "
            "draws.",
        )

    def table(self) -> Table:
        """Return one row per entry, for the terminal and the report."""
        metric = _metric(self.quantity, self.entries)
        header = (
            *("space", "rank", "pixels", "share that fits", "its interval", "networks"),
            *(f"mean {metric.heading}", f"{HIGH_POINT:.0%} point", "order not shown against"),
        )
        rows = []
        for rank, entry in enumerate(self.entries, start=1):
            values = [_scaled(value, entry, self) for value in (entry.mean, entry.high_point)]
            shares = percent(entry.share), f"{percent(entry.share_low)} to {percent(entry.share_high)}"
            place = str(rank) if entry.n else "-"
            others = ", ".join(self.not_shown(entry.name))
            rows.append((entry.name, place, str(entry.resolution), *shares, str(entry.n), *values, others))
        return Table("Networks that fit", header, tuple(rows))

    def numbers(self) -> pd.DataFrame:
        """Return one row per entry: all numbers, the quantity in its own unit."""
        columns = {
            "name": [entry.name for entry in self.entries],
            "space": [entry.space for entry in self.entries],
            "resolution": [entry.resolution for entry in self.entries],
            "share": [entry.share for entry in self.entries],
            "share_low": [entry.share_low for entry in self.entries],
            "share_high": [entry.share_high for entry in self.entries],
            "drawn": [entry.drawn for entry in self.entries],
            "fitting": [entry.fitting for entry in self.entries],
            "n": [entry.n for entry in self.entries],
            f"mean_{self.quantity.name}": [entry.mean for entry in self.entries],
            f"point_{100 * HIGH_POINT:g}_{self.quantity.name}": [entry.high_point for entry in self.entries],
            "order_not_shown_against": ["; ".join(self.not_shown(entry.name)) for entry in self.entries],
        }
        return pd.DataFrame(columns)

    def drawing(self) -> Drawing:
        """Draw the EDFs of the quantity with their bands, one for each entry of which a network fits.

        Raises:
            InputError: no network of any entry fits.
        """
        if not self.results:
            raise InputError("no network of any space meets the limits, so there is nothing to draw")
        edfs = Populations.of(self.results).edfs()
        figure, axes = new_axes(height=4.4 + 0.17 * len(edfs))
        draw_edf(axes, edfs, level=self.level)
        # Quantities span orders of magnitude; as values of which higher ones are better, they are drawn negative.
        largest, smallest = (
            float(-end(curve.errors[i] for curve in edfs.values())) for i, end in ((0, min), (-1, max))
        )
        axes.set_xscale("symlog", linthresh=smallest)
        axes.set_xlim(-1.1 * largest, -smallest / 1.1)
        set_error_axis(axes, "x", self.results[0].metric)  # the scale has its own ticks
        numbers = edf_numbers(edfs, self.level).rename(columns={"error": self.results[0].metric.heading})
        return finish("edf", "Networks that fit", figure, numbers, self._caption(edfs), self.results)

    def _caption(self, edfs: Mapping[str, EDF]) -> str:
        """Return the caption of the figure."""
        metric = self.results[0].metric
        sizes = ", ".join(f"{name} n = {curve.n}" for name, curve in edfs.items())
        return (
            f"For each {metric.name}, the fraction of the networks that fit which have at least as much ({sizes}). The "
            "axis begins with the highest values, so a curve further to the left belongs to larger networks. Shaded: "
            f"simultaneous {100 * (1 - self.level):g}% confidence band of each curve (Dvoretzky-Kiefer-Wolfowitz)."
        )


def rank_screened(
    screened: Mapping[str, Screened],
    quantity: Quantity,
    limits: Sequence[Band] = (),
    *,
    level: float = 0.05,
    seed: int = 0,
) -> Screening:
    """Compare screened spaces, and order them by the mean quantity of their networks that fit.

    All pairs are tested as spaces are by their errors (see `compare_all`), with Holm's correction over the pairs.

    Args:
        screened: what `designspace.spaces.screening.screen` found, by the name of the entry.
        quantity: the quantity that was counted.
        limits: the limits that the networks meet.
        level: significance level of tests, bands and intervals.
        seed: seed of the simulations that say how many more networks would decide.

    Raises:
        InputError: ``level`` is not between 0 and 1.
    """
    entries = [_entry(name, found, level) for name, found in screened.items()]
    entries.sort(key=lambda entry: (-entry.mean if entry.n else np.inf, -entry.share_high))
    metric = _metric(quantity, entries)
    factor = _factor(entries)[0]
    results = [
        Results.from_errors(entry.name, screened[entry.name].values / factor, 2, metric=metric)
        for entry in entries
        if entry.n
    ]
    comparisons = compare_all(results, level, seed=seed)
    return Screening(quantity, tuple(limits), tuple(entries), tuple(results), comparisons, level)


def _entry(name: str, found: Screened, level: float) -> Entry:
    """Return the summary of one screened space."""
    from scipy.stats import binomtest

    interval = binomtest(found.fitting, found.drawn).proportion_ci(1 - level, "exact")
    has_any = bool(found.values.size)
    return Entry(
        name=name,
        space=found.space.name,
        resolution=found.space.template.resolution,
        drawn=found.drawn,
        fitting=found.fitting,
        share_low=float(interval.low),
        share_high=float(interval.high),
        n=found.values.size,
        mean=float(found.values.mean()) if has_any else np.nan,
        high_point=float(np.quantile(found.values, HIGH_POINT)) if has_any else np.nan,
    )


def _first(pair: Comparison) -> str | None:
    """Return which entry of a pair is shown to come first (see `Screening.first_of`)."""
    by_mean = pair.a if pair.own_means[0] > 0 else pair.b
    return pair.better if pair.better == by_mean else None


def _sentence(pair: Comparison, level: float) -> str:
    """Return what a comparison shows, without a claim on errors."""
    shown = pair.swapped() if pair.effect < 0.5 else pair
    corrected = f", Holm-corrected over {pair.pairs} pairs" if pair.pairs > 1 else ""
    test = f"KS D = {pair.ks:.2f}, {p_text(pair.ks_p_holm)}{corrected}; n = {shown.n_a} and {shown.n_b}"
    probability = f"{shown.effect:.2f}" if shown.effect < 0.995 else "above 0.99"
    claim = f"the higher {pair.metric.name} with probability {probability}"
    if _first(pair):
        return f"{shown.a} before {shown.b}: among networks that fit, a random one of {shown.a} has {claim} ({test})."
    if pair.better:
        return (
            f"{shown.a} and {shown.b} have no order: among networks that fit, a random one of {shown.a} has {claim}, "
            f"but the mean of {shown.b} is higher ({test})."
        )
    if pair.differs:
        return (
            f"{shown.a} and {shown.b} have no order: their distributions differ, but neither is shown to have the "
            f"higher {pair.metric.name} more often; {shown.a} has {claim} ({test})."
        )
    return f"{shown.a} and {shown.b} are not distinguished at {100 * level:g}%: {shown.a} has {claim} ({test})."


def percent(share: float) -> str:
    """Return a share in percent, with two digits below 1%.

    >>> percent(0.2041), percent(0.000123), percent(0.0)
    ('20.4%', '0.012%', '0%')
    """
    return f"{100 * share:.1f}%" if share >= 0.01 else f"{100 * share:.2g}%"


def _factor(entries: Sequence[Entry]) -> tuple[float, str]:
    """Return the power of 1000 in which the quantity of all entries is expressed, and its prefix."""
    largest = max((entry.mean for entry in entries if entry.n), default=0.0)
    return next(((f, prefix) for f, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= f), (1.0, ""))


def _metric(quantity: Quantity, entries: Sequence[Entry]) -> Metric:
    """Return the quantity as a metric of which higher values are better."""
    unit = _factor(entries)[1] + quantity.unit
    name = quantity.label if quantity.unit else f"{quantity.label.removesuffix('s')} count"
    return Metric(name, unit, "higher", 0.0, low=0.0)


def _scaled(value: float, entry: Entry, screening: Screening) -> str:
    """Return a value of the quantity without its unit; ``-`` if the entry has no network."""
    return f"{value / _factor(screening.entries)[0]:.3g}" if entry.n else "-"
