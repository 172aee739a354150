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

from designspace.analysis.best_networks import BestNetworks, ranked_networks, ranked_trials
from designspace.analysis.columns import COLUMNS
from designspace.analysis.conditions import Condition, rows_that_meet
from designspace.analysis.counts import Counts
from designspace.analysis.failures import Failures, at_chance, has_text
from designspace.analysis.reading import read_runs
from designspace.analysis.repeats import mean_of_repeats
from designspace.analysis.results_csv import read_table
from designspace.analysis.source import histories_of
from designspace.analysis.standings import is_sampled
from designspace.analysis.table_checks import ErrorColumn, checked_name, checked_table, stages_of
from designspace.networks.quantities import Quantity
from designspace.spaces.constraints import QUANTITIES
from designspace.support.checks import whole
from designspace.support.errors import InputError, unknown
from designspace.trials.metric import TOP1_ERROR, Metric, top1_error
from designspace.trials.state import STATUSES
from designspace.trials.trial import EpochRecord

if TYPE_CHECKING:
    from designspace.trials.folder import RunFolder
    from designspace.trials.gathered import Gathered
    from designspace.trials.recipe_axes import RecipeAxis

__all__ = ["COLUMNS", "Counts", "ErrorColumn", "Failures", "Results", "read_table"]


