"""Metrics of a table of results: names, labels, units and scales of its columns, and derived quantities."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.results import ErrorColumn, Results
from designspace.support.display import Outlined
from designspace.support.errors import unknown
from designspace.trials.metric import TOP1_ERROR
from designspace.trials.metric import Metric as ErrorMetric

Scale = Literal["linear", "log"]
Kind = Literal["parameter", "complexity", "cost", "error"]
KINDS: tuple[Kind, ...] = ("parameter", "complexity", "cost", "error")
Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that every network of a population has, and how it is displayed."""

    name: str
    """Name by which it is requested: ``flops``, ``d``, ``w4``."""
    column: str
    """Column of the table, or "" if the number is derived from several columns."""
    label: str
    """Label of an axis, without the unit."""
    unit: str = ""
    """"" for plain numbers."""
    scale: Scale = "linear"
    """Scale of an axis if all values are above 0."""
    whole: bool = False
    """Whether values are whole numbers."""
    kind: Kind = "parameter"
    """``parameter`` of the network, ``complexity`` in closed form, measured ``cost``, or ``error``."""

    @property
    def axis_label(self) -> str:
        """Label and unit of an axis.

        >>> METRICS["train_s"].axis_label
        'training time (s)'
        """
        return f"{self.label} ({self.unit})" if self.unit else self.label


_NAMED = (
    Metric("d", "", "depth d, blocks", whole=True),
    Metric("stages", "", "stages", whole=True),
    Metric("w_0", "w_0", "initial width w_0", scale="log", whole=True),
    Metric("w_a", "w_a", "slope of the widths w_a", scale="log"),
    Metric("w_m", "w_m", "width multiplier w_m"),
    Metric("b", "", "bottleneck ratio b", scale="log"),
    Metric("g", "", "group width g", scale="log", whole=True),
    Metric("radix", "radix", "radix", whole=True),
    Metric("w_mean", "", "mean width of the blocks", scale="log"),
    Metric("w_last", "", "width of the last stage", scale="log", whole=True),
    Metric("flops", "flops", "multiply-adds", scale="log", whole=True, kind="complexity"),
    Metric("params", "params", "parameters", scale="log", whole=True, kind="complexity"),
    Metric("activations", "activations", "activations", scale="log", whole=True, kind="complexity"),
    Metric("train_s", "train_s", "training time", "s", "log", kind="cost"),
    Metric("memory_bytes", "memory_bytes", "training memory", "B", "log", whole=True, kind="cost"),
    Metric("final_error", "final_error", "error", "top-1, %", kind="error"),
    Metric("best_error", "best_error", "least error of all epochs", "top-1, %", kind="error"),
    Metric("heldout_error", "heldout_error", "error on held-out images", "top-1, %", kind="error"),
)
METRICS = {metric.name: metric for metric in _NAMED}
"""Metrics that do not belong to one stage; `metric` also returns those of stages (``d1``, ``w1``, ``b1``, ``g1``)."""

_ALIASES = {"depth": "d", "error": "final_error", "acts": "activations", "memory": "memory_bytes", "time": "train_s"}
_STAGE_COLUMN = re.compile(r"([dwbg])([1-9]\d*)")
_STAGE_LABELS = {
    "d": ("depth d{}, blocks", "linear", True),
    "w": ("width w{}", "log", True),
    "b": ("bottleneck ratio b{}", "log", False),
    "g": ("group width g{}", "log", True),
}


def metric(name: str | Metric, results: Results | None = None) -> Metric:
    """Return a metric by its name.

    Args:
        name: the name, or the metric itself.
        results: results whose networks may have parameters of their own, such as ``kernel_size1``.

    Raises:
        InputError: no metric has the name; the message lists the names.
    """
    if isinstance(name, Metric):
        return name
    if results is not None and name in own_columns(results):
        return _own_metric(results, name)
    if match := _STAGE_COLUMN.fullmatch(name):
        label, scale, whole = _STAGE_LABELS[match[1]]
        return Metric(name, name, label.format(match[2]), scale="log" if scale == "log" else "linear", whole=whole)
    named = METRICS.get(_ALIASES.get(name, name))
    if named is None:
        raise unknown("metric", name, [*METRICS, "d1, w1, b1, g1 and so on for each stage"])
    return named


def values(results: Results, name: str | Metric) -> Column:
    """Return one number per row of the table, NaN if a network or an unfinished trial has none.

    Raises:
        InputError: the metric is unknown, or the table has no columns for it.
    """
    chosen = metric(name, results)
    table = results.table
    if not chosen.column:
        return _derived(results, chosen.name)
    if chosen.column not in table.columns:
        raise unknown(f"metric of {results.name}", chosen.name, [other.name for other in available(results)])
    return table[chosen.column].to_numpy(np.float64)


