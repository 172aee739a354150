"""The files of one trial: what was asked, what happened so far, what came of it.

Status is derived from the files that exist. Reading never writes or deletes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.support.checks import from_fields, mapping
from designspace.support.errors import InputError, RunError
from designspace.support.files import add_to_log, atomic_writer, read_json, write_json, write_text
from designspace.support.reading import is_missing, parse_json, read_text, read_with_time
from designspace.support.text import shown
from designspace.trials import claims
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult

STATUSES = ("done", "failed", "running", "waiting")

_TRIAL = "trial.json"
_RESULT = "result.json"
_ERROR = "error.json"
_HISTORY = "history.jsonl"
_ATTEMPTS = "attempts.json"
MAX_VALUE_BYTES = 1 << 20
"""The largest file of a result, a failure or attempts that is read."""
MAX_HISTORY_BYTES = 32 << 20
"""The largest history of a trial that is read: 100,000 epochs."""


@dataclass(frozen=True, slots=True)
class TrialState:
    """What the files of one trial say."""

    id: str
    status: str
    """One of `STATUSES`."""
    result: TrialResult | None = None
    failure: TrialFailure | None = None
    claim: claims.Held | None = None
    """Who is, or was last, at work on a trial that has not ended."""
    ended: float = 0.0
    """When it ended, in seconds since 1970."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in ("done", "failed")


def best_first(states: Iterable[TrialState]) -> list[TrialState]:
    """The trials that are done, in order of their error, and of their ids where that is the same.

    The error is that on held-out images where the recipe holds some out, so that the test images choose nothing; else
    the final one (see `TrialResult.selection_error`).
    """
    done = [(state.result.selection_error, state.id, state) for state in states if state.result]
    return [state for _, _, state in sorted(done, key=lambda entry: entry[:2])]


class TrialFolder:
    """The files of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.pt"
        self.log = path / "log.txt"

    def write_trial(self, trial: Trial) -> None:
        """Write what is asked of this trial."""
        asked = {
            "id": trial.id,
            "network": json.loads(trial.network.to_json()),
            "recipe": trial.recipe.to_dict(),
            "seed": trial.seed,
        }
        write_json(self.path / _TRIAL, asked)

    def write_history(self, history: tuple[EpochRecord, ...]) -> None:
        """Write one line of JSON for each epoch so far."""
        lines = (json.dumps(dataclasses.asdict(record)) for record in history)
        write_text(self.path / _HISTORY, "".join(f"{line}\n" for line in lines))

    def read_history(self) -> tuple[EpochRecord, ...]:
        """The epochs so far; none if the trial has not completed one.

        Raises:
            RunError: the file is cut off or was edited.
        """
        path = self.path / _HISTORY
        if not path.exists():
            return ()
        try:
            lines = read_text(path, MAX_HISTORY_BYTES).splitlines()
            return tuple(from_fields(EpochRecord, parse_json(line)) for line in lines)
        except ValueError as error:
            raise RunError(f"{path} is not whole ({error})") from error

    def write_result(self, result: TrialResult, asked: str = "") -> None:
        """Write the result: from now on the trial is done. ``asked`` is its `Trial.asked`."""
        write_json(self.path / _RESULT, {"asked": asked, **dataclasses.asdict(result)})

    def write_failure(self, failure: TrialFailure, asked: str = "") -> None:
        """Write the failure: from now on the trial has failed."""
        write_json(self.path / _ERROR, {"asked": asked, **dataclasses.asdict(failure)})

    def add_to_log(self, text: str) -> None:
        """Add to log.txt what a person may want to read, with the time before it.

        Raises:
            RunError: the file cannot be written.
        """
        add_to_log(self.log, text)

    def attempts(self) -> tuple[Attempt, ...]:
        """The tries that ended badly so far."""
        path = self.path / _ATTEMPTS
        if not path.exists():
            return ()
        try:
            listed = read_json(path, MAX_VALUE_BYTES)
            if not isinstance(listed, list):
                raise InputError(f"a list is needed, not {shown(listed)}")
            return tuple(_attempt(fields) for fields in listed)
        except InputError as error:
            raise RunError(f"{path} does not hold attempts ({error})") from error

    def add_attempt(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """Note a try that ended badly, and give all so far. Only the owner of the trial's claim may."""
        attempts = (*self.attempts(), attempt)
        write_json(self.path / _ATTEMPTS, [dataclasses.asdict(attempt) for attempt in attempts])
        return attempts

    def forget_failure(self) -> None:
        """Make a failed trial one that waits, with all its tries before it."""
        (self.path / _ATTEMPTS).unlink(missing_ok=True)
        (self.path / _ERROR).unlink(missing_ok=True)

    def copy_from(self, other: TrialFolder) -> None:
        """Take over the files of the same trial in another run; its result comes last, so that half a copy is none.

        Raises:
            RunError: a file cannot be read or written.
        """
        ours = {_TRIAL, _HISTORY, _ATTEMPTS, self.checkpoint.name, self.log.name}
        try:
            for name in (*sorted(ours), _RESULT, _ERROR):
                if (other.path / name).exists():
                    with (other.path / name).open("rb") as source, atomic_writer(self.path / name) as file:
                        shutil.copyfileobj(source, file)
            if (self.path / _RESULT).exists():
                (self.path / _ERROR).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot copy {other.path}: {error.strerror or error}") from error

    @property
    def begun(self) -> float | None:
        """When it was last begun or gone on with, in seconds since 1970; None before."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / _TRIAL).stat().st_mtime
        return None

    def state(self, asked: str = "") -> TrialState:
        """What became of the trial, from the files that exist. ``asked`` is its `Trial.asked`, if that is known.

        Raises:
            RunError: a result is cut off or was edited, or is of another recipe or seed.
        """
        id_ = self.path.name
        if found := _read_value(self.path / _RESULT, TrialResult, asked):
            return TrialState(id_, "done", result=found[0], ended=found[1])
        if found := _read_value(self.path / _ERROR, TrialFailure, asked):
            return TrialState(id_, "failed", failure=found[0], ended=found[1])
        held = claims.current(self.path)
        return TrialState(id_, "running" if held is not None and held.is_fresh else "waiting", claim=held)


def _read_value(path: Path, kind: Any, asked: str) -> tuple[Any, float] | None:
    """Read a frozen value from its JSON file, and when that was written; None if there is no file."""
    try:
        text, written_ns = read_with_time(path, MAX_VALUE_BYTES)
    except RunError as error:
        if is_missing(error):
            return None
        raise
    written = written_ns / 1e9
    try:
        fields = dict(mapping(kind.__name__, parse_json(text)))
        told = fields.pop("asked", "")
        value = from_fields(kind, fields)
    except ValueError as error:
        raise RunError(f"{path} does not hold a whole {kind.__name__} ({error}); remove it to try again") from error
    if asked and told and told != asked:
        raise RunError(f"{path} is of another recipe or seed than this run's; move it away, or copy it to its own run")
    return value, written


def _attempt(fields: Any) -> Attempt:
    """The attempt that some plain values describe."""
    given = dict(mapping("attempt", fields, needed=["failure"]))
    attempt: Attempt = from_fields(Attempt, {**given, "failure": from_fields(TrialFailure, given["failure"])})
    return attempt
