"""The files of one trial: its definition, its progress and its result.

The status is derived from the files that exist. Reading never writes or deletes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from designspace.networks.network import MODEL_FILE
from designspace.support.checks import from_fields, mapping
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import concerns_all, may_pass
from designspace.support.files import (
    add_to_log,
    atomic_writer,
    check_guard,
    guarded,
    make_folder,
    write_json,
    write_text,
    writing,
)
from designspace.support.reading import is_missing, parse_json, read_json, read_text, read_with_time
from designspace.support.text import shown
from designspace.trials import claims
from designspace.trials.history import from_csv, from_json_lines, to_json_lines
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.plan import id_of
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult, has_failed_for_good

log = logging.getLogger(__name__)

STATUSES = ("done", "failed", "running", "waiting", "stopped")
"""``stopped``: not trained to the end, because of its error after some epochs (see `designspace.trials.fidelity`)."""

_TRIAL = "trial.json"
_RESULT = "result.json"
_ERROR = "error.json"
_HISTORY = "history.jsonl"
_ATTEMPTS = "attempts.json"
MAX_VALUE_BYTES = 1 << 20
"""Maximum size of a file of a result, a failure or attempts that is read."""
MAX_HISTORY_BYTES = 32 << 20
"""Maximum size of a history that is read, enough for 100,000 epochs."""


@dataclass(frozen=True, slots=True)
class TrialState:
    """State of a trial, as read from its files."""

    key: str
    """Key of the trial (see `designspace.trials.plan`)."""
    status: str
    """One of `STATUSES`."""
    result: TrialResult | None = None
    failure: TrialFailure | None = None
    claim: claims.ObservedClaim | None = None
    """The claim of the process that is working on an unfinished trial, or was the last to do so."""
    finished_at: float = 0.0
    """Time at which it finished, in seconds since 1970; 0 if unknown."""
    is_damaged: bool = False
    """Whether files of the trial cannot be read. It then counts as failed, and ``failure`` describes the damage."""
    is_edited: bool = False
    """Whether its result is complete but holds a value that training cannot produce, such as an error of -1.

    The file was edited, so the rank of the trial is unknown."""

    @property
    def id(self) -> str:
        """Id of the trial's network."""
        return id_of(self.key)

    @property
    def is_finished(self) -> bool:
        """Whether the trial is done or has failed."""
        return self.status in ("done", "failed")


