"""Decisions on the candidates of a space with a limit on latency, and the file candidates.csv that keeps them.

The decisions that were made depend on what had been measured at the time. With this file, the same command gives the
same networks again, without measuring anything.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from designspace.spaces.latency import LatencyLimit
from designspace.support.csv_text import check_id, decimal_point, open_table
from designspace.support.errors import RunError, unknown
from designspace.support.files import write_text

CANDIDATES_FILE = "candidates.csv"
ACCEPTED = "accepted"
OUTSIDE = "outside"
PREDICTED_OUTSIDE = "predicted outside"
VERDICTS = (ACCEPTED, OUTSIDE, PREDICTED_OUTSIDE)
"""Measured within the limit, measured outside it, or left out by the predictor."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network of the space without the limit, and the decision on it."""

    id: str
    verdict: str
    """One of `VERDICTS`."""
    predicted_ms: float
    """Latency that was predicted; NaN before there was a predictor."""
    measured_ms: float
    """Median of the measured latencies; NaN if it was left out by the predictor."""

    @property
    def is_measured(self) -> bool:
        """Whether the network was measured."""
        return not math.isnan(self.measured_ms)


_HEADER = ("id", "limit", "verdict", "predicted_ms", "measured_ms")


def write_candidates(folder: Path, limit: LatencyLimit, candidates: Iterable[Candidate]) -> None:
    """Write candidates.csv, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_HEADER)
    for candidate in candidates:
        latencies = ("" if math.isnan(ms) else f"{ms:.6g}" for ms in (candidate.predicted_ms, candidate.measured_ms))
        writer.writerow([candidate.id, str(limit), candidate.verdict, *latencies])
    write_text(folder / CANDIDATES_FILE, table.getvalue())


def read_candidates(folder: Path, limit: LatencyLimit) -> tuple[Candidate, ...]:
    """Read the decisions on candidates under a limit; empty if there is no file, or if it is about another limit.

    Raises:
        RunError: the file cannot be read, or a line is not a decision; the error names the line.
    """
    path = folder / CANDIDATES_FILE
    if not path.exists():
        return ()
    candidates = []
    try:
        file, delimiter = open_table(path)
        with file:
            table = csv.reader(file, delimiter=delimiter)
            if next(table, None) != list(_HEADER):
                raise RunError(f"{path}, line 1: the columns must be {','.join(_HEADER)}")
            for line, row in enumerate(filter(None, table), start=2):
                if len(row) != len(_HEADER):
                    raise RunError(f"{path}, line {line}: {len(row)} fields instead of {len(_HEADER)}")
                check_id(path, line, row[0])
                if row[2] not in VERDICTS:
                    raise RunError(f"{path}, line {line}: {unknown('verdict', row[2], VERDICTS)}")
                if row[1] == str(limit):
                    candidates.append(
                        Candidate(row[0], row[2], _latency(path, line, row[3]), _latency(path, line, row[4]))
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    return tuple(candidates)


def _latency(path: Path, line: int, cell: str) -> float:
    """Return the number in a cell, NaN if it is empty."""
    try:
        return float(decimal_point(cell)) if cell else math.nan
    except ValueError:
        raise RunError(f"{path}, line {line}: {cell[:60]!r} is not a latency in milliseconds") from None
