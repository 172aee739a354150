"""Quantities of results by name: parameters, settings, counted and measured costs, and scores, each with its values.

A quantity is a column of the table of results, follows from the parameters of the stages (`stages`), or is counted when
it is requested (`counted_columns`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.counted_columns import counted_column, is_countable
from designspace.analysis.stages import DERIVED, derived, stage_numbers
from designspace.networks.quantities import COUNTED, Quantity, Source
from designspace.spaces.costs import UNITS
from designspace.support.errors import InputError, unknown
from designspace.support.text import command
from designspace.trials.metric import Metric

if TYPE_CHECKING:
    from designspace.analysis.results import ErrorColumn, Results

Column = NDArray[np.float64]
SOURCES: tuple[Source, ...] = get_args(Source)
OF_TRAINING = ("train_s", "memory_bytes")
"""Quantities that were measured by the training, on the device in the column ``device``."""


class NotMeasuredError(InputError):
    """A cost was requested that was not measured for all populations, or differently."""


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


def quantity(name: str | Quantity, *populations: Results) -> Quantity:
    """Return a quantity by its name.

    The beginning of a name suffices for costs that were measured (costs.csv), if only one of them begins so:
    ``latency`` for ``latency_cpu_t2_b1``.

    Args:
        name: the name, or the quantity itself.
        *populations: results that must all have it, if it was measured. Their networks may also have parameters of
            their own, such as ``kernel_size1``.

    Raises:
        InputError: no quantity has the name, or several measured ones begin with it; the message lists the names.
        NotMeasuredError: it is a cost that was not measured for all of ``populations``.
    """
    if isinstance(name, Quantity):
        return name
    for results in populations:
        if name in own_columns(results):
            return _own_quantity(results, name)
    if match := _STAGE_COLUMN.fullmatch(name):
        pattern = _STAGES[match[1]]
        return replace(pattern, name=name, label=pattern.label.format(match[2]))
    named = NAMED_QUANTITIES.get(_ALIASES.get(name, name))
    if named is not None:
        return _score(named, populations[0].metric) if populations and named.source == "scored" else named
    measured = _measured(name, populations) if populations else None
    if measured is not None:
        return measured
    raise unknown("quantity", name, [*NAMED_QUANTITIES, "d1, w1, b1, g1 and so on for each stage"])


def values(results: Results, name: str | Quantity) -> Column:
    """Return one number per row of the table, NaN if a network or an unfinished trial has none.

    Quantities in closed form that the table lacks, such as ``peak_memory``, are counted (see `with_columns`).

    Raises:
        InputError: the quantity is unknown, or these results do not have it; the message lists those that they have.
    """
    chosen = quantity(name, results)
    table = results.table
    if chosen.name in DERIVED:
        return derived(results, chosen.name)
    if chosen.name in table.columns:
        return table[chosen.name].to_numpy(np.float64)
    if chosen.name in COUNTED:
        return counted_column(results, chosen.name)
    names = [other.name for other in available(results)]
    names += [other for other in COUNTED if other not in names and is_countable(results)]
    raise unknown(f"quantity of {results.name}", chosen.name, names)


def with_columns(results: Results, names: Iterable[str | Quantity]) -> Results:
    """Return results whose table has a column for each of some quantities, so that each is counted only once.

    Raises:
        InputError: as `values`.
    """
    chosen = [quantity(name, results) for name in names]
    columns = {each.name: values(results, each) for each in chosen if each.name not in results.table.columns}
    return replace(results, table=results.table.assign(**columns)) if columns else results


def available(results: Results, sources: Iterable[Source] = SOURCES) -> tuple[Quantity, ...]:
    """Return all quantities of which at least one network of a table has a value, parameters first."""
    stages = [quantity(f"{letter}{stage}") for letter in "dwbg" for stage in stage_numbers(results)]
    named = [quantity(name, results) for name in NAMED_QUANTITIES if name in DERIVED or name in results.table.columns]
    parameters = [candidate for candidate in named if candidate.source == "parameter"]
    stages += [_own_quantity(results, name) for name in own_columns(results)]
    others = [candidate for candidate in named if candidate.source != "parameter"]
    chosen = set(sources)
    candidates = (*parameters, *stages, *others, *results.measured.values())
    return tuple(each for each in candidates if each.source in chosen and np.isfinite(values(results, each)).any())


def network_costs(results: Results) -> tuple[Quantity, ...]:
    """Return the costs of networks, apart from their training, that are columns: counted, and measured (costs.csv)."""
    return (*available(results, ["counted"]), *results.measured.values())


def common_costs(populations: Sequence[Results]) -> tuple[Quantity, ...]:
    """Return the `network_costs` that all of some populations have, measured on the same machine."""
    costs = [network_costs(results) for results in populations]
    return tuple(cost for cost in costs[0] if all(cost in others for others in costs)) if costs else ()


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


def varying_quantities(results: Results, sources: Iterable[Source] | None = None) -> tuple[Quantity, ...]:
    """Return the quantities that vary in a population, without duplicates.

    If all stages share their bottleneck ratio or group width, it is one quantity, ``b`` or ``g``, instead of one per
    stage.

    Args:
        results: the population.
        sources: where the quantities come from; by default parameters, settings, and `network_costs`.
    """
    candidates = available(results, ("parameter", "setting") if sources is None else sources)
    if sources is None:
        candidates += network_costs(results)
    shared = [letter for letter in "bg" if _is_shared(results, letter)]
    varying = []
    for candidate in candidates:
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
    stages = {f"{letter}{stage}" for letter in "dwbg" for stage in stage_numbers(results)}
    parameters = varying_quantities(results, ["parameter"])
    return tuple(parameter for parameter in parameters if parameter.name in stages | shared) + settings


def counted_errors(results: Results, column: ErrorColumn = "final_error") -> tuple[NDArray[np.int64], Column]:
    """Return the row numbers of the trials that count, and their errors (see `Results.errors`)."""
    return np.flatnonzero(results.counted()), results.errors(column)


def short_number(value: float) -> str:
    """Return a number with three digits, followed by k, M or G if it is large.

    >>> [short_number(value) for value in (18.0, 2.25, 144.0, 848_590.0, -1_190_000.0)]
    ['18', '2.25', '144', '849k', '-1.19M']
    """
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(unit, 10_000):
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _varies(column: Column) -> bool:
    """Return whether a column has at least two different values."""
    finite = column[np.isfinite(column)]
    return bool(finite.size) and bool(np.ptp(finite) > 0)


def _is_shared(results: Results, letter: str) -> bool:
    """Return whether every network has the same value in all its stages."""
    return bool(np.isfinite(derived(results, letter)).all())


def _measured(name: str, populations: Sequence[Results]) -> Quantity | None:
    """Return the only measured cost whose name begins with a name and that all populations have, or None.

    Raises:
        InputError: there are several.
        NotMeasuredError: a cost of this kind was not measured for all populations, or differently.
    """
    matches = [
        [column for column in results.measured if column == name]
        or [column for column in results.measured if column.startswith(f"{name}_")]
        for results in populations
    ]
    common = [column for column in matches[0] if all(column in others for others in matches)]
    if len(common) == 1:
        return populations[0].measured[common[0]]
    if common:
        raise InputError(f"{name} has several columns; name one of them: {', '.join(common)}")
    if name.partition("_")[0] not in UNITS:
        return None
    without = [results.name for results, columns in zip(populations, matches, strict=True) if not columns]
    if without:
        run = next(iter(next(results for results in populations if results.name == without[0]).folders.values()), "...")
        raise NotMeasuredError(
            f"{name} of {', '.join(without)} has not been measured; measure it with {command('measure', run=run)}"
        )
    listed = "; ".join(
        f"{results.name} has {', '.join(columns)}" for results, columns in zip(populations, matches, strict=True)
    )
    raise NotMeasuredError(f"{name} was measured differently: {listed}")


def _score(named: Quantity, metric: Metric) -> Quantity:
    """Return the quantity of a column of errors that holds values of a metric."""
    if metric.is_default:
        return named
    labels = {
        "final_error": metric.name,
        "best_error": f"best {metric.name} of all epochs",
        "heldout_error": f"{metric.name} on held-out images",
    }
    unit = ", ".join(filter(None, (metric.kind, metric.unit)))
    return replace(named, label=labels[named.name], unit=unit, direction=metric.direction)
