"""The cost of accuracy: Pareto fronts of error and any cost, and predictions of one cost from another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.edf import check_level
from designspace.analysis.quantities import OF_TRAINING, Column, quantity, short_number, values
from designspace.analysis.results import Results
from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.support.errors import InputError, unknown
from designspace.trials.metric import TOP1_ERROR, Metric

Form = Literal["sqrt", "linear", "affine", "sqrt+linear"]
_TERMS: dict[str, tuple[str, ...]] = {
    "sqrt": ("sqrt",),
    "linear": ("x",),
    "affine": ("1", "x"),
    "sqrt+linear": ("sqrt", "x"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Pareto(Outlined):
    """Errors and one cost of the done networks, and which of them are on the Pareto front."""

    name: str
    quantity: Quantity
    values: Column
    """The cost. All arrays have shape (done networks,)."""
    errors: Column
    """Percent."""
    on_front: NDArray[np.bool_]
    trials: tuple[str, ...]
    failed: int
    """Number of failed trials. They have no error of their own, so they are never on the front."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    @property
    def front(self) -> tuple[Column, Column]:
        """Costs, ascending, and errors of the front."""
        indices = np.flatnonzero(self.on_front)
        indices = indices[np.lexsort((self.errors[indices], self.values[indices]))]
        return self.values[indices], self.errors[indices]

    def table(self) -> pd.DataFrame:
        """Return one row per network."""
        errors = self.metric.oriented(self.errors)
        columns = {"run": self.name, "trial": self.trials, self.quantity.name: self.values, "error": errors}
        return pd.DataFrame(columns | {"on_front": self.on_front})


@dataclass(frozen=True, eq=False, repr=False)
class CostFit(Outlined):
    """Correlation of a cost with another one, and a fit (figure 12 of "Designing Network Design Spaces")."""

    name: str
    """Names of the populations."""
    device: str
    """Where the cost was measured, or "" if it is not a measurement."""
    complexity: Quantity
    cost: Quantity
    x: Column
    """The complexity. Shape (networks,)."""
    y: Column
    trials: tuple[str, ...]
    r: float
    """Pearson's correlation, as in the paper; NaN if complexity or cost is constant."""
    low: float
    """Lower end of Fisher's interval of r, with confidence 1 - ``level``; NaN for fewer than 4 networks."""
    high: float
    level: float
    form: Form
    """``sqrt`` for y = c sqrt(x), ``linear`` for c x, ``affine`` for a + b x, ``sqrt+linear`` for a sqrt(x) + b x."""
    coefficients: tuple[float, ...]
    """Least-squares coefficients, in the order of the form."""
    r_squared: float
    """Fraction of the variance of the cost that the fit explains; below 0 if a constant fits better."""
    line_x: Column
    """The fit as a line to draw, from the least to the greatest complexity."""
    line_y: Column

    @property
    def formula(self) -> str:
        """The fit as text, with x in thousands, millions or billions."""
        units = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
        unit, letter = next((choice for choice in units if 2 * np.median(self.x) >= choice[0]), units[-1])
        scaled = {"1": (1.0, ""), "sqrt": (math.sqrt(unit), " sqrt(x)"), "x": (unit, " x")}
        texts = []
        for coefficient, term in zip(self.coefficients, _TERMS[self.form], strict=True):
            factor, text = scaled[term]
            texts.append(f"{short_number(coefficient * factor)}{text}")
        x_unit = f", x in {letter}" if letter else ""
        return " + ".join(texts).replace("+ -", "- ") + x_unit

    def table(self) -> pd.DataFrame:
        """Return one row per network, with the value of the fit."""
        columns = {"run": self.name, "device": self.device, "trial": self.trials}
        fitted = _predict(self.form, self.coefficients, self.x)
        numbers = {self.complexity.name: self.x, self.cost.name: self.y, "fit": fitted}
        return pd.DataFrame(columns | numbers).assign(r=self.r, low=self.low, high=self.high, level=self.level)


