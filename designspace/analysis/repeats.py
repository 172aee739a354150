"""Networks that were trained several times: which of their trainings count, and the means of their errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from designspace.analysis.columns import RECIPE_COLUMNS
from designspace.analysis.failures import Failures, at_chance
from designspace.analysis.source import histories_of
from designspace.analysis.table_checks import ErrorColumn

if TYPE_CHECKING:
    from designspace.analysis.results import Results


def without_fresh(results: Results) -> Results:
    """Return results without the fresh trainings of networks that were chosen by their errors (`designspace.retrain`).

    These trainings serve to rank the chosen networks again. When all networks are compared, a network must not count
    differently because it was chosen. So a fresh training is kept only if trainings that are not fresh have the same
    seed.
    """
    if "fresh" not in results.table.columns:
        return results
    is_fresh = results.table["fresh"] == "yes"
    seeds_of_all = results.table.loc[~is_fresh, "seed"].unique()
    table = results.table[~is_fresh | results.table["seed"].isin(seeds_of_all)].reset_index(drop=True)
    return replace(results, table=table, histories=histories_of(table, results.histories))


def mean_of_repeats(table: pd.DataFrame, count: int, guess: float, failures: Failures) -> pd.DataFrame:
    """Return one row per network and recipe, from its first ``count`` trials in the order of their seeds."""
    keys = ["id", *(column for column in RECIPE_COLUMNS.values() if column in table.columns)]
    errors = [column for column in get_args(ErrorColumn) if column in table.columns]
    network = table.groupby(keys, dropna=False, sort=False).ngroup()
    trials = table.assign(network=network).sort_values("seed", kind="stable")
    trials = trials[trials.groupby("network").cumcount() < count]
    done, failed, waiting = (trials["status"] == status for status in ("done", "failed", "waiting"))
    is_at_chance = at_chance(trials, failures)
    trials.loc[failed, errors] = math.nan
    trials.loc[is_at_chance, errors] = guess
    kinds = {"done": done, "finished": done | failed, "begun": ~waiting, "counted": done | is_at_chance}
    counts = pd.DataFrame({"network": trials["network"], **kinds}).groupby("network").sum()
    grouped = trials.groupby("network")
    rows = trials.drop_duplicates("network").set_index("network").sort_index()
    is_complete = counts["finished"] == count
    rows["status"] = np.select(
        [is_complete & (counts["done"] > 0), is_complete, counts["begun"] > 0], ["done", "failed", "running"], "waiting"
    )
    rows[errors] = grouped[errors].mean().where(rows["status"] == "done")
    rows["train_s"] = grouped["train_s"].sum(min_count=1)
    if "memory_bytes" in rows.columns:
        rows["memory_bytes"] = grouped["memory_bytes"].max()
    rows["repeats"] = counts["counted"]
    # If a network diverged in one of its trials, this is the reason, even if the machine ended other trials.
    by_cause = (
        trials[failed]
        .assign(is_at_chance=is_at_chance[failed])
        .sort_values("is_at_chance", ascending=False, kind="stable")
    )
    first_failed = by_cause.drop_duplicates("network").set_index("network")["reason"]
    rows["reason"] = first_failed.reindex(rows.index).where(rows["status"] == "failed").fillna("")
    progress = counts["finished"].astype(str) + f" of {count} trials finished, " + counts["done"].astype(str) + " done"
    rows["detail"] = progress.where(counts["done"] < count, "")
    recurrence = rows.groupby("id").cumcount()  # the same network with another recipe
    rows["trial"] = rows["id"].where(recurrence == 0, rows["id"] + "@" + (recurrence + 1).astype(str))
    return rows.reset_index(drop=True)