def available(results: Results, kinds: Iterable[Kind] = KINDS) -> tuple[Metric, ...]:
    """Return all metrics of which at least one network of a table has a value, parameters first."""
    stages = [metric(f"{letter}{stage}") for letter in "dwbg" for stage in _stage_numbers(results)]
    named = [
        candidate for candidate in METRICS.values() if not candidate.column or candidate.column in results.table.columns
    ]
    parameters = [candidate for candidate in named if candidate.kind == "parameter"]
    stages += [_own_metric(results, name) for name in own_columns(results)]
    others = [candidate for candidate in named if candidate.kind != "parameter"]
    chosen_kinds = set(kinds)
    candidates = (candidate for candidate in (*parameters, *stages, *others) if candidate.kind in chosen_kinds)
    return tuple(candidate for candidate in candidates if np.isfinite(values(results, candidate)).any())


def own_columns(results: Results) -> list[str]:
    """Return the columns of numbers that are own parameters of a block, a stem or a head (see `spaces.parameters`).

    They stand between those of the stages and ``flops``. Parameters with texts, such as an activation, have no order,
    so they are left out.
    """
    names = [str(name) for name in results.table.columns]
    before = names[: names.index("flops")] if "flops" in names else []
    own = (name for name in before if name not in _NOT_OWN and not _STAGE_COLUMN.fullmatch(name))
    return [name for name in own if pd.api.types.is_numeric_dtype(results.table[name].dtype)]


def _own_metric(results: Results, name: str) -> Metric:
    """Return the metric of an own parameter."""
    column = results.table[name].to_numpy(np.float64)
    return Metric(name, name, name, whole=bool(np.all(column == np.rint(column))))


_NOT_OWN = frozenset({"id", "trial", "run", "fresh", "depth", "w_0", "w_a", "w_m", "radix", "stem_width", "avd_first"})


def metrics_of(results: Results, kinds: Iterable[Kind] = ("parameter", "complexity")) -> tuple[Metric, ...]:
    """Return the metrics that vary in a population, without duplicates.

    If all stages share their bottleneck ratio or group width, it is one metric (``b``, ``g``) instead of one per stage.
    """
    shared = [letter for letter in "bg" if _is_shared(results, letter)]
    varying = []
    for candidate in available(results, kinds):
        stage = _STAGE_COLUMN.fullmatch(candidate.name)
        is_duplicate = stage is not None and stage[1] in shared
        is_partly_shared = candidate.name in "bg" and candidate.name not in shared
        if not is_duplicate and not is_partly_shared and _varies(values(results, candidate)):
            varying.append(candidate)
    return tuple(varying)


def parameters_of(results: Results) -> tuple[Metric, ...]:
    """Return the parameters that distinguish the networks of a population: its degrees of freedom that vary.

    For RegNets, these are d, w_0, w_a, w_m, b and g ("Designing Network Design Spaces", section 3.3); for AnyNets,
    depth and width of each stage, with b and g per stage or shared; and for both the radix and the block's own
    parameters. Parameters that follow from others, such as the depth of all stages together, are not included.
    """
    shared = {"b", "g", "radix"}
    shared |= set(own_columns(results))
    regnet = {"w_0", "w_a", "w_m"}
    if regnet <= set(results.table.columns):
        return tuple(
            parameter for parameter in metrics_of(results, ["parameter"]) if parameter.name in {"d"} | regnet | shared
        )
    stages = {f"{letter}{stage}" for letter in "dwbg" for stage in _stage_numbers(results)}
    return tuple(parameter for parameter in metrics_of(results, ["parameter"]) if parameter.name in stages | shared)


def counted_errors(results: Results, column: ErrorColumn = "final_error") -> tuple[NDArray[np.int64], Column]:
    """Return the row numbers of the trials that count, and their errors (see `Results.errors`)."""
    return np.flatnonzero(results.counted()), results.errors(column)


@dataclass(frozen=True, eq=False, repr=False)
class Plane(Outlined):
    """Two metrics and the error of each finished network of a population."""

    name: str
    x_metric: Metric
    y_metric: Metric
    x: Column
    y: Column
    errors: Column
    """Percent; failed trials have the error of chance."""
    ranks: Column
    """From 0 (the least error) to 1 (the greatest); equal errors share their mean rank."""
    failed: NDArray[np.bool_]
    trials: tuple[str, ...]
    error_metric: ErrorMetric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    def table(self) -> pd.DataFrame:
        """Return one row per network."""
        return pd.DataFrame(
            {
                "run": self.name,
                "trial": self.trials,
                self.x_metric.name: self.x,
                self.y_metric.name: self.y,
                "error": self.error_metric.oriented(self.errors),
                "rank": self.ranks,
                "failed": self.failed,
            }
        )


