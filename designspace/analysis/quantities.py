"""Quantities of a table of results: names, labels, units and scales of its columns, and derived quantities."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.results import ErrorColumn, Results
from designspace.networks.quantities import COUNTED, Quantity, Source
from designspace.support.display import Outlined
from designspace.support.errors import unknown
from designspace.trials.metric import TOP1_ERROR, Metric

Column = NDArray[np.float64]
SOURCES: tuple[Source, ...] = get_args(Source)

_NAMED = (
    Quantity("d", "depth d, blocks", whole=True),
    Quantity("stages", "stages", whole=True),
    Quantity("w_0", "initial width w_0", scale="log", whole=True),
    Quantity("w_a", "slope of the widths w_a", scale="log"),
    Quantity("w_m", "width multiplier w_m"),
    Quantity("b", "bottleneck ratio b", scale="log"),
    Quantity("g", "group width g", scale="log", whole=True),
    Quantity("radix", "radix", whole=True),
    Quantity("w_mean", "mean width of the blocks", scale="log"),
    Quantity("w_last", "width of the last stage", scale="log", whole=True),
    *COUNTED.values(),
    Quantity("train_s", "training time", "s", "measured", "lower", "log"),
    Quantity("memory_bytes", "training memory", "B", "measured", "lower", "log", whole=True),
    Quantity("final_error", "error", "top-1, %", "scored", "lower"),
    Quantity("best_error", "least error of all epochs", "top-1, %", "scored", "lower"),
    Quantity("heldout_error", "error on held-out images", "top-1, %", "scored", "lower"),
)
_SETTINGS = (
    Quantity("lr", "learning rate", scale="log", source="setting"),
    Quantity("weight_decay", "weight decay", scale="log", source="setting"),
    Quantity("batch_size", "batch size", "images", "setting", scale="log", whole=True),
    Quantity("momentum", "momentum", source="setting"),
    Quantity("beta2", "second beta of AdamW", source="setting"),
    Quantity("warmup_epochs", "warm-up", "epochs", source="setting"),
    Quantity("label_smoothing", "label smoothing", source="setting"),
    Quantity("crop_padding", "padding of crops", "pixels", whole=True, source="setting"),
    Quantity("crop_area", "least area of crops", source="setting"),
    Quantity("colour_jitter", "colour jitter", source="setting"),
    Quantity("lighting", "lighting noise", source="setting"),
    Quantity("randaugment_ops", "RandAugment operations", whole=True, source="setting"),
    Quantity("randaugment_magnitude", "RandAugment magnitude", source="setting"),
    Quantity("erasing", "random erasing", source="setting"),
    Quantity("mixup", "mixup alpha", source="setting"),
    Quantity("dropout", "dropout", source="setting"),
    Quantity("drop_path", "stochastic depth", source="setting"),
    Quantity("drop_block", "DropBlock", source="setting"),
    Quantity("ema_decay", "decay of averaged weights", source="setting"),
    Quantity("layer_decay", "decay of rates over stages", source="setting"),
    Quantity("frozen_stages", "frozen parts", whole=True, source="setting"),
)
NAMED_QUANTITIES = {quantity.name: quantity for quantity in (*_NAMED, *_SETTINGS)}
"""Quantities that do not belong to one stage; `quantity` also returns those of stages, such as ``d1`` and ``w1``."""

_ALIASES = {"depth": "d", "error": "final_error", "acts": "activations", "memory": "memory_bytes", "time": "train_s"}
_STAGE_COLUMN = re.compile(r"([dwbg])([1-9]\d*)")
_STAGES = {
    "d": Quantity("d", "depth d{}, blocks", whole=True),
    "w": Quantity("w", "width w{}", scale="log", whole=True),
    "b": Quantity("b", "bottleneck ratio b{}", scale="log"),
    "g": Quantity("g", "group width g{}", scale="log", whole=True),
}
"""The parameters of each stage; their labels lack the number of the stage."""


def quantity(name: str | Quantity, results: Results | None = None) -> Quantity:
    """Return a quantity by its name.

    Args:
        name: the name, or the quantity itself.
        results: results whose networks may have parameters of their own, such as ``kernel_size1``.

    Raises:
        InputError: no quantity has the name; the message lists the names.
    """
    if isinstance(name, Quantity):
        return name
    if results is not None and name in own_columns(results):
        return _own_quantity(results, name)
    if match := _STAGE_COLUMN.fullmatch(name):
        pattern = _STAGES[match[1]]
        return replace(pattern, name=name, label=pattern.label.format(match[2]))
    named = NAMED_QUANTITIES.get(_ALIASES.get(name, name))
    if named is None:
        raise unknown("quantity", name, [*NAMED_QUANTITIES, "d1, w1, b1, g1 and so on for each stage"])
    return named


def values(results: Results, name: str | Quantity) -> Column:
    """Return one number per row of the table, NaN if a network or an unfinished trial has none.

    Raises:
        InputError: the quantity is unknown, or the table has no columns for it.
    """
    chosen = quantity(name, results)
    table = results.table
    if chosen.name in _DERIVED:
        return _derived(results, chosen.name)
    if chosen.name not in table.columns:
        raise unknown(f"quantity of {results.name}", chosen.name, [other.name for other in available(results)])
    return table[chosen.name].to_numpy(np.float64)


def available(results: Results, sources: Iterable[Source] = SOURCES) -> tuple[Quantity, ...]:
    """Return all quantities of which at least one network of a table has a value, parameters first."""
    stages = [quantity(f"{letter}{stage}") for letter in "dwbg" for stage in _stage_numbers(results)]
    named = [
        candidate
        for candidate in NAMED_QUANTITIES.values()
        if candidate.name in _DERIVED or candidate.name in results.table.columns
    ]
    parameters = [candidate for candidate in named if candidate.source == "parameter"]
    stages += [_own_quantity(results, name) for name in own_columns(results)]
    others = [candidate for candidate in named if candidate.source != "parameter"]
    chosen = set(sources)
    candidates = (candidate for candidate in (*parameters, *stages, *others) if candidate.source in chosen)
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


def _own_quantity(results: Results, name: str) -> Quantity:
    """Return the quantity of an own parameter."""
    column = results.table[name].to_numpy(np.float64)
    return Quantity(name, name, whole=bool(np.all(column == np.rint(column))))


_NOT_OWN = frozenset({"id", "trial", "run", "fresh", "depth", "w_0", "w_a", "w_m", "radix", "stem_width", "avd_first"})


def varying_quantities(
    results: Results, sources: Iterable[Source] = ("parameter", "setting", "counted")
) -> tuple[Quantity, ...]:
    """Return the quantities that vary in a population, without duplicates.

    If all stages share their bottleneck ratio or group width, it is one quantity, ``b`` or ``g``, instead of one per
    stage.
    """
    shared = [letter for letter in "bg" if _is_shared(results, letter)]
    varying = []
    for candidate in available(results, sources):
        stage = _STAGE_COLUMN.fullmatch(candidate.name)
        is_duplicate = stage is not None and stage[1] in shared
        is_partly_shared = candidate.name in "bg" and candidate.name not in shared
        if not is_duplicate and not is_partly_shared and _varies(values(results, candidate)):
            varying.append(candidate)
    return tuple(varying)


def parameters_of(results: Results) -> tuple[Quantity, ...]:
    """Return the parameters that distinguish the trials of a population: its degrees of freedom that vary.

    For RegNets, these are d, w_0, w_a, w_m, b and g ("Designing Network Design Spaces", section 3.3); for AnyNets,
    depth and width of each stage, with b and g per stage or shared; and for both the radix and the block's own
    parameters. Parameters that follow from others, such as the depth of all stages together, are not included. Settings
    of the recipe follow, if they vary.
    """
    settings = varying_quantities(results, ["setting"])
    shared = {"b", "g", "radix"}
    shared |= set(own_columns(results))
    regnet = {"w_0", "w_a", "w_m"}
    if regnet <= set(results.table.columns):
        return (
            tuple(
                parameter
                for parameter in varying_quantities(results, ["parameter"])
                if parameter.name in {"d"} | regnet | shared
            )
            + settings
        )
    stages = {f"{letter}{stage}" for letter in "dwbg" for stage in _stage_numbers(results)}
    parameters = varying_quantities(results, ["parameter"])
    return tuple(parameter for parameter in parameters if parameter.name in stages | shared) + settings


def counted_errors(results: Results, column: ErrorColumn = "final_error") -> tuple[NDArray[np.int64], Column]:
    """Return the row numbers of the trials that count, and their errors (see `Results.errors`)."""
    return np.flatnonzero(results.counted()), results.errors(column)


@dataclass(frozen=True, eq=False, repr=False)
class Plane(Outlined):
    """Two quantities and the error of each finished network of a population."""

    name: str
    x_quantity: Quantity
    y_quantity: Quantity
    x: Column
    y: Column
    errors: Column
    """Percent; failed trials have the error of chance."""
    ranks: Column
    """From 0 (the least error) to 1 (the greatest); equal errors share their mean rank."""
    failed: NDArray[np.bool_]
    trials: tuple[str, ...]
    metric: Metric = TOP1_ERROR
    """What the errors are values of, which are negated if higher ones are better."""

    def table(self) -> pd.DataFrame:
        """Return one row per network."""
        return pd.DataFrame(
            {
                "run": self.name,
                "trial": self.trials,
                self.x_quantity.name: self.x,
                self.y_quantity.name: self.y,
                "error": self.metric.oriented(self.errors),
                "rank": self.ranks,
                "failed": self.failed,
            }
        )


def plane(results: Results, x: str | Quantity, y: str | Quantity) -> Plane:
    """Return two quantities of the finished networks that have both, with the rank of each network's error.

    Raises:
        InputError: a quantity is unknown, or these results do not have it.
    """
    from scipy.stats import rankdata

    rows, errors = counted_errors(results)
    columns = [values(results, name)[rows] for name in (x, y)]
    is_known = np.isfinite(columns[0]) & np.isfinite(columns[1])
    table = results.table.iloc[rows[is_known]]
    ranks = (rankdata(errors[is_known]) - 1) / max(1, is_known.sum() - 1)
    return Plane(
        results.name,
        quantity(x, results),
        quantity(y, results),
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
