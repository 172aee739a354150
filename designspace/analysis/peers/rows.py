"""The rows of other programs' jobs, and the table that holds them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from designspace.analysis.columns import COLUMNS, WHOLE_COLUMN, missing_columns
from designspace.analysis.source import EMA, Source
from designspace.trials.trial import EpochRecord

_REASONS = (
    ("out of memory", r"out of memory|OutOfMemory"),
    ("time limit", r"DUE TO TIME LIMIT"),
    ("worker died", r"\bKilled\b|SIGKILL|oom.kill|NODE FAIL"),
    ("error", r"Traceback|Error\b|Exception\b"),
)
"""Patterns in pycls's stderr that make an unfinished job a failed one, by reason; warnings are not enough."""
_DETAIL_LENGTH = 300


@dataclass(frozen=True)
class Row:
    """The row of a job, with its histories."""

    cells: dict[str, Any]
    history: tuple[EpochRecord, ...] = ()
    ema: tuple[EpochRecord, ...] = ()
    """The errors of averaged weights."""
    num_classes: int | None = None
    """Number of classes of the network; None if it is unknown."""


def source(path: Path, rows: Sequence[Row], num_classes: int, notes: tuple[str, ...] = ()) -> Source:
    """Return all jobs as a table, with a name for each trial: its id, and a number from the second trial on."""
    table = pd.DataFrame([row.cells for row in rows])
    for column in missing_columns(table.columns):
        table[column] = math.nan
    for column in table.columns:
        if WHOLE_COLUMN.fullmatch(column) and table[column].notna().all():
            table[column] = table[column].astype("int64")
    table = table.reindex(columns=sorted(table.columns, key=_column_order))
    repeat = table.groupby("id").cumcount()
    trials = table["id"].where(repeat == 0, table["id"] + "#" + (repeat + 1).astype(str))
    histories = {trial: row.history for trial, row in zip(trials, rows, strict=True) if row.history}
    histories |= {trial + EMA: row.ema for trial, row in zip(trials, rows, strict=True) if row.ema}
    return Source(path.stem, table.assign(trial=trials, run=path.stem), num_classes, histories, notes)


def _column_order(column: str) -> tuple[int, str, int]:
    """Return the sort key of a column: as in a results.csv, stages by letter and number, other columns last."""
    stage = re.fullmatch(r"([dwbg])(\d+)", column)
    if stage:
        return 1, str("dwbg".index(stage[1])), int(stage[2])
    return (0, "", 0) if column == "id" else (2, "", COLUMNS.index(column)) if column in COLUMNS else (3, "", 0)


def digest(value: Any) -> str:
    """Return 12 hex digits that identify a value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def progress_cells(
    history: Sequence[EpochRecord], planned: int | None, losses: Sequence[float], stderr: str = ""
) -> dict[str, Any]:
    """Return status, errors and reason of a job from its history, planned number of epochs, and known losses."""
    epochs = history[-1].epoch if history else 0
    errors = [record.test_error for record in history]
    cells: dict[str, Any] = {"epochs": epochs, "reason": "", "detail": ""}
    if any(map(math.isnan, errors)):
        return {**cells, "status": "failed", "reason": "diverged", "detail": "an error on test images is nan"}
    if history and epochs >= (planned or epochs):
        return {**cells, "status": "done", "final_error": errors[-1], "best_error": min(errors)}
    progress = f"{epochs} of {planned or 'unknown'} epochs"
    if losses and math.isnan(losses[-1]):
        return {**cells, "status": "failed", "reason": "diverged", "detail": f"loss is nan after {progress}"}
    for reason, pattern in _REASONS:
        lines = [line.strip() for line in stderr.splitlines() if re.search(pattern, line)]
        if lines:
            detail = f"{progress}; {lines[-1]}"[:_DETAIL_LENGTH]
            return {**cells, "status": "failed", "reason": reason, "detail": detail}
    return {**cells, "status": "running", "detail": progress}
