"""What accuracy costs: Pareto fronts of error against complexity, and how complexity tells time and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.edf import check_level
from designspace.analysis.metrics import Column, Metric, metric, short_number, values
from designspace.analysis.results import Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError, unknown

Form = Literal["sqrt", "linear", "affine", "sqrt+linear"]
_TERMS: dict[str, tuple[str, ...]] = {
    "sqrt": ("sqrt",),
    "linear": ("x",),
    "affine": ("1", "x"),
    "sqrt+linear": ("sqrt", "x"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Pareto(Outlined):
    """Errors of the done networks against one complexity, and which of them no other beats in both."""

    name: str
    metric: Metric
    values: Column
    """The complexity. All arrays have shape (done networks,)."""
    errors: Column
    """Per cent."""
    on_front: NDArray[np.bool_]
    trials: tuple[str, ...]
    failed: int
    """Failed trials. They have no error of their own, and are on no front however small they are."""

    @property
    def front(self) -> tuple[Column, Column]:
        """Complexities, ascending, and errors of the front."""
        places = np.flatnonzero(self.on_front)
        places = places[np.lexsort((self.errors[places], self.values[places]))]
        return self.values[places], self.errors[places]

    def table(self) -> pd.DataFrame:
        """One row for each network."""
        columns = {"run": self.name, "trial": self.trials, self.metric.name: self.values, "error": self.errors}
        return pd.DataFrame(columns | {"on_front": self.on_front})


@dataclass(frozen=True, eq=False, repr=False)
class CostFit(Outlined):
    """How a cost grows with a complexity: correlation and a fit (figure 12 of "Designing Network Design Spaces")."""

    name: str
    """The populations."""
    device: str
    """Where the cost was measured; "" for what is no measurement."""
    complexity: Metric
    cost: Metric
    x: Column
    """The complexity. Shape (networks,)."""
    y: Column
    trials: tuple[str, ...]
    r: float
    """Pearson's correlation, as in the paper; NaN where one of them is constant."""
    low: float
    """Lower end of Fisher's interval of r, of confidence 1 - ``level``; NaN for fewer than 4 networks."""
    high: float
    level: float
    form: Form
    """``sqrt`` for y = c sqrt(x), ``linear`` for c x, ``affine`` for a + b x, ``sqrt+linear`` for a sqrt(x) + b x."""
    coefficients: tuple[float, ...]
    """By least squares, in the order of the form."""
    r_squared: float
    """Part of the variance of the cost that the fit explains; below 0 where a constant would do better."""
    line_x: Column
    """The fit as a line to draw: from the least to the greatest complexity."""
    line_y: Column

    @property
    def formula(self) -> str:
        """The fit in words, with x in thousands, millions or billions."""
        units = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
        unit, letter = next((one for one in units if 2 * np.median(self.x) >= one[0]), units[-1])
        scaled = {"1": (1.0, ""), "sqrt": (math.sqrt(unit), " sqrt(x)"), "x": (unit, " x")}
        texts = []
        for coefficient, term in zip(self.coefficients, _TERMS[self.form], strict=True):
            factor, text = scaled[term]
            texts.append(f"{short_number(coefficient * factor)}{text}")
        where = f", x in {letter}" if letter else ""
        return " + ".join(texts).replace("+ -", "- ") + where

    def table(self) -> pd.DataFrame:
        """One row for each network, with the fit's value."""
        columns = {"run": self.name, "device": self.device, "trial": self.trials}
        fitted = _predict(self.form, self.coefficients, self.x)
        numbers = {self.complexity.name: self.x, self.cost.name: self.y, "fit": fitted}
        return pd.DataFrame(columns | numbers).assign(r=self.r, low=self.low, high=self.high, level=self.level)


def pareto(results: Results, name: str | Metric = "flops") -> Pareto:
    """The Pareto front of error against a complexity, over the done networks.

    Raises:
        InputError: a metric that does not exist.
    """
    done = (results.table["status"] == "done").to_numpy(bool)
    column = values(results, name)
    done = done & np.isfinite(column)
    table = results.table[done]
    errors = table["final_error"].to_numpy(np.float64)
    front = pareto_front(column[done], errors)
    return Pareto(results.name, metric(name), column[done], errors, front, tuple(table["trial"]), results.counts.failed)


