"""Decisions on the candidates of a space with a limit on latency, and the file candidates.csv that keeps them.

The decisions that were made depend on what had been measured at the time. With this file, the same command gives the
same networks again, without measuring anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.spaces.latency import LatencyLimit
from designspace.support.csv_text import check_id, decimal_point, read_rows, rows_text
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
    rows = (
        (candidate.id, limit, candidate.verdict, *map(_cell, (candidate.predicted_ms, candidate.measured_ms)))
        for candidate in candidates
    )
    write_text(folder / CANDIDATES_FILE, rows_text([_HEADER, *rows]))


def _cell(ms: float) -> str:
    """Return a latency as text, empty if there is none."""
    return "" if math.isnan(ms) else f"{ms:.6g}"


def read_candidates(folder: Path, limit: LatencyLimit) -> tuple[Candidate, ...]:
    """Read the decisions on candidates under a limit; return an empty tuple if none were written.

    Raises:
        RunError: the file cannot be read, or a line is not a decision; the error names the line.
    """
    path = folder / CANDIDATES_FILE
    if not path.exists():
        return ()
    candidates = (_candidate(path, line, row) for line, row in read_rows(path, _HEADER) if row[1] == str(limit))
    return tuple(candidates)


def _candidate(path: Path, line: int, row: Sequence[str]) -> Candidate:
    """Return the decision in a line of candidates.csv."""
    id_, _, verdict, predicted, measured = row
    check_id(path, line, id_)
    if verdict not in VERDICTS:
        raise RunError(f"{path}, line {line}: {unknown('verdict', verdict, VERDICTS)}")
    return Candidate(id_, verdict, _latency(path, line, predicted), _latency(path, line, measured))


def _latency(path: Path, line: int, cell: str) -> float:
    """Return the number in a cell, NaN if it is empty."""
    try:
        return float(decimal_point(cell)) if cell else math.nan
    except ValueError:
        raise RunError(f"{path}, line {line}: {cell[:60]!r} is not a latency in milliseconds") from None
