"""Values of trials from the JSON texts of their files, with errors that say what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from designspace.support.checks import from_fields, mapping
from designspace.support.errors import RunError
from designspace.support.reading import parse_json
from designspace.trials.metric import Metric
from designspace.trials.trial import TrialResult


class ImpossibleValue(RunError):
    """A complete result with a value of the wrong type or range, which an interrupted write cannot cause."""


class ForeignResult(RunError):
    """A result of another recipe or seed than its run. The user put it there, so it must not be replaced."""


def parse_value(path: Path | str, text: bytes, kind: Any, fingerprint: str, metric: Metric | None = None) -> Any:
    """Return the result or failure that a file contains.

    Args:
        path: the file, for errors.
        text: its content.
        kind: `TrialResult` or `TrialFailure`.
        fingerprint: of the trial; empty if any counts.
        metric: for which the errors must be possible, if one is given.

    Raises:
        ForeignResult: the value is of another trial.
        ImpossibleValue: it is a whole result, but no training can produce it.
        RunError: it is cut off or was edited.
    """
    try:
        fields = dict(mapping(kind.__name__, parse_json(text)))
        written_fingerprint = fields.pop("asked", "")
        value = from_fields(kind, fields)
        if metric is not None:
            value.check(metric)
    except ValueError as error:
        is_whole = text.rstrip().endswith(b"}")  # a truncated file does not
        raise (ImpossibleValue if is_whole and kind is TrialResult else RunError)(
            f"{path} does not hold a whole {kind.__name__} ({error}); designspace.retry trains it again"
        ) from error
    if fingerprint and written_fingerprint and written_fingerprint != fingerprint:
        raise ForeignResult(
            f"{path} is of another recipe or seed than this run's; move it away, or copy it to its own run"
        )
    return value
