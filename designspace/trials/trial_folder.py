"""The files of one trial: what was asked, what happened so far, what came of it.

Status is derived from the files that exist. Reading never writes or deletes.
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
from designspace.trials.plan import id_of
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult, is_hopeless

log = logging.getLogger(__name__)

STATUSES = ("done", "failed", "running", "waiting")

_TRIAL = "trial.json"
_RESULT = "result.json"
_ERROR = "error.json"
_HISTORY = "history.jsonl"
_ATTEMPTS = "attempts.json"
MODEL_FILE = "network.json"
"""The file of a model folder that is written last."""
MAX_VALUE_BYTES = 1 << 20
"""The largest file of a result, a failure or attempts that is read."""
MAX_HISTORY_BYTES = 32 << 20
"""The largest history of a trial that is read: 100,000 epochs."""


@dataclass(frozen=True, slots=True)
class TrialState:
    """What the files of one trial say."""

    key: str
    """Of the trial (see `designspace.trials.plan`)."""
    status: str
    """One of `STATUSES`."""
    result: TrialResult | None = None
    failure: TrialFailure | None = None
    claim: claims.Held | None = None
    """Who is, or was last, at work on a trial that has not ended."""
    ended: float = 0.0
    """When it ended, in seconds since 1970; 0 if that is not known."""
    is_damaged: bool = False
    """Whether files of the trial cannot be read: it counts as failed, and ``failure`` says what is wrong with them."""
    is_edited: bool = False
    """Whether its result is whole but holds a value that no training gives, such as an error of -1.

    Somebody changed it, so the rank of the trial is unknown."""

    @property
    def id(self) -> str:
        """The id of the trial's network."""
        return id_of(self.key)

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in ("done", "failed")


