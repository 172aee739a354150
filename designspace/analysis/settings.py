"""Settings of the recipe that were drawn for each network: their best values, and how much of the errors they explain.

Each network has one draw of the settings, however often it was trained. Their effect is therefore found by regression
over networks, and what it leaves is due to the networks and, without repeated trainings, also to the seeds.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.best_values import best_value
from designspace.analysis.edf import check_level
from designspace.analysis.preconditions.repeats import by_network
from designspace.analysis.quantities import NAMED_QUANTITIES
from designspace.analysis.reruns import Interval, Reruns, reruns
from designspace.analysis.results import ErrorColumn, Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.recipe_axes import RecipeAxis

MIN_FREEDOM = 10
"""Minimum number of networks in addition to the numbers that are fitted."""
_MAX_NONCENTRALITY = 1e6
"""Largest noncentrality of an F distribution that is computed; beyond it, everything is explained."""


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Fractions of the variance of the errors of single trainings. They sum to 1."""

    settings: float
    networks: float
    """The fraction that is due to the networks, apart from their settings."""
    seeds: float


@dataclass(frozen=True, eq=False, repr=False)
class SettingEffects(Outlined):
    """How much of the variance of the networks' errors the drawn settings explain together."""

    settings: tuple[str, ...]
    """The drawn fields of the recipe."""
    networks: int
    """Number of networks with a result."""
    failed: int
    """Number of networks that failed, which are left out."""
    explained: float
    """Fraction of the variance of the networks' mean errors that the settings explain (adjusted R^2, at least 0)."""
    interval: Interval
    level: float
    """The interval has confidence 1 - ``level``."""
    trainings: int
    """Number of trainings of all networks together."""
    shares: VarianceShares | None
    """None if no network was trained more than once, so that networks and seeds cannot be separated."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    def table(self) -> pd.DataFrame:
        """Return one row."""
        names = ("settings", "networks", "seeds")
        shares = {f"share_of_{name}": math.nan if self.shares is None else getattr(self.shares, name) for name in names}
        ends = {"explained": self.explained, "low": self.interval.low, "high": self.interval.high, "level": self.level}
        counts = {"networks": self.networks, "failed": self.failed, "trainings": self.trainings}
        return pd.DataFrame([{"settings": ", ".join(self.settings), **ends, **shares, **counts}])

    def sentence(self) -> str:
        """Return the fractions as text."""
        names = _listed(self.settings)
        ends = f"{100 * self.interval.low:.0f} to {100 * self.interval.high:.0f}%"
        sentence = (
            f"{names}, drawn for each network, {'explains' if len(self.settings) == 1 else 'explain'} "
            f"{100 * self.explained:.0f}% ({ends}) of the variance between the {self.metric.plural} of "
            f"{counted(self.networks, 'network')}"
            f"{f' (without {self.failed} that failed)' if self.failed else ''}"
        )
        if self.shares is None:
            return (
                f"{sentence}. The rest is due to the networks and to their seeds, which single trainings cannot "
                "separate; to train each network with two seeds, launch with seeds=2."
            )
        settings, networks, seeds = (
            f"{100 * share:.0f}%" for share in (self.shares.settings, self.shares.networks, self.shares.seeds)
        )
        return (
            f"{sentence}. Of the variance between single trainings, {settings} is due to these settings, {networks} to "
            f"the networks and {seeds} to the seeds ({counted(self.trainings, 'training')})."
        )


def setting_effects(results: Results, level: float = 0.05, *, column: ErrorColumn = "final_error") -> SettingEffects:
    """Return how much of the variance of the errors the drawn settings of the recipe explain.

    The mean errors of the networks are fitted by a parabola of each number (of its logarithm, if it was drawn
    log-uniformly) and a constant for each other value of a choice. So interactions of settings count as due to the
    networks. The interval inverts the noncentral F distribution: it is exact for errors that vary normally around such
    a function (Steiger, "Beyond the F Test", Psychological Methods, 2004). By simulation (16, 48 and 100 networks, 600
    draws each) 95% intervals contain the true fraction in 94 to 96% of the draws, also if errors depend on |log lr|
    instead, in 93 to 95% if they vary log-normally, and in 97 to 99% if the settings have no effect.

    Failed trials are left out: where high learning rates diverge, no parabola fits errors at chance level, and 95%
    intervals of 48 networks contained the true fraction in fewer than 1% of the draws.

    Raises:
        InputError: no setting was drawn, there are too few networks, or all errors are equal.
    """
    check_level(level)
    if not results.drawn:
        raise InputError(f"{results.name}: no field of the recipe was drawn for each network")
    trained = results.with_failures("exclude")
    means = by_network(trained)
    rows = means.table[means.counted()]
    errors = means.errors(column)
    failed = int((means.table["status"] == "failed").sum())
    inputs = np.hstack([_inputs(rows[name], axis) for name, axis in results.drawn.items()])
    inputs = np.column_stack([np.ones(len(rows)), inputs])
    fitted = int(np.linalg.matrix_rank(inputs)) if len(rows) else 0
    freedom = errors.size - fitted
    if freedom < MIN_FREEDOM or fitted < 2:
        needed = inputs.shape[1] + MIN_FREEDOM
        raise InputError(
            f"{results.name}: the effect of {_listed(tuple(results.drawn))} needs {needed} networks that differ in "
            f"{'it' if len(results.drawn) == 1 else 'them'}, not {errors.size}"
        )
    total = float(((errors - errors.mean()) ** 2).sum())
    if not total:
        raise InputError(f"{results.name}: all {errors.size} errors are equal, so settings explain nothing")
    residuals = errors - inputs @ np.linalg.lstsq(inputs, errors, rcond=None)[0]
    unexplained = float((residuals**2).sum()) / total
    explained = max(0.0, 1 - unexplained * (errors.size - 1) / freedom)
    interval = _interval(unexplained, fitted - 1, freedom, level)
    trainings, shares = _shares(trained, explained, column)
    return SettingEffects(
        tuple(results.drawn),
        errors.size,
        failed,
        explained,
        interval,
        level,
        trainings or errors.size,
        shares,
        results.metric,
    )


def setting_sentences(results: Results, level: float = 0.05) -> tuple[str, ...]:
    """Return sentences on the best values of drawn settings and their effect; none if there are too few networks."""
    means = by_network(results)
    sentences = []
    for name, axis in results.drawn.items():
        if name in NAMED_QUANTITIES and axis.is_number and np.isfinite(means.table[name][means.counted()]).any():
            best = best_value(means, name, level=level)
            sentences.append(
                f"the best networks have {name} {best.median:.3g} ({best.low:.3g} to {best.high:.3g}, empirical "
                f"bootstrap of {counted(best.n, 'network')}); it was {axis.describe()}."
            )
    with contextlib.suppress(InputError):  # too few networks
        sentences.append(setting_effects(results, level).sentence())
    return tuple(f"{results.name}: {sentence}" for sentence in sentences)


def _listed(names: tuple[str, ...]) -> str:
    """Return names as text.

    >>> _listed(("lr", "weight_decay", "mixup"))
    'lr, weight_decay and mixup'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _inputs(column: pd.Series, axis: RecipeAxis) -> NDArray[np.float64]:  # (networks, inputs)
    """Return the inputs of the regression for one setting."""
    if not axis.is_number:
        texts = column.astype(object).where(column.notna(), "").astype(str)
        return pd.get_dummies(texts, drop_first=True).to_numpy(np.float64)
    values = column.to_numpy(np.float64)
    if axis.kind == "log_uniform":
        values = np.log(values)
    spread = float(np.ptp(values)) if values.size else 0.0
    scaled = (values - values.mean()) / spread if spread else np.zeros(values.size)
    return np.column_stack([scaled, scaled**2])


