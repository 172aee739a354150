"""Reading a results.csv or the current state of run folders, and merging several runs into one table.

The values are not checked here; `Results.from_table` does that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from designspace.analysis.columns import (
    ALWAYS_SHOWN,
    REAL_COLUMN,
    RECIPE_COLUMNS,
    is_number,
    recipe_columns,
    recipe_values,
    whole_numbers,
)
from designspace.analysis.results_csv import read_table
from designspace.analysis.source import EMA, Source, histories_of
from designspace.spaces.costs import cost_columns, read_costs
from designspace.support.errors import InputError, RunError
from designspace.support.text import counted
from designspace.trials.folder import RunFolder
from designspace.trials.gathered import Gathered
from designspace.trials.metric import Metric, top1_error
from designspace.trials.state import STATUSES
from designspace.trials.trial import EpochRecord

_EXAMPLES = 3
_UNION = " + "


def read_runs(runs: Sequence[RunFolder | Gathered | Path | str]) -> Source:
    """Read runs and merge them (see `merge`).

    A run is a `RunFolder`, its `Gathered` files, its path, or a JSON file of pycls or NDS (see
    `designspace.analysis.peers`).

    Raises:
        InputError: a path is not a run, or the runs have different numbers of classes.
        RunError: a run's files are missing or incomplete.
    """
    paths = [_path_of(run) for run in runs]
    names = labels(paths)
    merged = merge(
        [
            replace(source, name=name, table=source.table.assign(run=name))
            for source, name in zip(map(_read_run, runs), names, strict=True)
        ]
    )
    folders = {name: path.resolve() for name, path in zip(names, paths, strict=True) if path.is_dir()}
    return _with_costs(replace(merged, folders=folders))


def _with_costs(source: Source) -> Source:
    """Return a source with a column for each cost that was measured for its networks (costs.csv of its folders).

    Raises:
        RunError: a costs.csv is damaged.
    """
    ids = source.table["id"].tolist()
    known = set(ids)
    costs = [cost for folder in source.folders.values() for cost in read_costs(folder) if cost.id in known]
    columns = cost_columns(costs, ids)
    if not columns:
        return source
    table = source.table.assign(**{quantity.name: column for quantity, column in columns.items()})
    disturbed = sum(cost.disturbed for cost in costs)
    notes = source.notes
    if disturbed:
        notes += (
            f"{disturbed} of {counted(len(costs), 'measurement')} of costs of {source.name} may be too high, because "
            "the machine had other load (column disturbed of costs.csv).",
        )
    return replace(source, table=table, notes=notes, measured={quantity.name: quantity for quantity in columns})


def _path_of(run: RunFolder | Gathered | Path | str) -> Path:
    """Return the path of a run."""
    if isinstance(run, Gathered):
        return run.run.path
    return run.path if isinstance(run, RunFolder) else Path(run)


def _read_run(run: RunFolder | Gathered | Path | str) -> Source:
    """Read one run of any kind."""
    if isinstance(run, Gathered):
        return read_folder(run.run, run)
    path = _path_of(run)
    if path.is_file():
        from designspace.analysis import peers  # imported only if such a file is read

        return peers.read(path)
    if not path.is_dir():
        raise RunError(f"there is no run at {path}")
    return read_folder(RunFolder(path))


def labels(paths: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, preceded by as much of its path as makes all names different."""
    parts = [path.resolve().with_suffix("" if path.is_file() else path.suffix).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    repeated = next(path for path, part in zip(paths, parts, strict=True) if parts.count(part) > 1)
    raise InputError(f"{repeated} is given twice")


def read_folder(folder: RunFolder, gathered: Gathered | None = None) -> Source:
    """Return the current results of a run from the files of its trials, without writing anything.

    If the run was published without these files, its results.csv is read instead.

    Args:
        folder: The run folder.
        gathered: The contents of its trials; by default they are read now.

    Raises:
        RunError: the run's files are missing or incomplete.
    """
    if gathered is None and folder.results.exists() and not folder.started_keys():
        space, table = folder.space(), read_table(folder.results)
        num_classes, is_drawn = space.template.num_classes, space.is_drawn
        histories: Mapping[str, tuple[EpochRecord, ...]] = folder.histories()
    else:
        gathered = gathered or folder.gather()
        num_classes, table, histories = gathered.num_classes, _frame(gathered), gathered.histories
        is_drawn = gathered.is_drawn
    trials = table["trial" if "trial" in table.columns else "id"]
    columns: dict[str, Any] = {"trial": trials, "run": folder.name}
    if (plan := folder.plan()) is None:
        return Source(folder.name, table.assign(**columns), num_classes, histories, is_drawn=is_drawn)
    columns |= recipe_columns(plan.recipe.to_dict())
    drawn = plan.axes.by_field
    if drawn:
        settings = [recipe_columns(plan.recipe_of(key).to_dict()) for key in trials]
        columns |= {name: [values[name] for values in settings] for name in map(RECIPE_COLUMNS.__getitem__, drawn)}
    table = table.assign(**columns)
    return Source(folder.name, table, num_classes, histories, drawn=drawn, metric=plan.metric, is_drawn=is_drawn)


def _frame(gathered: Gathered) -> pd.DataFrame:
    """Return a run's rows as a table, with NaN for missing numbers and empty strings for missing texts."""
    columns: dict[str, Any] = {}
    for name, values in zip(gathered.header, zip(*gathered.rows, strict=True), strict=True):
        if not is_number(name):
            columns[name] = ["" if value is None else value for value in values]
            continue
        numbers = pd.Series(values, dtype=np.float64)
        columns[name] = numbers if (whole := whole_numbers(numbers)) is None or REAL_COLUMN.fullmatch(name) else whole
    return pd.DataFrame(columns)


def merge(sources: Sequence[Source]) -> Source:
    """Merge runs into one table.

    A network that was trained several times, with other seeds or recipes, has several rows. The same trial (id, seed
    and recipe) in more than one run counts once: done trials take precedence over failed ones, these over unfinished
    ones, and otherwise the first run wins. Recipes have the columns of `ALWAYS_SHOWN` and each in which trials differ.

    Raises:
        InputError: no run is given, or the runs have different numbers of classes or metrics.
    """
    if not sources:
        raise InputError("there is no run to read")
    classes = {source.name: source.num_classes for source in sources}
    if len(set(classes.values())) > 1:
        listed = ", ".join(f"{name} {number}" for name, number in classes.items())
        raise InputError(f"runs with different numbers of classes cannot be merged ({listed}); compare them separately")
    metrics = {source.name: source.metric or top1_error(source.num_classes) for source in sources}
    if len(set(metrics.values())) > 1:
        listed = ", ".join(f"{name} {metric.label}" for name, metric in metrics.items())
        raise InputError(f"runs that are measured by different metrics cannot be merged ({listed})")
    notes = [note for source in sources for note in source.notes]
    drawn_anywhere = {RECIPE_COLUMNS[field] for source in sources for field in source.drawn}
    if len(sources) == 1:
        table, histories = sources[0].table, dict(sources[0].histories)
        name = sources[0].name
    else:
        table, histories, name = _stack(sources)
        table, more_notes = _count_once(_drop_shared_settings(table, drawn_anywhere), next(iter(metrics.values())))
        notes += more_notes
        histories = histories_of(table, histories)
    training = recipe_values(table)
    drawn = {
        field: axis
        for field, axis in sources[0].drawn.items()
        if all(source.drawn.get(field) == axis for source in sources)
    }
    return Source(
        name,
        _drop_shared_settings(table, drawn_anywhere),
        sources[0].num_classes,
        histories,
        tuple(notes),
        training=training,
        drawn=drawn,
        metric=sources[0].metric,
        is_drawn=all(source.is_drawn for source in sources),
    )


def _stack(sources: Sequence[Source]) -> tuple[pd.DataFrame, dict[str, tuple[EpochRecord, ...]], str]:
    """Return the rows of all runs in one table, with trials named after their runs; the histories; a common name."""
    tables = [source.table.assign(trial=source.table["trial"] + "@" + source.name) for source in sources]
    histories = {
        f"{key.removesuffix(EMA)}@{source.name}{EMA if key.endswith(EMA) else ''}": history
        for source in sources
        for key, history in source.histories.items()
    }
    names = [source.name for source in sources]
    name = _UNION.join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more runs"
    return pd.concat(tables, ignore_index=True), histories, name


def _count_once(table: pd.DataFrame, metric: Metric) -> tuple[pd.DataFrame, list[str]]:
    """Keep one row for each trial that several runs hold, and return notes on their differences."""
    identity = ["id", "seed", *(column for column in RECIPE_COLUMNS.values() if column in table.columns)]
    # A run of another program may hold a trial several times; then each counts as a separate trial.
    repeat = table.groupby(["run", *identity], dropna=False, sort=False).cumcount()
    trial = table.assign(repeat=repeat).groupby([*identity, "repeat"], dropna=False, sort=False).ngroup().to_numpy()
    rank = table["status"].map({status: position for position, status in enumerate(STATUSES)}).fillna(len(STATUSES))
    order = np.lexsort((np.arange(len(table)), rank, trial))
    first = order[np.diff(trial[order], prepend=-1) > 0]
    done = table["status"] == "done"
    errors = table["final_error"][done].groupby(trial[done])
    spread = errors.max() - errors.min()
    unequal = spread[spread > 0]
    notes = []
    if not unequal.empty:
        winners = table.iloc[first]
        ids = winners["id"].to_numpy()[unequal.index[:_EXAMPLES]]
        several = "trial has" if len(unequal) == 1 else "trials have"
        largest = (
            f"{metric.number(float(unequal.max()))} {'percentage points' if metric.unit == '%' else metric.points}"
        )
        notes.append(
            f"{len(unequal)} {several} different {metric.plural} in several runs, by up to {largest} "
            f"({', '.join(ids)}{', ...' if len(unequal) > _EXAMPLES else ''}); the first run's {metric.plural} count."
        )
    return table.iloc[first].reset_index(drop=True), notes


def _drop_shared_settings(table: pd.DataFrame, drawn: Collection[str]) -> pd.DataFrame:
    """Drop recipe columns in which all trials have the same value, except for drawn fields and `ALWAYS_SHOWN`."""
    columns = [column for column in RECIPE_COLUMNS.values() if column in table.columns]
    known = table[table["lr"].notna()] if "lr" in columns else table  # in other columns a blank has a meaning
    kept = {*ALWAYS_SHOWN, *drawn}
    same = [column for column in columns if column not in kept and known[column].nunique(dropna=False) <= 1]
    return table.drop(columns=same)