class TrialFolder:
    """The files of one trial."""

    def __init__(self, path: Path, fingerprint: str = "", key: str = "", *, has_model: bool = False) -> None:
        """Name the folder of a trial, which may not exist yet.

        Args:
            path: the folder.
            fingerprint: of the trial (see `Trial.fingerprint`); empty if it is not known, and then any result counts.
            key: of the trial within its run; by default the folder's name.
            has_model: whether the folder becomes a model folder, so that the trial is done once the model is there.
        """
        self.path = path
        self.fingerprint = fingerprint
        self.key = key or path.name
        self.has_model = has_model
        self.checkpoint = path / "checkpoint.pt"
        self.log = path / "log.txt"
        self.history_table = path / "history.csv"
        """The epochs as a table for people, beside a model. Earlier versions kept no other record of them there."""

    @contextlib.contextmanager
    def claimed(self, abandoned: str = "", *, has_ended: bool = False) -> Iterator[claims.Claim | None]:
        """Have the trial for this process alone while the block runs; None where somebody else has it, or may have.

        Whatever is written into the folder during the block, by whichever code (see `files.guarded`), is written only
        while the claim holds.

        Args:
            abandoned: the claim that was found abandoned (see `claims.take`).
            has_ended: whether the trial has ended, so that a claim on it is one that was left behind.

        Raises:
            ClaimLost: a file was about to be changed after another process had taken the trial over.
            RunError: the folder cannot be written, or is a link, and what is written there would not be in the run.
        """
        if link := next((path for path in (self.path, self.path.parent) if path.is_symlink()), None):
            raise RunError(f"{link} is a link, and what is in a run folder must lie there; replace it with a folder")
        make_folder(self.path)
        if has_ended and (held := claims.current(self.path)):
            abandoned = held.key
        claim = claims.take(self.path, abandoned)
        if claim is None:
            yield None
            return
        try:
            with guarded(self.path, claim.check):
                yield claim
        finally:
            with contextlib.suppress(RunError):  # nobody beats it any more, so others find it abandoned
                claim.release()

    def write_trial(self, trial: Trial) -> None:
        """Write what is asked of this trial."""
        write_json(self.path / _TRIAL, trial.to_dict())

    def write_history(self, history: tuple[EpochRecord, ...]) -> None:
        """Write one line of JSON for each epoch so far."""
        write_text(self.path / _HISTORY, to_json_lines(history))

    def read_history(self) -> tuple[EpochRecord, ...]:
        """The epochs so far; none if the trial has not completed one.

        Raises:
            RunError: the file is cut off or was edited.
        """
        path, decode = self.path / _HISTORY, from_json_lines
        if self.has_model and not os.path.lexists(path):
            path, decode = self.history_table, from_csv
        if not os.path.lexists(path):
            return ()
        try:
            return decode(read_text(path, MAX_HISTORY_BYTES))
        except ValueError as error:
            raise RunError(f"{path} is not whole ({error})") from error

    def known_history(self) -> tuple[EpochRecord, ...]:
        """Return `read_history`, or no epochs where the file is damaged, which is logged."""
        try:
            return self.read_history()
        except RunError as error:
            log.warning("%s; its epochs count as unknown", error)
            return ()

    def write_result(self, result: TrialResult) -> None:
        """Write the result: from now on the trial is done."""
        write_json(self.path / _RESULT, {"asked": self.fingerprint, **dataclasses.asdict(result)})

    def write_failure(self, failure: TrialFailure) -> None:
        """Write the failure: from now on the trial has failed."""
        write_json(self.path / _ERROR, {"asked": self.fingerprint, **dataclasses.asdict(failure)})

    def note_failure(self, failure: TrialFailure, max_retries: int, *, host: str = "", outside: bool = False) -> bool:
        """Note an attempt that ended badly; True if it was the last one, and the trial has failed now.

        Args:
            failure: how it ended.
            max_retries: attempts after the first that may end badly without an epoch of progress.
            host: where it ran; by default this machine.
            outside: whether the trial itself seems not to be to blame.

        Raises:
            RunError: the folder cannot be written.
        """
        attempts = self.add_attempt(Attempt(failure, host or socket.gethostname(), round(time.time(), 1), outside))
        is_last = is_hopeless(attempts, max_retries)
        self.add_to_log(f"{failure.reason}: {failure.detail} (try {len(attempts)}{', the last' if is_last else ''})")
        if is_last:
            self.write_failure(failure)
        return is_last

    def note_lost_owner(self, owner: claims.Owner, max_retries: int) -> TrialFailure | None:
        """Note that the process that had the trial before is gone; gives the failure if that was once too often."""
        words = f"process {owner.pid} on {owner.host} was lost"
        failure = TrialFailure("worker died", words, epochs=len(self.known_history()))
        return failure if self.note_failure(failure, max_retries, host=owner.host, outside=True) else None

    def add_to_log(self, text: str) -> None:
        """Add to log.txt what a person may want to read, with the time before it.

        A log that cannot be written stops nothing, and is told in the log of the program, unless nothing else can be
        written either.

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
        """The attempts that ended badly so far; none where the file is damaged, which is logged."""
        try:
            return self._read_attempts()
        except RunError as error:
            log.warning("%s; its attempts count as none", error)
            return ()

    def _read_attempts(self) -> tuple[Attempt, ...]:
        """Read attempts.json; none if there is no such file. Raises `RunError` if it is damaged."""
        path = self.path / _ATTEMPTS
        if not os.path.lexists(path):
            return ()
        try:
            listed = read_json(path, MAX_VALUE_BYTES)
            if not isinstance(listed, list):
                raise InputError(f"a list is needed, not {shown(listed)}")
            return tuple(_attempt(fields) for fields in listed)
        except InputError as error:
            raise RunError(f"{path} does not hold attempts ({error})") from error

    def add_attempt(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """Note an attempt that ended badly, and give all so far. Only the owner of the trial's claim may.

        Raises:
            RunError: the file cannot be written, or not be read at the moment.
        """
        try:
            before = self._read_attempts()
        except RunError as error:
            if may_pass(error):  # what it holds must not be lost
                raise
            before = ()
        attempts = (*before, attempt)
        write_json(self.path / _ATTEMPTS, [dataclasses.asdict(attempt) for attempt in attempts])
        return attempts

    def forget_failure(self) -> None:
        """Make a failed trial one that waits, with all its attempts before it. Only the owner of its claim may.

        A result that cannot be read, or whatever else stands where a file belongs, is set aside under another name.
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
        """Take over the files of the same trial in another run; its result comes last, so that half a copy is none.

        Raises:
            RunError: a file cannot be read or written.
        """
        if link := next((path for path in (other.path, other.path.parent) if path.is_symlink()), None):
            raise RunError(f"{link} is a link, and what it leads to is not in that run folder")
        ours = {_TRIAL, _HISTORY, _ATTEMPTS, self.checkpoint.name, self.log.name}
        try:
            for name in (*sorted(ours), _RESULT, _ERROR):
                if os.path.lexists(other.path / name):
                    with _opened(other.path / name) as source, atomic_writer(self.path / name) as file:
                        shutil.copyfileobj(source, file)
            if (self.path / _RESULT).exists():
                (self.path / _ERROR).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot copy {other.path}: {error.strerror or error}") from error

    @property
    def begun(self) -> float | None:
        """When it was last begun or gone on with, in seconds since 1970; None before."""
        with contextlib.suppress(OSError):
            return (self.path / _TRIAL).stat().st_mtime
        return None

    def state(self) -> TrialState:
        """What became of the trial, from the files that exist.

        A trial whose files cannot be read is one that failed, and says why; so it stops no other.

        Raises:
            ForeignResult: a result is of another recipe or seed.
        """
        try:
            if result := self._result():
                return TrialState(self.key, "done", result=result[0], ended=result[1])
            if failure := _read_value(self.path / _ERROR, TrialFailure, self.fingerprint):
                return TrialState(self.key, "failed", failure=failure[0], ended=failure[1])
            held = claims.current(self.path)
        except ForeignResult:
            raise
        except RunError as error:
            why = TrialFailure("error", str(error))
            is_edited = isinstance(error, ImpossibleValue)
            return TrialState(self.key, "failed", failure=why, is_damaged=True, is_edited=is_edited)
        return TrialState(self.key, "running" if held is not None and held.is_fresh else "waiting", claim=held)

    def _result(self) -> tuple[TrialResult, float] | None:
        """Read the result and when it was written; None before there is one.

        A trial that gives a model is done once the model is there. Its folder has no result.json if an earlier version
        wrote it: then the epochs tell.
        """
        if not self.has_model:
            return _read_value(self.path / _RESULT, TrialResult, self.fingerprint)
        model = self.path / MODEL_FILE
        if not model.is_file():
            return None
        if found := _read_value(self.path / _RESULT, TrialResult, self.fingerprint):
            return found
        history = () if os.path.lexists(self.path / _HISTORY) else self.read_history()
        return (TrialResult.of_history(history, ""), model.stat().st_mtime) if history else None