def pareto(results: Results, name: str | Quantity = "flops") -> Pareto:
    """Return the Pareto front of error and a quantity, over the done networks that have it.

    Args:
        results: a population.
        name: the quantity, such as ``flops``, ``peak_memory`` or ``latency``. Lower values are better, unless its
            direction is ``higher``, as for images per second.

    Raises:
        InputError: the quantity is unknown, or these results do not have it.
    """
    is_done = (results.table["status"] == "done").to_numpy(bool)
    column = values(results, name)
    is_done = is_done & np.isfinite(column)
    table = results.table[is_done]
    errors = results.metric.oriented(table["final_error"].to_numpy(np.float64))
    chosen = quantity(name, results)
    costs = -column[is_done] if chosen.direction == "higher" else column[is_done]
    front = pareto_front(costs, errors)
    trials = tuple(table["trial"].tolist())
    failed = results.counts.failed
    return Pareto(results.name, chosen, column[is_done], errors, front, trials, failed, results.metric)


def pareto_front(costs: ArrayLike, errors: ArrayLike) -> NDArray[np.bool_]:
    """Return which points are on the Pareto front.

    A point is on the front unless another has a cost and an error that are both as low, and at least one of them lower.
    Points that are equal in both are either all on the front or none of them is.

    >>> pareto_front([1, 2, 2, 3, 3], [9, 7, 8, 7, 5]).tolist()
    [True, True, False, False, True]
    """
    cost, error = np.asarray(costs, np.float64), np.asarray(errors, np.float64)
    order = np.lexsort((error, cost))
    on_front = np.zeros(cost.size, bool)
    least, least_cost = math.inf, math.nan  # the least error so far, and the cost where it was reached
    for index in order.tolist():
        if error[index] < least:
            least, least_cost = error[index], cost[index]
            on_front[index] = True
        elif error[index] == least and cost[index] == least_cost:
            on_front[index] = True
    return on_front


def devices(populations: Results | Sequence[Results]) -> tuple[str, ...]:
    """Return the devices on which the done trials of some populations ran, in alphabetical order."""
    runs = [populations] if isinstance(populations, Results) else populations
    names = {device for run in runs for device in run.table.loc[run.table["status"] == "done", "device"]}
    return tuple(sorted(names))


def cost_fit(
    populations: Results | Sequence[Results],
    complexity: str | Quantity = "flops",
    cost: str | Quantity = "train_s",
    *,
    device: str | None = None,
    form: Form | None = None,
    level: float = 0.05,
) -> CostFit:
    """Return the correlation of a cost with another one over the done networks, and the least-squares fit.

    The cost is any quantity, such as ``train_s``, ``latency`` or ``params``: the paper fits activations ~ c sqrt(f),
    parameters ~ a + b f and time ~ a sqrt(f) + b f.

    Args:
        populations: one or more populations; several flop regimes are more informative than one.
        complexity: the predictor.
        cost: the predicted quantity.
        device: the device whose trials count; required if done trials ran on more than one (see `cost_fits`).
        form: form of the fit. The default is that of the paper: ``sqrt`` for activations, ``affine`` for parameters,
            ``sqrt+linear`` for other costs predicted from flops, and ``affine`` for all other predictors.
        level: significance level of the interval of r.

    Raises:
        InputError: there are several devices or numbers of epochs, whose costs are not comparable; there are fewer
            networks than coefficients; or a device, form or quantity is unknown.
    """
    check_level(level)
    runs = [populations] if isinstance(populations, Results) else list(populations)
    x_quantity, y_quantity = (quantity(name, *runs) for name in (complexity, cost))
    is_measured = y_quantity.name in OF_TRAINING
    names = ", ".join(run.name for run in runs)
    if is_measured:
        device = _one_device(names, devices(runs), device)
        _check_epochs(names, runs, device, y_quantity)
    points = _Points.of(runs, device if is_measured else None, x_quantity, y_quantity)
    x, y = points.x, points.y
    form = form or _usual_form(x_quantity, y_quantity)
    if form not in _TERMS:
        raise unknown("form of a fit", form, _TERMS)
    if x.size < len(_TERMS[form]):
        raise InputError(f"{names}: {x.size} done networks are too few to fit {y_quantity.name} by {form}")
    coefficients = np.linalg.lstsq(_design(form, x), y, rcond=None)[0]
    line_x = np.linspace(x.min(), x.max(), 50)
    fitted = _predict(form, coefficients, x)
    spread = float(((y - y.mean()) ** 2).sum())
    r_squared = 1 - float(((y - fitted) ** 2).sum()) / spread if spread > 0 else math.nan
    r, low, high = pearson(x, y, level)
    fitted_coefficients = tuple(coefficients.tolist())
    line_y = _predict(form, coefficients, line_x)
    fit_device = device or "" if is_measured else ""
    return CostFit(
        names, fit_device, x_quantity, y_quantity, x, y, points.trials, r, low, high, level, form,
        fitted_coefficients, r_squared, line_x, line_y,
    )  # fmt: skip


