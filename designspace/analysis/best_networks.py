"""The best trials of results, as a table from which each can be loaded as a trained module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from designspace.analysis.failures import at_chance
from designspace.analysis.quantities import quantity, values
from designspace.networks.quantities import Quantity
from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.trials.metric import Metric

if TYPE_CHECKING:
    from designspace.analysis.results import Results


def ranked_trials(results: Results, column: str) -> pd.DataFrame:
    """Return the rows of the done trials, the best first by a column of errors, as `Results.best` ranks them."""
    if "fresh" in results.table.columns:
        return one_row_per_network(results.table, column, results.metric, results.guess)
    done = results.table[results.table["status"] == "done"]
    return done.sort_values([column, "id"], ascending=[results.metric.direction == "lower", True], kind="stable")


def ranked_networks(results: Results, by: str | Quantity) -> pd.DataFrame:
    """Return one row for each network with a done trial, the best first by a quantity; those without it are left out.

    Raises:
        InputError: the quantity is unknown, or neither its low nor its high values are better.
    """
    chosen = quantity(by, results)
    if chosen.direction is None:
        raise InputError(
            f"{results.name}: networks cannot be ranked by {chosen.name}, because neither its low nor its high values "
            "are better; choose a cost or a score, such as by='flops'"
        )
    table = results.table.assign(**{chosen.name: values(results, chosen)})
    done = table[(table["status"] == "done") & table[chosen.name].notna()].drop_duplicates(["run", "id"])
    return done.sort_values([chosen.name, "id"], ascending=[chosen.direction == "lower", True], kind="stable")


def one_row_per_network(table: pd.DataFrame, column: str, metric: Metric, guess: float) -> pd.DataFrame:
    """Return one row for each network that has a result, the best first: the first of the trials that rank it.

    The order is that of `designspace.trials.ranking.ranking`, for a table with the column ``fresh``.

    Args:
        table: table of results.
        column: column of the errors to rank by.
        metric: what the errors are values of.
        guess: error of a trial that diverged; trials that failed for other reasons are left out.
    """
    networks = ["run", "id"]
    counting = table[(table["status"] == "done") | at_chance(table, "by_cause")]
    done, fresh = counting["status"] == "done", counting["fresh"] == "yes"
    keys = [counting[name] for name in networks]
    ranking = counting[fresh == (fresh & done).groupby(keys).transform("any")]
    errors = ranking[column].where(ranking["status"] == "done", guess)
    grouped = errors.groupby([ranking[name] for name in networks])
    ranking = ranking.assign(mean_error=grouped.transform("mean"), trainings=grouped.transform("size"))
    first = ranking[ranking["status"] == "done"].drop_duplicates(networks)
    order = first.assign(is_not_fresh=first["fresh"] != "yes")
    ascending = [True, metric.direction == "lower", True]
    ordered = order.sort_values(["is_not_fresh", "mean_error", "id"], ascending=ascending, kind="stable")
    return ordered.drop(columns="is_not_fresh")


class BestNetworks(pd.DataFrame):
    """Rows of the done trials of best error, the best first. `load` returns one of them as a trained module."""

    folders: dict[str, Path]
    _metadata = ("folders",)

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame  # a part of this table is an ordinary table

    @staticmethod
    def of(table: pd.DataFrame, folders: Mapping[str, Path]) -> BestNetworks:
        """Make it from a table of results and the folders of its runs, by the values of its column ``run``."""
        best = BestNetworks(table)
        best.folders = dict(folders)
        return best

    def load(self, rank: int = 1, **options: Any) -> Any:
        """Load a network as `designspace.load` does: the trained module, in evaluation mode.

        Args:
            rank: rank in this table, from 1.
            options: options of `designspace.load`, such as ``device`` or ``features=True``.

        Raises:
            InputError: the rank is out of range, or the results were not read from a run folder and have no weights.
            RunError: a file of the run is missing or damaged.
        """
        import designspace  # torch is imported only to load a network

        if self.empty:
            raise InputError("no trial is done, so there is no network to load")
        row = self.iloc[whole("rank", rank, 1, len(self)) - 1]
        if row["run"] not in self.folders:
            raise InputError(
                f"{row['run']} was not read from a run folder, so there are no weights to load; "
                "read one with Results.read(<folder of designspace.sample>)"
            )
        trial = f"{row['id']}-s{int(row['seed'])}" if "fresh" in self.columns else row["id"]
        return designspace.load(self.folders[row["run"]], id=trial, **options)
