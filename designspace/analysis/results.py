"""The results of a run as a checked table: which trials finished, which failed, and the errors that count."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from designspace.analysis.best_networks import BestNetworks, one_row_per_network
from designspace.analysis.columns import COLUMNS
from designspace.analysis.conditions import Condition, rows_that_meet
from designspace.analysis.failures import Failures, at_chance, has_text
from designspace.analysis.reading import read_runs
from designspace.analysis.repeats import mean_of_repeats
from designspace.analysis.results_csv import read_table
from designspace.analysis.source import histories_of
from designspace.analysis.table_checks import ErrorColumn, checked_table, stages_of
from designspace.spaces.constraints import QUANTITIES
from designspace.support.checks import whole
from designspace.support.errors import InputError, unknown
from designspace.support.text import counted
from designspace.trials.trial import EpochRecord
from designspace.trials.trial_folder import STATUSES

if TYPE_CHECKING:
    from designspace.trials.folder import Gathered, RunFolder

__all__ = ["COLUMNS", "Counts", "ErrorColumn", "Failures", "Results", "read_table"]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many trials of a run stand where."""

    done: int
    failed: int
    running: int
    waiting: int

    @property
    def asked(self) -> int:
        """All trials of the run."""
        return self.finished + self.unfinished

    @property
    def finished(self) -> int:
        """Trials that are done or have failed."""
        return self.done + self.failed

    @property
    def unfinished(self) -> int:
        """Trials that are running or waiting; they count nowhere yet."""
        return self.running + self.waiting

    def sentence(self) -> str:
        """Progress in words.

        >>> Counts(done=11, failed=1, running=2, waiting=2).sentence()
        '12 of 16 trials finished, 1 of them failed'
        """
        failed = f", {self.failed} of them failed" if self.failed else ""
        return f"{self.finished} of {counted(self.asked, 'trial')} finished{failed}"