def plane(results: Results, x: str | Metric, y: str | Metric) -> Plane:
    """Return two metrics of the finished networks that have both, with the rank of each network's error.

    Raises:
        InputError: a metric is unknown, or these results do not have it.
    """
    from scipy.stats import rankdata

    rows, errors = counted_errors(results)
    columns = [values(results, name)[rows] for name in (x, y)]
    is_known = np.isfinite(columns[0]) & np.isfinite(columns[1])
    table = results.table.iloc[rows[is_known]]
    ranks = (rankdata(errors[is_known]) - 1) / max(1, is_known.sum() - 1)
    return Plane(
        results.name,
        metric(x, results),
        metric(y, results),
        columns[0][is_known],
        columns[1][is_known],
        errors[is_known],
        ranks.astype(np.float64),
        (table["status"] == "failed").to_numpy(bool),
        tuple(table["trial"]),
        results.metric,
    )


def stage_columns(results: Results, letter: str) -> NDArray[np.float64]:  # (rows, stages)
    """Return a parameter of all stages: depth ``d``, width ``w``, ratio ``b`` or group width ``g``; NaN if missing."""
    names = [f"{letter}{stage}" for stage in _stage_numbers(results)]
    columns = results.table[names].to_numpy(np.float64)
    depths = results.table[[f"d{stage}" for stage in _stage_numbers(results)]].to_numpy(np.float64)
    return np.where(depths > 0, columns, np.nan)  # a missing stage may be written as 0


def short_number(value: float) -> str:
    """Return a number with three digits, followed by k, M or G if it is large.

    >>> [short_number(value) for value in (18.0, 2.25, 144.0, 848_590.0, -1_190_000.0)]
    ['18', '2.25', '144', '849k', '-1.19M']
    """
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(unit, 10_000):
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _stage_numbers(results: Results) -> range:
    """Return the numbers of the stages, from 1."""
    return range(1, results.num_stages + 1)


def _derived(results: Results, name: str) -> Column:
    """Return a number that follows from the stages; NaN if their columns are missing (imported results)."""
    if name == "d" and not results.num_stages and "depth" in results.table.columns:
        return results.table["depth"].to_numpy(np.float64)
    return _DERIVED[name](results) if results.num_stages else np.full(len(results.table), np.nan)


def _varies(column: Column) -> bool:
    """Return whether a column has at least two different values."""
    finite = column[np.isfinite(column)]
    return bool(finite.size) and bool(np.ptp(finite) > 0)


def _is_shared(results: Results, letter: str) -> bool:
    """Return whether every network has the same value in all its stages."""
    return bool(np.isfinite(_derived(results, letter)).all())


def _depth(results: Results) -> Column:
    """Return the number of blocks of all stages; NaN if none is known."""
    depth = np.nansum(stage_columns(results, "d"), axis=1)
    return np.where(depth > 0, depth, np.nan)


def _stages(results: Results) -> Column:
    """Return the number of stages."""
    return np.asarray(np.isfinite(stage_columns(results, "d")).sum(axis=1), np.float64)


def _mean_width(results: Results) -> Column:
    """Return the mean width over blocks, so that deep stages count more."""
    depths, widths = stage_columns(results, "d"), stage_columns(results, "w")
    return np.asarray(np.nansum(depths * widths, axis=1) / _depth(results), np.float64)


def _last_width(results: Results) -> Column:
    """Return the width of the last stage."""
    widths = stage_columns(results, "w")
    last = np.maximum(_stages(results).astype(int) - 1, 0)
    return np.asarray(widths[np.arange(len(widths)), last])


def _shared_ratio(results: Results) -> Column:
    """Return the bottleneck ratio that all stages of a network share; NaN if they differ."""
    ratios = stage_columns(results, "b")
    first = ratios[:, 0]
    is_same = (np.isnan(ratios) | (ratios == first[:, None])).all(axis=1)
    return np.where(is_same, first, np.nan)


def _shared_group_width(results: Results) -> Column:
    """Return the group width that all stages of a network share; NaN if they differ.

    A stage narrower than the group width has one group of its whole inner width ("Designing Network Design Spaces",
    appendix D), which does not count as a difference. If the group width exceeds the inner width of every stage, the
    result is that of the widest stage.
    """
    groups = stage_columns(results, "g")
    inner = stage_columns(results, "w") / stage_columns(results, "b")
    widest = np.nanmax(groups, axis=1, initial=0.0)
    is_same = (np.isnan(groups) | (groups == widest[:, None]) | (np.abs(groups - inner) < 0.5)).all(axis=1)
    return np.where(is_same, widest, np.nan)


_DERIVED: dict[str, Callable[[Results], Column]] = {
    "d": _depth,
    "stages": _stages,
    "b": _shared_ratio,
    "g": _shared_group_width,
    "w_mean": _mean_width,
    "w_last": _last_width,
}
