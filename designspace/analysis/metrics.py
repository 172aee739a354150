"""What the columns of a table of results mean: names, labels, units and scales, and quantities derived from them."""

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

Scale = Literal["linear", "log"]
Kind = Literal["parameter", "complexity", "cost", "error"]
KINDS: tuple[Kind, ...] = ("parameter", "complexity", "cost", "error")
Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that every network of a population has, and how it is shown."""

    name: str
    """What it is asked for by: ``flops``, ``d``, ``w4``."""
    column: str
    """The column of the table; "" where the number is derived from several."""
    label: str
    """What an axis says, without the unit."""
    unit: str = ""
    """"" for plain numbers."""
    scale: Scale = "linear"
    """How an axis shows it, where all values are above 0."""
    whole: bool = False
    """Whether values are whole numbers."""
    kind: Kind = "parameter"
    """``parameter`` of the network, ``complexity`` in closed form, measured ``cost``, or ``error``."""

    @property
    def axis_label(self) -> str:
        """Label and unit.

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
"""The metrics that do not belong to one stage; `metric` gives those of stages (``d1``, ``w1``, ``b1``, ``g1``) too."""

_ALIASES = {"depth": "d", "error": "final_error", "acts": "activations", "memory": "memory_bytes", "time": "train_s"}
_STAGE_COLUMN = re.compile(r"([dwbg])([1-9]\d*)")
_STAGE_LABELS = {
    "d": ("depth d{}, blocks", "linear", True),
    "w": ("width w{}", "log", True),
    "b": ("bottleneck ratio b{}", "log", False),
    "g": ("group width g{}", "log", True),
}


def metric(name: str | Metric) -> Metric:
    """The metric of that name.

    Raises:
        InputError: no metric has the name; the message lists those that exist.
    """
    if isinstance(name, Metric):
        return name
    if match := _STAGE_COLUMN.fullmatch(name):
        label, scale, whole = _STAGE_LABELS[match[1]]
        return Metric(name, name, label.format(match[2]), scale="log" if scale == "log" else "linear", whole=whole)
    found = METRICS.get(_ALIASES.get(name, name))
    if found is None:
        raise unknown("metric", name, [*METRICS, "d1, w1, b1, g1 and so on for each stage"])
    return found


def values(results: Results, name: str | Metric) -> Column:
    """One number for each row of the table, NaN where a network (or an unfinished trial) has none.

    Raises:
        InputError: there is no such metric, or this table has no columns for it.
    """
    wanted = metric(name)
    table = results.table
    if not wanted.column:
        return _derived(results, wanted.name)
    if wanted.column not in table.columns:
        raise unknown(f"metric of {results.name}", wanted.name, [one.name for one in available(results)])
    return table[wanted.column].to_numpy(np.float64)


def available(results: Results, kinds: Iterable[Kind] = KINDS) -> tuple[Metric, ...]:
    """All metrics that at least one network of a table has a value of, the parameters first."""
    stages = [metric(f"{letter}{stage}") for letter in "dwbg" for stage in _stage_numbers(results)]
    named = [one for one in METRICS.values() if not one.column or one.column in results.table.columns]
    parameters = [one for one in named if one.kind == "parameter"]
    others = [one for one in named if one.kind != "parameter"]
    wanted = set(kinds)
    some = (one for one in (*parameters, *stages, *others) if one.kind in wanted)
    return tuple(one for one in some if np.isfinite(values(results, one)).any())


def metrics_of(results: Results, kinds: Iterable[Kind] = ("parameter", "complexity")) -> tuple[Metric, ...]:
    """The metrics that vary in a population, each thing once.

    Where all stages share their bottleneck ratio or group width, that is one metric (``b``, ``g``) and not one a stage.
    """
    shared = [letter for letter in "bg" if _is_shared(results, letter)]
    found = []
    for one in available(results, kinds):
        stage = _STAGE_COLUMN.fullmatch(one.name)
        twice = stage is not None and stage[1] in shared
        partly = one.name in "bg" and one.name not in shared
        if not twice and not partly and _varies(values(results, one)):
            found.append(one)
    return tuple(found)


def parameters_of(results: Results) -> tuple[Metric, ...]:
    """The parameters that tell the networks of a population apart: its degrees of freedom, as far as they vary.

    Of a RegNet these are d, w_0, w_a, w_m, b and g ("Designing Network Design Spaces", section 3.3), of an AnyNet depth
    and width of each stage, with b and g of each stage or shared; and the radix. Nothing is in there that others tell,
    such as the depth of all stages together.
    """
    shared = {"b", "g", "radix"}
    regnet = {"w_0", "w_a", "w_m"}
    if regnet <= set(results.table.columns):
        return tuple(one for one in metrics_of(results, ["parameter"]) if one.name in {"d"} | regnet | shared)
    stages = {f"{letter}{stage}" for letter in "dwbg" for stage in _stage_numbers(results)}
    return tuple(one for one in metrics_of(results, ["parameter"]) if one.name in stages | shared)


def counted(results: Results, column: ErrorColumn = "final_error") -> tuple[NDArray[np.int64], Column]:
    """The places in the table of the trials that count, and their errors (per cent), failed ones at chance level."""
    return np.flatnonzero(results.counted()), results.errors(column)


