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
from pathlib import Path
from typing import Any, BinaryIO

from designspace.networks.network import MODEL_FILE
from designspace.support.errors import InputError, RunError
from designspace.support.file_errors import concerns_all, may_pass
from designspace.support.files import (
    add_to_log,
    atomic_writer,
    check_guard,
    guarded,
    make_folder,
    write_bytes,
    write_json,
    write_text,
    writing,
)
from designspace.support.reading import as_json, as_text, is_missing, read_with_time
from designspace.support.text import shown
from designspace.trials import claims
from designspace.trials.folded import Files, FoldedTrials
from designspace.trials.history import from_csv, from_json_lines, to_json_lines
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.parsed import ForeignResult, ImpossibleValue, parse_value
from designspace.trials.state import TrialState
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult, has_failed_for_good

log = logging.getLogger(__name__)

_TRIAL = "trial.json"
_RESULT = "result.json"
_ERROR = "error.json"
_HISTORY = "history.jsonl"
_ATTEMPTS = "attempts.json"
MAX_VALUE_BYTES = 1 << 20
"""Maximum size of a file of a result, a failure or attempts that is read."""
MAX_HISTORY_BYTES = 32 << 20
"""Maximum size of a history that is read, enough for 100,000 epochs."""


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
        folded: FoldedTrials | None = None,
    ) -> None:
        """Create a handle for the folder of a trial, which may not exist yet.

        Args:
            path: the folder.
            fingerprint: of the trial (see `Trial.fingerprint`); empty if unknown, so that any result counts.
            key: of the trial within its run; by default the folder's name.
            has_model: whether the folder becomes a model folder, so that the trial is done once the model exists.
            metric: what the trial is measured by, which limits its errors.
            folded: the trials of its run whose files are in one file (see `designspace.trials.folded`).
        """
        self.path = path
        self.fingerprint = fingerprint
        self.key = key or path.name
        self.has_model = has_model
        self.metric = metric
        self._folded = folded

    # These are properties, since reading the states of thousands of trials needs none of these paths.
    @property
    def checkpoint(self) -> Path:
        """The weights and the state of the training."""
        return self.path / "checkpoint.pt"

    @property
    def log(self) -> Path:
        """Log of the attempts at the trial, as text."""
        return self.path / "log.txt"

    @property
    def history_table(self) -> Path:
        """Table of the epochs for the user, in a model folder. Earlier versions kept no other record of them there."""
        return self.path / "history.csv"

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
        file = self._read(path.name, MAX_HISTORY_BYTES)
        if file is None:
            return ()
        try:
            history = decode(as_text(path, file[0]))
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
        path, file = self.path / _ATTEMPTS, self._read(_ATTEMPTS, MAX_VALUE_BYTES)
        if file is None:
            return ()
        try:
            listed = as_json(path, file[0])
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
        folded = other.folded_files()
        try:
            for name in (*sorted(names), _RESULT, _ERROR):
                if name in folded:
                    write_bytes(self.path / name, folded[name][0])
                elif os.path.lexists(other.path / name):
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
            return (self.path / _TRIAL).stat().st_mtime_ns / 1e9
        file = self.folded_files().get(_TRIAL)
        return file[1] / 1e9 if file else None

    def state(self) -> TrialState:
        """Read the state of the trial from its files.

        A trial whose files cannot be read counts as failed, with the reason, so that it does not affect other trials.

        Raises:
            ForeignResult: a result is of another recipe or seed.
        """
        try:
            if result := self._result():
                return TrialState(self.key, "done", result=result[0], finished_at=result[1])
            if failure := self._read_value(_ERROR, TrialFailure):
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
            return self._read_value(_RESULT, TrialResult, self.metric)
        model = self.path / MODEL_FILE
        if not model.is_file():
            return None
        if result := self._read_value(_RESULT, TrialResult, self.metric):
            return result
        history = () if os.path.lexists(self.path / _HISTORY) else self.read_history()
        return (TrialResult.of_history(history, "", None, self.metric), model.stat().st_mtime) if history else None

    def _read_value(self, name: str, kind: Any, metric: Metric | None = None) -> tuple[Any, float] | None:
        """Return the value in a JSON file and the time at which it was written, or None if the file does not exist."""
        file = self._read(name, MAX_VALUE_BYTES)
        if file is None:
            return None
        return parse_value(self._file(name), file[0], kind, self.fingerprint, metric), file[1] / 1e9

    def _read(self, name: str, most: int) -> tuple[bytes, int] | None:
        """Return the content of a file and its modification time in nanoseconds, or None if the file does not exist.

        Raises:
            RunError: it cannot be read, or is larger than ``most`` bytes.
        """
        if self._folded and (files := self._folded.known(self.key)):
            return files.get(name)
        try:
            return read_with_time(self._file(name), most)
        except RunError as error:
            if not is_missing(error):
                raise
        return self.folded_files().get(name)  # another process may have folded the trial just now

    def _file(self, name: str) -> str:
        """Return the path of a file as text, since joining a `Path` takes as long as reading a small file."""
        return f"{self.path}{os.sep}{name}"

    def folded_files(self) -> Files:
        """Return the files of the trial that are in the file of folded trials: name -> content and time."""
        return (self._folded and self._folded.files(self.key)) or {}

    def files_to_fold(self) -> dict[str, tuple[bytes, int]] | None:
        """Return the files except the checkpoint; None if the trial is not done or is claimed, or one is not a text."""
        files = {}
        try:
            if not self.state().result or claims.current(self.path):
                return None
            for name in (_TRIAL, _HISTORY, _ATTEMPTS, self.log.name, _RESULT):
                if file := self._read(name, MAX_HISTORY_BYTES):
                    file[0].decode()
                    files[name] = file
        except (RunError, UnicodeDecodeError) as error:
            log.warning("%s is not folded: %s", self.path, error)
            return None
        return files


def _opened(path: Path) -> BinaryIO:
    """Open a file to be copied, but no links, which may lead to private files, and no pipes, which may never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return os.fdopen(handle, "rb")