@dataclass(frozen=True, eq=False)
class Results:
    """The outcome of every trial of one or several runs.

    Make it with `Results.read` from files or with `Results.from_table`; both check the table.
    """

    name: str
    table: pd.DataFrame
    """One row per trial: errors are values of ``metric``, ``train_s`` is in seconds, ``flops`` are multiply-adds."""
    chance_error: float
    """Error of random guessing, as `errors` returns it: 100 (1 - 1 / number of classes) for the top-1 error."""
    histories: Mapping[str, tuple[EpochRecord, ...]] = field(default_factory=dict)
    """The epochs of each trial, if they are known, by the column ``trial``. Epochs of pycls's averaged weights have the
    same key followed by `designspace.analysis.reading.EMA`."""
    notes: tuple[str, ...] = ()
    """Notes on how the results were read or merged, one sentence each."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """The run folders that the results were read from, by the column ``run``."""
    training: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values of each field of the recipe that is known for all trials, including fields without a column."""
    drawn: Mapping[str, RecipeAxis] = field(default_factory=dict)
    """The axes of the fields of the recipe that were drawn for each network (see `designspace.trials.recipe_axes`)."""
    failures: Failures = "by_cause"
    """Rule for failed trials (see `with_failures`)."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of: by default the top-1 error in percent."""
    is_drawn: bool = True
    """Whether the networks were drawn from a space; False if any of them was chosen for a list."""
    measured: Mapping[str, Quantity] = field(default_factory=dict)
    """The measured costs of networks (costs.csv) that the table has columns for, by name."""

    def __repr__(self) -> str:
        done = self.table.loc[self.table["status"] == "done", "final_error"]
        low, high, mean = map(self.metric.text, (done.min(), done.max(), done.mean()))
        errors = f"; {self.metric.name} {low} to {high}, mean {mean}" if len(done) else ""
        return f"Results({self.name!r}: {self.counts.sentence()}{errors})"

    def _repr_html_(self) -> str:
        errors = ["final_error", *(["heldout_error"] if self.has_heldout else [])]
        times = ["train_s"] if self.table["train_s"].notna().any() else []
        columns = ["id", *errors, "epochs", *QUANTITIES, *self.measured, *times]
        table: str = self.best(5)[columns].to_html(index=False, float_format="{:.2f}".format)
        return f"<div>{html.escape(repr(self))}; the best ones:</div>{table}"

    @staticmethod
    def from_table(
        name: str,
        table: pd.DataFrame,
        num_classes: int,
        histories: Mapping[str, tuple[EpochRecord, ...]] | None = None,
        notes: tuple[str, ...] = (),
        metric: Metric | None = None,
    ) -> Results:
        """Check a table of results, as `read_table` returns it, and give it a name.

        If the table lacks the columns ``trial`` (unique for each row) or ``run``, they are added. Ids may be repeated
        only if ``trial`` is given. Networks without stages (of NAS spaces) may lack all columns of stages. Activations
        may be NaN if another program did not count them; flops and params may be NaN for trials that are not done, or
        both for all trials. ``heldout_error`` is the error on images that were held out of the training and of every
        choice; it may be NaN or missing. The errors are values of ``metric``, by default top-1 errors in percent.

        Raises:
            InputError: the table is empty, lacks columns, or has a row that contradicts itself.
        """
        checked_name(name)
        num_classes = whole(f"{name}: num_classes", num_classes, 2)
        metric = metric or top1_error(num_classes)
        table = checked_table(name, table, metric)
        for column, values in (("trial", table["id"]), ("run", name)):
            if column not in table.columns:
                table[column] = values
        return Results(name, table, metric.oriented(metric.guess), histories or {}, notes, metric=metric)

    @staticmethod
    def from_errors(
        name: str,
        errors: ArrayLike,
        num_classes: int,
        columns: Mapping[str, ArrayLike] | None = None,
        metric: Metric | None = None,
    ) -> Results:
        """Make results from plain errors, and optionally other columns, without files.

        Args:
            name: Name of the population.
            errors: Top-1 errors in percent, or values of ``metric``, one per network; NaN for a network that diverged.
            num_classes: Number of classes that the networks distinguish.
            columns: Further values of each network, by the column names of `read_table`: ``id``, ``flops``,
                ``params``, ``activations``, ``depth``, ``w_0``, ``w_a``, ``w_m``, ``d1``, ``w1``, ``lr`` and so on.
            metric: What the errors are values of; by default the top-1 error.

        Raises:
            InputError: a column has another length; or as `from_table`.

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
        table = pd.DataFrame({"id": [f"{name} {number}" for number in range(1, final.size + 1)]})
        table = table.assign(**blank, train_s=math.nan, final_error=final, best_error=final, device="", detail="")
        table = table.assign(status=np.where(failed, "failed", "done"), reason=np.where(failed, "diverged", ""))
        for key, values in known.items():
            table[key] = values.astype(str) if key == "id" else values
        return Results.from_table(name, table, num_classes, metric=metric)

    @staticmethod
    def read(
        run: RunFolder | Gathered | Path | str, *more: RunFolder | Gathered | Path | str, name: str | None = None
    ) -> Results:
        """Read the current results of one or several runs from their files, without writing anything.

        A run is a `RunFolder`, its `Gathered` files, its path, or a file: pycls's ``sweep.json`` or a file of the NDS
        data (arXiv 1905.13214). If a run was published without the files of its trials, its results.csv is read.
        Several runs become one table: a network that was trained with several seeds or recipes has several rows, the
        same trial in several runs counts once, and the column ``run`` names the run of each row. If the recipe is
        known, learning rate, weight decay and batch size have columns, as has every other field in which the recipes
        differ.

        Args:
            run: The first run.
            more: Further runs for the same table.
            name: Name of the results; by default made from the names of the runs.

        Raises:
            InputError: a path is not a run, or the runs have different numbers of classes or metrics.
            RunError: a run's files are missing or incomplete.
        """
        source = read_runs([run, *more])
        results = Results.from_table(
            source.name if name is None else name,
            source.table,
            source.num_classes,
            source.histories,
            source.notes,
            source.metric,
        )
        return replace(
            results,
            folders=source.folders,
            training=source.training,
            drawn=source.drawn,
            is_drawn=source.is_drawn,
            measured=source.measured,
        )

    @property
    def guess(self) -> float:
        """Value of the metric for random guesses."""
        return self.metric.oriented(self.chance_error)

    @property
    def counts(self) -> Counts:
        """Numbers of trials by status."""
        numbers = self.table["status"].value_counts()
        return Counts(**{status: int(numbers.get(status, 0)) for status in STATUSES})

    @property
    def num_stages(self) -> int:
        """Number of stages that the table has columns for; 0 if the networks have no stages."""
        return len(stages_of(self.table, "d"))

    def with_failures(self, failures: Failures) -> Results:
        """Return the same results with another rule for failed trials (see `Failures`).

        Raises:
            InputError: ``failures`` is not one of these rules.
        """
        if failures not in get_args(Failures):
            raise unknown("treatment of failures", failures, get_args(Failures))
        return replace(self, failures=failures)

    def errors(self, column: ErrorColumn = "final_error") -> NDArray[np.float64]:  # (trials that count,)
        """Return the errors of the trials that count, in table order; failed ones have the chance error.

        Lower errors are better: they are the values of the metric, negated if higher values are better (see
        `Metric.oriented`).

        Args:
            column: ``final_error`` is the error of the last epoch. ``best_error`` is the best over the epochs; it is
                chosen on the test images, so it is optimistic. ``heldout_error`` is the error on held-out images.

        Raises:
            InputError: ``column`` does not exist, or a done trial has no such error.
        """
        if column not in get_args(ErrorColumn):
            raise unknown("column of errors", column, get_args(ErrorColumn))
        done = has_text(self.table, "status", "done")
        known = (
            self.table[column].to_numpy(np.float64) if column in self.table.columns else np.full(done.size, math.nan)
        )
        num_unknown = int((done & np.isnan(known)).sum())
        if num_unknown:
            raise InputError(
                f"{self.name}: {num_unknown} of {int(done.sum())} done trials have no {column}, because no images were "
                "held out when they were trained; use column='final_error'"
            )
        return np.where(done, self.metric.oriented(known), self.chance_error)[self.counted()]

    def draws(self) -> NDArray[np.float64]:  # (trials that count,)
        """Return how often each network was drawn from its space, in the order of `errors`.

        A population holds each network once, however often it was drawn, so it is flatter than its space.
        ``edf(results.errors(), results.draws())`` estimates the EDF of the space itself. The two hardly differ if few
        draws were duplicates (see `designspace.spaces.population.Population`).

        Raises:
            InputError: the number of draws of a network is not known.
        """
        counted = self.counted()
        known = (
            self.table["draws"].to_numpy(np.float64) if "draws" in self.table.columns else np.full(counted.size, 0.0)
        )
        values: NDArray[np.float64] = known[counted]
        num_unknown = int((~(values >= 1)).sum())
        if num_unknown:
            raise InputError(
                f"{self.name}: the draws of {num_unknown} of {values.size} networks are not known, because an earlier "
                "version or another program sampled them; to record the draws, sample again into a new folder"
            )
        return values

    def counted(self) -> NDArray[np.bool_]:  # (trials,)
        """Return a mask of the rows that count, whose errors `errors` returns.

        These trials are done, or failed and count at chance level. If the table has a column ``counts``, it must be
        true for them (see `preconditions.random_subset`). If trials were stopped early, only the random sample that was
        trained to the end counts; `early_stops` uses the others, too.
        """
        counted = has_text(self.table, "status", "done") | at_chance(self.table, self.failures)
        counted &= is_sampled(self.table)
        return counted & self.table["counts"].to_numpy(np.bool_) if "counts" in self.table.columns else counted

    def left_out(self) -> NDArray[np.bool_]:  # (trials,)
        """Return a mask of the rows that failed and do not count."""
        return has_text(self.table, "status", "failed") & ~at_chance(self.table, self.failures)

    def failed_as_text(self) -> str:
        """Return how the failed trials count, as text.

        >>> Results.from_errors("mine", [20.0, float("nan")], 10).failed_as_text()
        'counted at chance level'
        """
        left_out = int(self.left_out().sum())
        at_chance = self.counts.failed - left_out
        if left_out and at_chance:
            return f"{at_chance} of these counted at chance level and {left_out} left out"
        return "left out" if left_out or self.failures == "exclude" else "counted at chance level"

    def best(self, count: int = 1, by: str | Quantity | None = None) -> BestNetworks:
        """Return the rows of the ``count`` done trials with the best error; ties are ordered by id.

        ``results.best().load()`` returns the best network as a trained module (see `BestNetworks.load`).

        Trials are ranked by their error on held-out images if all done trials have one (see `has_heldout`), so that the
        test images choose nothing, and otherwise by their final error. Results of a run with several seeds have one row
        per network, ranked as in `designspace.load`, with the columns ``mean_error`` and ``trainings``.

        Args:
            count: Number of rows.
            by: A quantity to rank by instead, such as ``params`` or ``latency``; one row per network that has it.

        Raises:
            InputError: ``by`` is unknown, or neither its low nor its high values are better.
        """
        column = "heldout_error" if self.has_heldout else "final_error"
        ranked = ranked_trials(self, column) if by is None else ranked_networks(self, by)
        return BestNetworks.of(ranked.head(whole("count", count, 0)), self.folders)

    @property
    def has_heldout(self) -> bool:
        """Whether there are done trials and all of them have an error on held-out images."""
        if "heldout_error" not in self.table.columns:
            return False
        known = self.table.loc[self.table["status"] == "done", "heldout_error"].notna()
        return bool(len(known) and known.all())

    def where(self, condition: Condition, name: str | None = None) -> Results:
        """Return the trials that meet a condition.

        Args:
            condition: An expression in the syntax of ``pandas.DataFrame.query`` on the columns of `table`, one boolean
                per row of `table`, or a function that takes the table and returns these. A comparison with a blank is
                false, except for ``!=``. An expression can call functions, so do not accept it from strangers.
            name: Name of the part; by default it contains the condition, or how many trials meet it.

        Raises:
            InputError: the condition cannot be evaluated, names an unknown column, or no trial meets it.

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
        """Return the trials grouped by their value in a column, such as the seed or learning rate, in ascending order.

        Trials with a blank in that column are under None, at the end.

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
        return {value: self._part(mask, f"{self.name}, {column} {_value_text(value)}") for value, mask in parts.items()}

    def mean_of_repeats(self, count: int, *, name: str | None = None) -> Results:
        """Return networks that were trained several times as one row each, with the mean of their first errors.

        This gives the EDFs with one, two and three repeats of "On Network Design Spaces for Visual Recognition" (arXiv
        1905.13214, figure 14). Repeats are trials of one network and recipe, ordered by seed. Errors of the trials that
        count are averaged and training times are added; ``repeats`` is the number of trials that were averaged. A
        network is unfinished until ``count`` of its trials have finished, and has failed if none of them is done.
        Histories are left out because they belong to single trials.

        Args:
            count: Number of trials per network.
            name: Name of the returned results.

        Raises:
            InputError: ``count`` is below 1.
        """
        count = whole(f"{self.name}: the number of repeats", count, 1)
        table = mean_of_repeats(self.table, count, self.guess, self.failures)
        if name is None:
            name = f"{self.name}, {count} repeat{'s' if count > 1 else ''}"
        return replace(self, name=checked_name(name), table=table, histories={})

    def _part(self, mask: NDArray[np.bool_], name: str) -> Results:
        """Return some of the trials, which are already checked."""
        table = self.table[mask].reset_index(drop=True)
        return replace(self, name=checked_name(name), table=table, histories=histories_of(table, self.histories))


def _value_text(value: Any) -> str:
    """Return a value for the name of a part: 0 for a seed that pandas stores as 0.0."""
    return "blank" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
