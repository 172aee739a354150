"""Populations whose correct analysis is known by construction."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from designspace.analysis.results import Results
from designspace.trials.trial import EpochRecord

GOLDEN = Path(__file__).parents[1] / "golden" / "regnetx_400mf_imagenet_25_epochs.csv"


def make_table(
    errors: Sequence[float],
    failed: Sequence[tuple[str, str]] = (),
    running: int = 0,
    waiting: int = 0,
    tag: str = "a",
    epochs: int = 10,
    seed: int = 0,
    vary: int | None = None,
) -> pd.DataFrame:
    """Return a table of results: done trials with some errors, then failed (reason, detail), running and waiting ones.

    All networks have the same parameters, unless ``vary`` is a seed with which to draw them. ``seed`` is the seed of
    the trials.
    """
    rows = []
    rng = np.random.default_rng(vary)
    statuses = ["done"] * len(errors) + ["failed"] * len(failed) + ["running"] * running + ["waiting"] * waiting
    for index, status in enumerate(statuses):
        done = status == "done"
        reason, detail = failed[index - len(errors)] if status == "failed" else ("", "")
        row: dict[str, object] = {"id": f"{tag}{index:0{12 - len(tag)}x}"}
        for letter, values in (("d", (1, 2, 7, 12)), ("w", (32, 64, 160, 384)), ("b", (1, 1, 1, 1)), ("g", (16,) * 4)):
            if vary is not None:
                values = _drawn(letter, rng)
            row |= {f"{letter}{stage}": value for stage, value in enumerate(values, start=1)}
        row |= {"radix": 0, "flops": 4_000_000 + index, "params": 5_000, "activations": 3_000, "seed": seed}
        row |= {"status": status, "final_error": errors[index] if done else np.nan}
        row |= {"best_error": errors[index] - 0.25 if done else np.nan, "epochs": epochs if done else 0}
        row |= {"train_s": 60.0 if done else np.nan, "device": "cpu" if done else "", "reason": reason}
        rows.append(row | {"detail": detail})
    return pd.DataFrame(rows)


def _drawn(letter: str, rng: np.random.Generator) -> list[int]:
    """Return a parameter of four stages, drawn from the ranges of AnyNetX ("Designing Network Design Spaces", 3.2)."""
    choices = {"d": range(1, 17), "w": range(8, 1025, 8), "b": (1, 2, 4), "g": (1, 2, 4, 8, 16, 32)}
    return [int(value) for value in rng.choice(choices[letter], 4)]


def make_results(name: str, errors: Sequence[float], **others: Any) -> Results:
    """Return `Results` with ten classes from the arguments of `make_table`; all names have the same networks."""
    return Results.from_table(name, make_table(errors, **others), num_classes=10)


def independent_results(name: str, errors: Sequence[float], **others: Any) -> Results:
    """Return `Results` as `make_results` does, but with different networks for each name."""
    return make_results(name, errors, **{"tag": f"{zlib.crc32(name.encode()) % 16**6:06x}", **others})


def golden_errors() -> np.ndarray:
    """Return top-1 errors, percent, of 32 RegNetX-400MF (see the note beside the file)."""
    return pd.read_csv(GOLDEN)["top1_error"].to_numpy()


def population(name, errors, *, flops=None, tag=None, unfinished=(), **columns):
    """Return results with some errors and columns; the trials at the indices ``unfinished`` are waiting."""
    table = make_table(errors, **({} if tag is None else {"tag": tag}), vary=columns.pop("vary", None))
    if tag is None:
        table["id"] = [f"{name} {index}" for index in range(len(errors))]
    if flops is not None:
        table["flops"] = np.asarray(flops)
    for column, values in columns.items():
        table[column] = values
    is_waiting = table.index.isin(list(unfinished))
    table.loc[is_waiting, "status"] = "waiting"
    table.loc[is_waiting, ["final_error", "best_error"]] = np.nan
    return Results.from_table(name, table, 10)


def within(share, level, repeats, errors=3):
    """Return whether a fraction of repeats is at most a level, within some Monte Carlo errors."""
    return share <= level + errors * np.sqrt(level * (1 - level) / repeats)


def history(error, epochs=10):
    return tuple(EpochRecord(i + 1, 0.1, 1.0, error + 30 - 3 * i, error + 30 - 10 * i / 3, 6.0) for i in range(epochs))


def with_histories(name, table):
    """Return results whose done trials have a history of ten epochs."""
    done = table[table["status"] == "done"]
    return Results.from_table(
        name, table, 10, {row["id"]: history(row["final_error"]) for row in done.to_dict("records")}
    )


def varied(errors, tag, **others):
    """Return a table of networks that differ."""
    table = make_table(errors, tag=tag, **others)
    index = np.arange(len(table))
    return table.assign(
        train_s=table["train_s"] + index,
        d4=1 + index % 12,
        w4=64 + 8 * index,
        flops=2_000_000 + 10_000 * index,
        params=np.int64(1000 * 1.05**index),
    )