@dataclass(frozen=True, eq=False)
class Results:
    """What happened to the trials of one or several runs.

    Make it with `Results.read` from files, or with `Results.from_table`; both check the table.
    """

    name: str
    table: pd.DataFrame
    """One row for each trial; errors are per cent, top-1, ``train_s`` seconds, ``flops`` multiply-adds."""
    chance_error: float
    """Error of guessing, per cent: 100 (1 - 1 / number of classes)."""
    histories: Mapping[str, tuple[EpochRecord, ...]] = field(default_factory=dict)
    """The epochs of each trial of which they are known, by the column ``trial``; those of pycls's averaged weights too,
    by that and `designspace.analysis.reading.EMA`."""
    notes: tuple[str, ...] = ()
    """What a reader must know of how the results were read or put together, one sentence each."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """The run folders that they were read from, by the column ``run``."""
    training: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values of each field of the recipe that is known of all trials, also of fields that have no column."""
    failures: Failures = "by_cause"
    """How failed trials count (see `with_failures`)."""

    def __repr__(self) -> str:
        done = self.table.loc[self.table["status"] == "done", "final_error"]
        errors = f"; error {done.min():.2f}% to {done.max():.2f}%, mean {done.mean():.2f}%" if len(done) else ""
        return f"Results({self.name!r}: {self.counts.sentence()}{errors})"

    def _repr_html_(self) -> str:
        errors = ["final_error", *(["heldout_error"] if self.has_heldout else [])]
        columns = ["id", *errors, "epochs", *QUANTITIES, *(["train_s"] if self.table["train_s"].notna().any() else [])]
        table: str = self.best(5)[columns].to_html(index=False, float_format="{:.2f}".format)
        return f"<div>{html.escape(repr(self))}; the best ones:</div>{table}"

    @staticmethod
    def from_table(
        name: str,
        table: pd.DataFrame,
        num_classes: int,
        histories: Mapping[str, tuple[EpochRecord, ...]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Results:
        """Check a table of results, as `read_table` gives it, and name it.

        The table gets the columns ``trial``, which tells its rows apart, and ``run``, where it has none. Ids may stand
        there twice only where ``trial`` is given. Networks without stages (of NAS spaces) may lack all columns of
        stages; activations may be NaN where another program did not count them, and so may flops and params of trials
        that are not done, or both of all trials. ``heldout_error`` is the error on images that were held out of the
        training and of every choice; it may be NaN or not be there.

        Raises:
            InputError: the table is empty, lacks columns, or has a row that contradicts itself.
        """
        _check_name(name)
        num_classes = whole(f"{name}: num_classes", num_classes, 2)
        table = checked_table(name, table)
        for column, values in (("trial", table["id"]), ("run", name)):
            if column not in table.columns:
                table[column] = values
        return Results(name, table, 100 * (1 - 1 / num_classes), histories or {}, notes)

    @staticmethod
    def from_errors(
        name: str, errors: ArrayLike, num_classes: int, columns: Mapping[str, ArrayLike] | None = None
    ) -> Results:
        """Results of which no more is known than errors, and perhaps some columns: a table of one's own.

        Args:
            name: of the population.
            errors: top-1, per cent, one for each network; NaN for one that diverged.
            num_classes: classes that the networks tell apart.
            columns: what else is known of each network, by the names of `read_table`: ``id``, ``flops``, ``params``,
                ``activations``, ``depth``, ``w_0``, ``w_a``, ``w_m``, ``d1``, ``w1``, ``lr`` and so on.

        Raises:
            InputError: a column of another length; or as `from_table`.

        >>> Results.from_errors("mine", [20.0, 30.0, float("nan")], 10).counts.sentence()
        '3 of 3 trials finished, 1 of them failed'
        """
        final = np.asarray(errors, np.float64).ravel()
        failed = np.isnan(final)
        known = {key: np.asarray(values) for key, values in (columns or {}).items()}
        for key, values in known.items():
            if values.shape != final.shape:
                raise InputError(f"{name}: the column {key} must have {final.size} values, not {values.shape}")
        blank = {"flops": math.nan, "params": math.nan, "activations": math.nan, "radix": 0, "seed": 0, "epochs": 0}
        table = pd.DataFrame({"id": [f"{name} {place}" for place in range(1, final.size + 1)]})
        table = table.assign(**blank, train_s=math.nan, final_error=final, best_error=final, device="", detail="")
        table = table.assign(status=np.where(failed, "failed", "done"), reason=np.where(failed, "diverged", ""))
        for key, values in known.items():
            table[key] = values.astype(str) if key == "id" else values
        return Results.from_table(name, table, num_classes)

    @staticmethod
    def read(
        run: RunFolder | Gathered | Path | str, *more: RunFolder | Gathered | Path | str, name: str | None = None
    ) -> Results:
        """The results of one or several runs as they stand now, from their files; nothing is written.

        A run is a `RunFolder`, what that gathered, its path, or a file: pycls's ``sweep.json``, or one of the NDS data
        (arXiv 1905.13214). Where a run's trials are not there but its results.csv is (it was published without them),
        that is read. Several runs become one table: a network that was trained with several seeds or recipes stays as
        several rows, the same trial in several runs counts once, and the column ``run`` says where each row is from.
        Learning rate, weight decay and batch size have columns where the recipe is known, and so has every other
        field in which the recipes differ.

        Args:
            run: The first run.
            more: Further ones to put into the same table.
            name: How to call it; by default by the names of the runs.

        Raises:
            InputError: a path that is no run, or runs with different numbers of classes.
            RunError: a run's files are missing or not whole.
        """
        source = read_runs([run, *more])
        results = Results.from_table(
            source.name if name is None else name, source.table, source.num_classes, source.histories, source.notes
        )
        return replace(results, folders=source.folders, training=source.training)

    @property
    def counts(self) -> Counts:
        """How many trials are done, failed, running and waiting."""
        numbers = self.table["status"].value_counts()
        return Counts(**{status: int(numbers.get(status, 0)) for status in STATUSES})

    @property
    def num_stages(self) -> int:
        """Stages that the table has columns for: 0 where the networks have none."""
        return len(stages_of(self.table, "d"))

    def with_failures(self, failures: Failures) -> Results:
        """Return the same results with failed trials counted in another way (see `Failures`).

        Raises:
            InputError: ``failures`` is none of them.
        """
        if failures not in get_args(Failures):
            raise unknown("treatment of failures", failures, get_args(Failures))
        return replace(self, failures=failures)

    def errors(self, column: ErrorColumn = "final_error") -> NDArray[np.float64]:  # (trials that count,)
        """Return the errors of the trials that count, per cent, in the order of the table; failed ones at chance level.

        Args:
            column: ``final_error`` is that of the last epoch. ``best_error`` is the least over the epochs: chosen on
                the test images, so it flatters too. ``heldout_error`` is that on images which were held out.

        Raises:
            InputError: a ``column`` that does not exist, or a done trial without such an error.
        """
        if column not in get_args(ErrorColumn):
            raise unknown("column of errors", column, get_args(ErrorColumn))
        done = has_text(self.table, "status", "done")
        known = (
            self.table[column].to_numpy(np.float64) if column in self.table.columns else np.full(done.size, math.nan)
        )
        unknown_here = int((done & np.isnan(known)).sum())
        if unknown_here:
            raise InputError(
                f"{self.name}: {unknown_here} of {int(done.sum())} done trials have no {column}; nothing was held out "
                "when they were trained. Use column='final_error'"
            )
        return np.where(done, known, self.chance_error)[self.counted()]

    def draws(self) -> NDArray[np.float64]:  # (trials that count,)
        """Return the number of draws that gave each network, in the order of `errors`.

        A population holds each network once, however often it was drawn, so it is flatter than its space.
        ``edf(results.errors(), results.draws())`` estimates the EDF of the space itself. The two hardly differ where
        few draws were duplicates (see `designspace.spaces.population.Population`).

        Raises:
            InputError: the draws of a trial's network are not known.
        """
        counted = self.counted()
        known = (
            self.table["draws"].to_numpy(np.float64) if "draws" in self.table.columns else np.full(counted.size, 0.0)
        )
        values: NDArray[np.float64] = known[counted]
        unknown_here = int((~(values >= 1)).sum())
        if unknown_here:
            raise InputError(
                f"{self.name}: the draws of {unknown_here} of {values.size} networks are not known, since an earlier "
                "version or another program sampled them; sampled again into a new folder they are"
            )
        return values

    def counted(self) -> NDArray[np.bool_]:  # (trials,)
        """Return which rows of the table count: those whose errors `errors` returns.

        They are done or failed at chance level, and true in the column ``counts`` where there is one (see
        `preconditions.random_subset`).
        """
        counted = has_text(self.table, "status", "done") | at_chance(self.table, self.failures)
        return counted & self.table["counts"].to_numpy(np.bool_) if "counts" in self.table.columns else counted

    def left_out(self) -> NDArray[np.bool_]:  # (trials,)
        """Return which rows failed and do not count."""
        return has_text(self.table, "status", "failed") & ~at_chance(self.table, self.failures)

    def failed_in_words(self) -> str:
        """Say how the failed trials count.

        >>> Results.from_errors("mine", [20.0, float("nan")], 10).failed_in_words()
        'counted at chance level'
        """
        left_out = int(self.left_out().sum())
        at_chance = self.counts.failed - left_out
        if left_out and at_chance:
            return f"{at_chance} of these counted at chance level and {left_out} left out"
        return "left out" if left_out or self.failures == "exclude" else "counted at chance level"

    def best(self, count: int = 1) -> BestNetworks:
        """The rows of the ``count`` done trials of least error; equal errors in the order of their ids.

        ``results.best().load()`` gives the best network as a trained module (see `BestNetworks.load`).

        The error is that on held-out images where all done trials have one (see `has_heldout`), so that the test images
        choose nothing; else the final one. Results of a run that was asked for several seeds have one row for each
        network, ranked as `designspace.load` does, with the columns ``mean_error`` and ``trainings``.
        """
        if "fresh" in self.table.columns:
            column = "heldout_error" if self.has_heldout else "final_error"
            networks = one_row_per_network(self.table, column, self.chance_error)
            return BestNetworks.of(networks.head(whole("count", count, 0)), self.folders)
        done = self.table[self.table["status"] == "done"]
        column = "heldout_error" if self.has_heldout else "final_error"
        ranked = done.sort_values([column, "id"], kind="stable").head(whole("count", count, 0))
        return BestNetworks.of(ranked, self.folders)

    @property
    def has_heldout(self) -> bool:
        """Whether all done trials, at least one, measured their error on held-out images too."""
        if "heldout_error" not in self.table.columns:
            return False
        known = self.table.loc[self.table["status"] == "done", "heldout_error"].notna()
        return bool(len(known) and known.all())

    def where(self, condition: Condition, name: str | None = None) -> Results:
        """Return the trials that meet a condition.

        Args:
            condition: A text in the syntax of ``pandas.DataFrame.query`` on the columns of `table`; or a truth value
                for each row of `table`; or a function that returns these for the table. A comparison with a blank is
                not met, and ``!=`` is. A text can call functions, as any code can: do not take it from strangers.
            name: Name of the part; by default it tells the condition, or how many trials meet it.

        Raises:
            InputError: the condition cannot be evaluated, names an unknown column, or is met by no trial.

        >>> results = Results.from_errors("mine", [20.0, 30.0, 40.0], 10)
        >>> results.where("final_error < 35").name
        'mine (final_error < 35)'
        >>> results.where(lambda table: table["final_error"] < 35).name
        'mine (2 of 3 trials)'
        """
        mask = rows_that_meet(condition, self.name, self.table)
        if not mask.any():
            shown = repr(condition) if isinstance(condition, str) else "the condition"
            raise InputError(f"{self.name}: no trial meets {shown}")
        if name is None:
            shown = " ".join(condition.split()) if isinstance(condition, str) else f"{mask.sum()} of {mask.size} trials"
            name = f"{self.name} ({shown})"
        return self._part(mask, name)

    def split(self, column: str) -> dict[Any, Results]:
        """The trials by their value in a column, ascending: of each seed, say, or learning rate.

        Trials with a blank there are under None, at the end.

        Raises:
            InputError: there is no such column.
        """
        if column not in self.table.columns:
            raise unknown(f"column of {self.name}", column, self.table.columns)
        values = self.table[column]
        present = values[values.notna() & (values != "")]
        parts = {value: (values == value).to_numpy() for value in sorted(present.unique().tolist())}
        if len(present) < len(values):
            parts[None] = ~values.index.isin(present.index)
        return {value: self._part(mask, f"{self.name}, {column} {_said(value)}") for value, mask in parts.items()}

    def mean_of_repeats(self, count: int, *, name: str | None = None) -> Results:
        """Networks that were trained several times as one row each, with the mean of their first errors.

        For the EDFs with one, two and three repeats of "On Network Design Spaces for Visual Recognition" (arXiv
        1905.13214, figure 14). Repeats are trials of one network and one recipe; their order is that of their seeds.
        Errors of the trials that count are averaged, times of training added; ``repeats`` says how many trials an error
        is the mean of. A network is unfinished until ``count`` of its trials have finished, and has failed where none
        of them is done. Histories are left out, since they are of single trials.

        Args:
            count: So many trials of each network.
            name: How to call the means.

        Raises:
            InputError: ``count`` is below 1.
        """
        count = whole(f"{self.name}: the number of repeats", count, 1)
        table = mean_of_repeats(self.table, count, self.chance_error, self.failures)
        if name is None:
            name = f"{self.name}, {count} repeat{'s' if count > 1 else ''}"
        return replace(self, name=_check_name(name), table=table, histories={})

    def _part(self, mask: NDArray[np.bool_], name: str) -> Results:
        """Some of the trials, which are checked already."""
        table = self.table[mask].reset_index(drop=True)
        return replace(self, name=_check_name(name), table=table, histories=histories_of(table, self.histories))


def _said(value: Any) -> str:
    """A value in the name of a part: 0 for a seed that pandas holds as 0.0."""
    return "blank" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _check_name(name: str) -> str:
    """Raise unless a name is one line of printable text; gives it."""
    if not name or not name.isprintable():
        raise InputError(f"the name of a run must be printable text on one line, not {name!r}")
    return name