def cost_fits(
    populations: Results | Sequence[Results],
    complexity: str | Quantity = "flops",
    cost: str | Quantity = "train_s",
    *,
    form: Form | None = None,
    level: float = 0.05,
) -> tuple[CostFit, ...]:
    """Return `cost_fit` for each device if the cost was measured by the trainings, otherwise one fit for all.

    Raises:
        InputError: as `cost_fit`.
    """
    runs = [populations] if isinstance(populations, Results) else list(populations)
    chosen: Sequence[str | None] = devices(runs) if quantity(cost, *runs).name in OF_TRAINING else [None]
    return tuple(cost_fit(populations, complexity, cost, device=device, form=form, level=level) for device in chosen)


def pearson(x: NDArray[np.float64], y: NDArray[np.float64], level: float = 0.05) -> tuple[float, float, float]:
    """Return Pearson's r and Fisher's interval with confidence 1 - ``level``; NaN if they are undefined."""
    from scipy.stats import norm

    if x.size < 2 or min(np.ptp(x), np.ptp(y)) == 0:
        return math.nan, math.nan, math.nan
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    if x.size < 4:
        return r, math.nan, math.nan
    middle, margin = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12)), norm.ppf(1 - level / 2) / math.sqrt(x.size - 3)
    return r, math.tanh(middle - margin), math.tanh(middle + margin)


@dataclass(frozen=True, eq=False, slots=True)
class _Points:
    """Two quantities of the done networks that have both."""

    x: Column
    y: Column
    trials: tuple[str, ...]

    @staticmethod
    def of(runs: Sequence[Results], device: str | None, x_quantity: Quantity, y_quantity: Quantity) -> _Points:
        """Return the points of all networks of some runs, on one device if ``device`` is not None."""
        chosen = [_done(run, device) for run in runs]
        x, y = (
            np.concatenate([np.empty(0), *(values(run, axis)[rows] for run, rows in zip(runs, chosen, strict=True))])
            for axis in (x_quantity, y_quantity)
        )
        trials = np.array(
            [trial for run, rows in zip(runs, chosen, strict=True) for trial in run.table["trial"][rows].tolist()]
        )
        is_known = np.isfinite(x) & np.isfinite(y)
        return _Points(x[is_known], y[is_known], tuple(trials[is_known]))


def _one_device(names: str, available: Sequence[str], device: str | None) -> str:
    """Return the requested device, or the only one."""
    if device is not None:
        if device not in available:
            raise unknown(f"device of {names}", device, available)
        return device
    if len(available) > 1:
        raise InputError(
            f"{names}: the trials ran on {len(available)} devices ({', '.join(available)}), whose times and memory are "
            f"not comparable; name one with device=..., or fit each device with cost_fits"
        )
    if not available:
        raise InputError(f"{names}: no trial is done, so nothing has been measured")
    return available[0]


def _check_epochs(names: str, runs: Sequence[Results], device: str | None, cost: Quantity) -> None:
    """Raise an InputError if training times are of different numbers of epochs."""
    epochs = sorted({int(number) for run in runs for number in run.table["epochs"][_done(run, device)]})
    if cost.name == "train_s" and len(epochs) > 1:
        raise InputError(f"{names}: trials of {', '.join(map(str, epochs))} epochs have times that are not comparable")


def _done(results: Results, device: str | None) -> NDArray[np.bool_]:
    """Return which rows are done, on one device if ``device`` is not None."""
    done = (results.table["status"] == "done").to_numpy(bool)
    return done if device is None else done & (results.table["device"] == device).to_numpy(bool)


def _usual_form(complexity: Quantity, cost: Quantity) -> Form:
    """Return the form that the paper fits."""
    if complexity.name != "flops" or cost.name == "params":
        return "affine"
    return "sqrt" if cost.name == "activations" else "sqrt+linear"


def _design(form: str, x: Column) -> NDArray[np.float64]:
    """Return one column per term. Shape (networks, terms)."""
    columns = {"1": np.ones(x.size), "sqrt": np.sqrt(x), "x": x}
    return np.stack([columns[term] for term in _TERMS[form]], axis=1)


def _predict(form: str, coefficients: ArrayLike, x: Column) -> Column:
    """Return the value of a fit for each complexity."""
    return np.asarray(_design(form, x) @ np.asarray(coefficients), np.float64)