class TrialFolder:
    """The files of one trial."""

    def __init__(
        self,
        path: Path,
        fingerprint: str = "",
        key: str = "",
        *,
        has_model: bool = False,
        metric: Metric = TOP1_ERROR,
    ) -> None:
        """Create a handle for the folder of a trial, which may not exist yet.

        Args:
            path: the folder.
            fingerprint: of the trial (see `Trial.fingerprint`); empty if unknown, so that any result counts.
            key: of the trial within its run; by default the folder's name.
            has_model: whether the folder becomes a model folder, so that the trial is done once the model exists.
            metric: what the trial is measured by, which limits its errors.
        """
        self.path = path
        self.fingerprint = fingerprint
        self.key = key or path.name
        self.has_model = has_model
        self.metric = metric
        self.checkpoint = path / "checkpoint.pt"
        self.log = path / "log.txt"
        self.history_table = path / "history.csv"
        """Table of the epochs for the user, in a model folder. Earlier versions kept no other record of them there."""

    @contextlib.contextmanager
    def claimed(self, abandoned: str = "", *, is_finished: bool = False) -> Iterator[claims.Claim | None]:
        """Claim the trial for this process while the block runs; yield None if another process has it, or may have it.

        All writes into the folder during the block, by any code (see `files.guarded`), succeed only while the claim is
        held.

        Args:
            abandoned: key of a claim that is known to be abandoned (see `claims.take`).
            is_finished: whether the trial is finished, so that an existing claim is a leftover.

        Raises:
            ClaimLost: a file was about to be changed after another process had taken the trial over.
            RunError: the folder cannot be written, or it is a link, so that writes would go outside the run.
        """
        if link := next((path for path in (self.path, self.path.parent) if path.is_symlink()), None):
            raise RunError(f"{link} is a link, but a run folder must not contain links; replace it with a folder")
        make_folder(self.path)
        if is_finished and (leftover := claims.current(self.path)):
            abandoned = leftover.key
        claim = claims.take(self.path, abandoned)
        if claim is None:
            yield None
            return
        try:
            with guarded(self.path, claim.check):
                yield claim
        finally:
            with contextlib.suppress(RunError):  # it is no longer touched, so others will find it abandoned
                claim.release()

    def write_trial(self, trial: Trial) -> None:
        """Write the definition of the trial."""
        write_json(self.path / _TRIAL, trial.to_dict())

    def write_history(self, history: tuple[EpochRecord, ...]) -> None:
        """Write one line of JSON per epoch so far."""
        write_text(self.path / _HISTORY, to_json_lines(history))

    def read_history(self) -> tuple[EpochRecord, ...]:
        """Read the epochs so far; empty if the trial has not completed any.

        Raises:
            RunError: the file is cut off or was edited.
        """
        path, decode = self.path / _HISTORY, from_json_lines
        if self.has_model and not os.path.lexists(path):
            path, decode = self.history_table, from_csv
        if not os.path.lexists(path):
            return ()
        try:
            history = decode(read_text(path, MAX_HISTORY_BYTES))
            for record in history:
                record.check(self.metric)
            return history
        except ValueError as error:
            raise RunError(f"{path} is not whole ({error})") from error

    def known_history(self) -> tuple[EpochRecord, ...]:
        """Return `read_history`, or no epochs and a warning in the log if the file is damaged."""
        try:
            return self.read_history()
        except RunError as error:
            log.warning("%s; its epochs are ignored", error)
            return ()

    def write_result(self, result: TrialResult) -> None:
        """Write the result, which makes the trial done."""
        write_json(self.path / _RESULT, {"asked": self.fingerprint, **dataclasses.asdict(result)})

    def write_failure(self, failure: TrialFailure) -> None:
        """Write the failure, which makes the trial failed."""
        write_json(self.path / _ERROR, {"asked": self.fingerprint, **dataclasses.asdict(failure)})

    def record_failure(self, failure: TrialFailure, max_retries: int, *, host: str = "", outside: bool = False) -> bool:
        """Record a failed attempt; return whether it was the last one, so that the trial has failed now.

        Args:
            failure: the failure of the attempt.
            max_retries: number of attempts after the first that may fail without an epoch of progress.
            host: the host on which it ran; by default this machine.
            outside: whether the cause seems to be outside the trial.

        Raises:
            RunError: the folder cannot be written.
        """
        attempts = self.add_attempt(Attempt(failure, host or socket.gethostname(), round(time.time(), 1), outside))
        is_last = has_failed_for_good(attempts, max_retries)
        self.add_to_log(
            f"{failure.reason}: {failure.detail} (attempt {len(attempts)}{', the last' if is_last else ''})"
        )
        if is_last:
            self.write_failure(failure)
        return is_last

    def record_lost_owner(self, owner: claims.Owner, max_retries: int) -> TrialFailure | None:
        """Record that the previous owner is gone; return the failure if this was the last attempt, otherwise None."""
        detail = f"process {owner.pid} on {owner.host} was lost"
        failure = TrialFailure("worker died", detail, epochs=len(self.known_history()))
        return failure if self.record_failure(failure, max_retries, host=owner.host, outside=True) else None

    def add_to_log(self, text: str) -> None:
        """Append a text with the current time to log.txt.

        If it cannot be written, only a warning is logged, unless no other file could be written either.

        Raises:
            RunError: the disk is full.
        """
        try:
            add_to_log(self.log, text)
        except RunError as error:
            if concerns_all(error):
                raise
            log.warning("%s", error)

    def attempts(self) -> tuple[Attempt, ...]:
        """Return the failed attempts so far; empty, with a warning in the log, if the file is damaged."""
        try:
            return self._read_attempts()
        except RunError as error:
            log.warning("%s; its attempts are ignored", error)
            return ()

    def _read_attempts(self) -> tuple[Attempt, ...]:
        """Read attempts.json; empty if there is no such file. Raises `RunError` if it is damaged."""
        path = self.path / _ATTEMPTS
        if not os.path.lexists(path):
            return ()
        try:
            listed = read_json(path, MAX_VALUE_BYTES)
            if not isinstance(listed, list):
                raise InputError(f"a list is needed, not {shown(listed)}")
            return tuple(map(Attempt.from_dict, listed))
        except InputError as error:
            raise RunError(f"{path} does not hold attempts ({error})") from error

    def add_attempt(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """Record a failed attempt, and return all so far. Only the owner of the trial's claim may call this.

        Raises:
            RunError: the file cannot be written, or cannot be read at the moment.
        """
        try:
            before = self._read_attempts()
        except RunError as error:
            if may_pass(error):  # its content must not be lost
                raise
            before = ()
        attempts = (*before, attempt)
        write_json(self.path / _ATTEMPTS, [dataclasses.asdict(attempt) for attempt in attempts])
        return attempts

    def clear_failure(self) -> None:
        """Make a failed trial wait again, and delete its attempts. Only the owner of its claim may call this.

        A result that cannot be read, and anything else that is not a regular file, is renamed.
        """
        for name in (_TRIAL, _HISTORY, self.checkpoint.name, self.log.name, _ATTEMPTS, _RESULT, _ERROR):
            path = self.path / name
            check_guard(path)
            with writing(path):
                if name in (_ATTEMPTS, _ERROR) and path.is_file() and not path.is_symlink():
                    path.unlink()
                elif os.path.lexists(path) and (name == _RESULT or path.is_symlink() or not path.is_file()):
                    path.rename(path.with_name(f"{name}.{os.urandom(3).hex()}.damaged"))

    def copy_from(self, other: TrialFolder) -> None:
        """Copy the files of the same trial in another run. The result is copied last, so that no partial copy counts.

        Raises:
            RunError: a file cannot be read or written.
        """
        if link := next((path for path in (other.path, other.path.parent) if path.is_symlink()), None):
            raise RunError(f"{link} is a link out of its run folder; trials are not copied through links")
        names = {_TRIAL, _HISTORY, _ATTEMPTS, self.checkpoint.name, self.log.name}
        try:
            for name in (*sorted(names), _RESULT, _ERROR):
                if os.path.lexists(other.path / name):
                    with _opened(other.path / name) as source, atomic_writer(self.path / name) as file:
                        shutil.copyfileobj(source, file)
            if (self.path / _RESULT).exists():
                (self.path / _ERROR).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot copy {other.path}: {error.strerror or error}") from error

    @property
    def started_at(self) -> float | None:
        """Time at which it was last started or resumed, in seconds since 1970; None before."""
        with contextlib.suppress(OSError):
            return (self.path / _TRIAL).stat().st_mtime
        return None

    def state(self) -> TrialState:
        """Read the state of the trial from its files.

        A trial whose files cannot be read counts as failed, with the reason, so that it does not affect other trials.

        Raises:
            ForeignResult: a result is of another recipe or seed.
        """
        try:
            if result := self._result():
                return TrialState(self.key, "done", result=result[0], finished_at=result[1])
            if failure := _read_value(self.path / _ERROR, TrialFailure, self.fingerprint):
                return TrialState(self.key, "failed", failure=failure[0], finished_at=failure[1])
            claim = claims.current(self.path)
        except ForeignResult:
            raise
        except RunError as error:
            failure_to_read = TrialFailure("error", str(error))
            is_edited = isinstance(error, ImpossibleValue)
            return TrialState(self.key, "failed", failure=failure_to_read, is_damaged=True, is_edited=is_edited)
        status = "running" if claim is not None and claim.is_fresh else "waiting"
        return TrialState(self.key, status, claim=claim)

    def _result(self) -> tuple[TrialResult, float] | None:
        """Read the result and the time at which it was written; return None if there is none yet.

        A trial of a model folder is done once the model exists. If an earlier version wrote the folder, it has no
        result.json, and the result is computed from the epochs.
        """
        if not self.has_model:
            return _read_value(self.path / _RESULT, TrialResult, self.fingerprint, self.metric)
        model = self.path / MODEL_FILE
        if not model.is_file():
            return None
        if result := _read_value(self.path / _RESULT, TrialResult, self.fingerprint, self.metric):
            return result
        history = () if os.path.lexists(self.path / _HISTORY) else self.read_history()
        return (TrialResult.of_history(history, "", None, self.metric), model.stat().st_mtime) if history else None


class ImpossibleValue(RunError):
    """A complete result with a value of the wrong type or range, which an interrupted write cannot cause."""


class ForeignResult(RunError):
    """A result of another recipe or seed than its run. The user put it there, so it must not be replaced."""


def _opened(path: Path) -> BinaryIO:
    """Open a file to be copied, but no links, which may lead to private files, and no pipes, which may never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return os.fdopen(handle, "rb")


def _read_value(path: Path, kind: Any, fingerprint: str, metric: Metric | None = None) -> tuple[Any, float] | None:
    """Read a value from its JSON file, and the time at which it was written; return None if there is no file.

    With a metric, its errors must be possible for that.
    """
    try:
        text, written_ns = read_with_time(path, MAX_VALUE_BYTES)
    except RunError as error:
        if is_missing(error):
            return None
        raise
    written = written_ns / 1e9
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
    return value, written