class ImpossibleValue(RunError):
    """A result that is whole and holds a value of the wrong type or range, which no interrupted write leaves behind."""


class ForeignResult(RunError):
    """A result of another recipe or seed than its run's: somebody put it there, so it is not for us to replace."""


def _opened(path: Path) -> BinaryIO:
    """Open a file to be copied. A link may lead to what its owner did not mean to give, and a pipe never ends."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return os.fdopen(handle, "rb")


def _read_value(path: Path, kind: Any, fingerprint: str) -> tuple[Any, float] | None:
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
        asked = fields.pop("asked", "")
        value = from_fields(kind, fields)
    except ValueError as error:
        is_whole = text.rstrip().endswith(b"}")  # a file that was cut off does not
        raise (ImpossibleValue if is_whole and kind is TrialResult else RunError)(
            f"{path} does not hold a whole {kind.__name__} ({error}); designspace.retry tries it again"
        ) from error
    if fingerprint and asked and asked != fingerprint:
        raise ForeignResult(
            f"{path} is of another recipe or seed than this run's; move it away, or copy it to its own run"
        )
    return value, written


def _attempt(fields: Any) -> Attempt:
    """The attempt that some plain values describe."""
    given = dict(mapping("attempt", fields, needed=["failure"]))
    attempt: Attempt = from_fields(Attempt, {**given, "failure": from_fields(TrialFailure, given["failure"])})
    return attempt