@dataclass(frozen=True, eq=False, repr=False)
class Plane(Outlined):
    """Where the finished networks of a population lie in two metrics, and how good each is."""

    name: str
    x_metric: Metric
    y_metric: Metric
    x: Column
    y: Column
    errors: Column
    """Per cent; a failed trial has that of chance."""
    ranks: Column
    """From 0 (the least error) to 1 (the greatest); equal errors share their mean rank."""
    failed: NDArray[np.bool_]
    trials: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """One row for each network that is drawn."""
        return pd.DataFrame(
            {
                "run": self.name,
                "trial": self.trials,
                self.x_metric.name: self.x,
                self.y_metric.name: self.y,
                "error": self.errors,
                "rank": self.ranks,
                "failed": self.failed,
            }
        )


def plane(results: Results, x: str | Metric, y: str | Metric) -> Plane:
    """Two metrics of the finished networks that have both, with the rank of each network's error among them.

    Raises:
        InputError: an unknown metric, or one that these results have not.
    """
    from scipy.stats import rankdata

    rows, errors = counted(results)
    columns = [values(results, one)[rows] for one in (x, y)]
    there = np.isfinite(columns[0]) & np.isfinite(columns[1])
    table = results.table.iloc[rows[there]]
    ranks = (rankdata(errors[there]) - 1) / max(1, there.sum() - 1)
    return Plane(
        results.name,
        metric(x),
        metric(y),
        columns[0][there],
        columns[1][there],
        errors[there],
        ranks.astype(np.float64),
        (table["status"] == "failed").to_numpy(bool),
        tuple(table["trial"]),
    )


def stage_columns(results: Results, letter: str) -> NDArray[np.float64]:  # (rows, stages)
    """A letter's columns of all stages: ``d`` depths, ``w`` widths, ``b`` ratios, ``g`` group widths; NaN for none."""
    names = [f"{letter}{stage}" for stage in _stage_numbers(results)]
    columns = results.table[names].to_numpy(np.float64)
    depths = results.table[[f"d{stage}" for stage in _stage_numbers(results)]].to_numpy(np.float64)
    return np.where(depths > 0, columns, np.nan)  # a stage that is not there may be written as 0


def short_number(value: float) -> str:
    """A number of three digits, with k, M or G where it is large.

    >>> [short_number(value) for value in (18.0, 2.25, 144.0, 848_590.0, -1_190_000.0)]
    ['18', '2.25', '144', '849k', '-1.19M']
    """
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(unit, 10_000):
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _stage_numbers(results: Results) -> range:
    return range(1, results.num_stages + 1)


def _derived(results: Results, name: str) -> Column:
    """A number that follows from the stages; NaN where their columns are not known (imported results)."""
    if name == "d" and not results.num_stages and "depth" in results.table.columns:
        return results.table["depth"].to_numpy(np.float64)
    return _DERIVED[name](results) if results.num_stages else np.full(len(results.table), np.nan)


def _varies(column: Column) -> bool:
    """Whether a column has at least two different values."""
    finite = column[np.isfinite(column)]
    return bool(finite.size) and bool(np.ptp(finite) > 0)


def _is_shared(results: Results, letter: str) -> bool:
    """Whether every network has one value in all its stages."""
    return bool(np.isfinite(_derived(results, letter)).all())


def _depth(results: Results) -> Column:
    """Blocks of all stages; NaN where none is known."""
    depth = np.nansum(stage_columns(results, "d"), axis=1)
    return np.where(depth > 0, depth, np.nan)


def _stages(results: Results) -> Column:
    return np.asarray(np.isfinite(stage_columns(results, "d")).sum(axis=1), np.float64)


def _mean_width(results: Results) -> Column:
    """Mean over blocks, so that a deep stage counts more."""
    depths, widths = stage_columns(results, "d"), stage_columns(results, "w")
    return np.asarray(np.nansum(depths * widths, axis=1) / _depth(results), np.float64)


def _last_width(results: Results) -> Column:
    widths = stage_columns(results, "w")
    last = np.maximum(_stages(results).astype(int) - 1, 0)
    return np.asarray(widths[np.arange(len(widths)), last])


def _shared_ratio(results: Results) -> Column:
    """The bottleneck ratio that all stages of a network have; NaN where they differ."""
    ratios = stage_columns(results, "b")
    first = ratios[:, 0]
    same = (np.isnan(ratios) | (ratios == first[:, None])).all(axis=1)
    return np.where(same, first, np.nan)


def _shared_group_width(results: Results) -> Column:
    """The group width of all stages of a network; NaN where they differ.

    A stage narrower than the group width has one group of its whole inner width ("Designing Network Design Spaces",
    appendix D), which is no difference. A group width wider than every stage shows as that of the widest.
    """
    groups = stage_columns(results, "g")
    inner = stage_columns(results, "w") / stage_columns(results, "b")
    widest = np.nanmax(groups, axis=1, initial=0.0)
    same = (np.isnan(groups) | (groups == widest[:, None]) | (np.abs(groups - inner) < 0.5)).all(axis=1)
    return np.where(same, widest, np.nan)


_DERIVED: dict[str, Callable[[Results], Column]] = {
    "d": _depth,
    "stages": _stages,
    "b": _shared_ratio,
    "g": _shared_group_width,
    "w_mean": _mean_width,
    "w_last": _last_width,
}