def _interval(unexplained: float, fitted: int, freedom: int, level: float) -> Interval:
    """Return the interval of the explained fraction of the variance.

    Args:
        unexplained: 1 - R^2.
        fitted: number of fitted numbers, without the constant.
        freedom: degrees of freedom of the residuals.
        level: one minus the confidence.
    """
    from scipy.optimize import brentq
    from scipy.special import ncfdtr

    ratio = (1 - unexplained) / fitted / max(unexplained / freedom, 1 / _MAX_NONCENTRALITY)
    n = freedom + fitted + 1

    def end(probability: float) -> float:
        """Return the fraction at which a ratio up to the observed one has a probability."""

        def excess(noncentrality: float) -> float:
            return float(ncfdtr(fitted, freedom, noncentrality, ratio)) - probability

        if excess(0.0) <= 0:
            return 0.0
        high = 1.0 + fitted * ratio  # doubled only as far as needed, since `ncfdtr` is NaN in the far tail
        while excess(high) > 0:
            high *= 2
            if high > _MAX_NONCENTRALITY:
                return 1.0
        noncentrality = float(brentq(excess, 0.0, high))  # `ncfdtrinc` ends at 1e4
        return noncentrality / (noncentrality + n)

    return Interval(end(1 - level / 2), end(level / 2))


def _shares(results: Results, explained: float, column: ErrorColumn) -> tuple[int, VarianceShares | None]:
    """Return the number of trainings of networks with repeats, and the shares of the variance; 0 and None without."""
    try:
        repeated: Reruns = reruns(results, column=column)
    except InputError:
        return 0, None
    trainings, networks = len(repeated.errors), repeated.errors["id"].nunique()
    noise, between = repeated.noise**2, repeated.between**2
    if networks < 2 or not noise + between:
        return 0, None
    of_settings = min(between, explained * (between + noise * networks / trainings))
    total = between + noise
    return trainings, VarianceShares(of_settings / total, (between - of_settings) / total, noise / total)