def pareto_front(costs: ArrayLike, errors: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other beats: none has a cost and an error that are both as low, and one of them lower.

    Points that are equal in both are all on the front, or none.

    >>> pareto_front([1, 2, 2, 3, 3], [9, 7, 8, 7, 5]).tolist()
    [True, True, False, False, True]
    """
    cost, error = np.asarray(costs, np.float64), np.asarray(errors, np.float64)
    order = np.lexsort((error, cost))
    front = np.zeros(cost.size, bool)
    least, reached = math.inf, math.nan  # the least error so far, and the cost where it was reached
    for place in order.tolist():
        if error[place] < least:
            least, reached = error[place], cost[place]
            front[place] = True
        elif error[place] == least and cost[place] == reached:
            front[place] = True
    return front


def devices(populations: Results | Sequence[Results]) -> tuple[str, ...]:
    """The devices that the done trials of some populations ran on, in alphabetical order."""
    runs = [populations] if isinstance(populations, Results) else populations
    found = {device for one in runs for device in one.table.loc[one.table["status"] == "done", "device"]}
    return tuple(sorted(found))


def cost_fit(
    populations: Results | Sequence[Results],
    complexity: str | Metric = "flops",
    cost: str | Metric = "train_s",
    *,
    device: str | None = None,
    form: Form | None = None,
    level: float = 0.05,
) -> CostFit:
    """Correlation of a cost with a complexity over the done networks, and the least-squares fit.

    The costs are ``train_s`` and ``memory_bytes``, measured, or a complexity: the paper fits activations ~ c sqrt(f),
    parameters ~ a + b f, time ~ a sqrt(f) + b f.

    Args:
        populations: one or more; those of several flop regimes tell more than one.
        complexity: what the cost is told from.
        cost: what is told.
        device: the device to count; it must be given where done trials ran on more than one (see `cost_fits`).
        form: of the fit. Unless told otherwise the paper's: ``sqrt`` for activations, ``affine`` for parameters,
            ``sqrt+linear`` for others from flops, ``affine`` from anything else.
        level: significance level of the interval of r.

    Raises:
        InputError: several devices or numbers of epochs, which do not compare; fewer networks than coefficients; a
            device, form or metric that is not there.
    """
    check_level(level)
    runs = [populations] if isinstance(populations, Results) else list(populations)
    x_metric, y_metric = metric(complexity), metric(cost)
    measured = y_metric.kind == "cost"
    names = ", ".join(one.name for one in runs)
    if measured:
        device = _one_device(names, devices(runs), device)
        _check_epochs(names, runs, device, y_metric)
    chosen = [_done(one, device if measured else None) for one in runs]
    x, y = (
        np.concatenate([np.empty(0), *(values(one, wanted)[rows] for one, rows in zip(runs, chosen, strict=True))])
        for wanted in (x_metric, y_metric)
    )
    trials = np.array([trial for one, rows in zip(runs, chosen, strict=True) for trial in one.table["trial"][rows]])
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    form = form or _usual_form(x_metric, y_metric)
    if form not in _TERMS:
        raise unknown("form of a fit", form, _TERMS)
    if x.size < len(_TERMS[form]):
        raise InputError(f"{names}: {x.size} done networks are too few to fit {y_metric.name} by {form}")
    coefficients = np.linalg.lstsq(_design(form, x), y, rcond=None)[0]
    line_x = np.linspace(x.min(), x.max(), 50)
    fitted = _predict(form, coefficients, x)
    spread = float(((y - y.mean()) ** 2).sum())
    r_squared = 1 - float(((y - fitted) ** 2).sum()) / spread if spread > 0 else math.nan
    r, low, high = pearson(x, y, level)
    told = tuple(coefficients.tolist())
    line_y = _predict(form, coefficients, line_x)
    where = device or "" if measured else ""
    return CostFit(
        names, where, x_metric, y_metric, x, y, tuple(trials[there]), r, low, high, level, form, told, r_squared,
        line_x, line_y,
    )  # fmt: skip


def cost_fits(
    populations: Results | Sequence[Results],
    complexity: str | Metric = "flops",
    cost: str | Metric = "train_s",
    *,
    form: Form | None = None,
    level: float = 0.05,
) -> tuple[CostFit, ...]:
    """`cost_fit` on each device by itself, where the cost is measured; else one for all.

    Raises:
        InputError: as `cost_fit`.
    """
    where: Sequence[str | None] = devices(populations) if metric(cost).kind == "cost" else [None]
    return tuple(cost_fit(populations, complexity, cost, device=one, form=form, level=level) for one in where)


def pearson(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> tuple[float, float, float]:
    """Pearson's r and Fisher's interval of confidence 1 - ``level``; NaN where there is none."""
    from scipy.stats import norm

    if x.size < 2 or min(np.ptp(x), np.ptp(y)) == 0:
        return math.nan, math.nan, math.nan
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    if x.size < 4:
        return r, math.nan, math.nan
    middle, margin = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12)), norm.ppf(1 - level / 2) / math.sqrt(x.size - 3)
    return r, math.tanh(middle - margin), math.tanh(middle + margin)


def _one_device(names: str, found: Sequence[str], device: str | None) -> str:
    """The device asked for, or the only one."""
    if device is not None:
        if device not in found:
            raise unknown(f"device of {names}", device, found)
        return device
    if len(found) > 1:
        raise InputError(
            f"{names}: the trials ran on {len(found)} devices ({', '.join(found)}), whose times and memory do not "
            f"compare; name one, or fit each by itself with cost_fits"
        )
    if not found:
        raise InputError(f"{names}: no trial is done, so nothing has been measured")
    return found[0]


def _check_epochs(names: str, runs: Sequence[Results], device: str | None, cost: Metric) -> None:
    """Raise where training times are of different numbers of epochs."""
    epochs = sorted({int(number) for one in runs for number in one.table["epochs"][_done(one, device)]})
    if cost.name == "train_s" and len(epochs) > 1:
        raise InputError(f"{names}: trials of {', '.join(map(str, epochs))} epochs have times that do not compare")


def _done(results: Results, device: str | None) -> NDArray[np.bool_]:
    """Which rows are done, on that device if one is named."""
    done = (results.table["status"] == "done").to_numpy(bool)
    return done if device is None else done & (results.table["device"] == device).to_numpy(bool)


def _usual_form(complexity: Metric, cost: Metric) -> Form:
    if complexity.name != "flops" or cost.name == "params":
        return "affine"
    return "sqrt" if cost.name == "activations" else "sqrt+linear"


def _design(form: str, x: Column) -> NDArray[np.float64]:
    """A column for each term. Shape (networks, terms)."""
    columns = {"1": np.ones(x.size), "sqrt": np.sqrt(x), "x": x}
    return np.stack([columns[term] for term in _TERMS[form]], axis=1)


def _predict(form: str, coefficients: ArrayLike, x: Column) -> Column:
    return np.asarray(_design(form, x) @ np.asarray(coefficients), np.float64)
