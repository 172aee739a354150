"""Claims, which ensure that only one process works on a trial, on one machine or on many.

A claim is a file ``claim.<k>.json`` in the trial's folder. It is created with O_EXCL, so only one process can create
it, also on NFS. Its owner touches it every `BEAT_S` seconds. Other processes never remove the claim of an owner that is
gone: to take the trial over, a process creates the next claim, k + 1, and if several try, one succeeds. The claim with
the highest number counts. An owner that finds a higher number than its own has lost the trial and stops. It checks this
right before it changes any of the trial's files (see `Claim.check`), since it may have been suspended for any time.

An owner is gone if its process is known to have exited, or if its claim has not changed for `LEASE_S` seconds of the
*observer's* own clock (see `Watch`): clocks of different hosts are never compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.support.checks import from_fields, text, whole
from designspace.support.errors import RunError
from designspace.support.files import guarded, writing
from designspace.support.reading import is_missing, parse_json, read_with_time, reading

log = logging.getLogger(__name__)

LEASE_S = 60.0
"""Seconds after which a claim that does not change is abandoned. NFS may show a change up to 30 s late."""
MAX_BYTES = 1 << 16
"""Maximum size of a claim that is read."""
BEAT_S = 5.0
"""Seconds between two touches of a claim by its owner."""

_NAME = re.compile(r"claim\.([1-9]\d{0,8})\.json")


class ClaimLost(BaseException):
    """Another process has taken over the folder that this process had claimed.

    Like ``KeyboardInterrupt``, this is not an ``Exception``, so that it is not recorded as the failure of a trial.
    """


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a claim."""

    host: str
    pid: int
    born: str
    """Start time of the process, in its machine's own units: a later process may have the same pid."""
    machine: str
    """Identifier of the running kernel and its process table, since hosts may share a name."""
    job: str
    """Its SLURM job, such as ``12_3``; empty outside SLURM."""
    token: str
    """Random text, different for each claim."""

    def __post_init__(self) -> None:
        whole("pid", self.pid, 1, 2**31 - 1)
        for name in ("host", "born", "machine", "job", "token"):
            text(name, getattr(self, name))

    @staticmethod
    def here() -> Owner:
        """Return this process as an owner, with a new token."""
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
        pid = os.getpid()
        return Owner(socket.gethostname(), pid, _start_time(pid), _machine(), job, os.urandom(16).hex())

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have exited; False if this machine cannot determine it."""
        return bool(self.machine) and self.machine == _machine() and _has_exited(self.pid, self.born)


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """A claim as it was read from its file."""

    path: Path
    number: int
    owner: Owner | None
    """None if its owner is still writing it, or never finished."""
    touched_ns: int
    """Time of the last touch, by the file system's clock."""

    @property
    def key(self) -> str:
        """A text that identifies this claim."""
        return f"{self.number}/{self.owner.token if self.owner else ''}"

    @property
    def is_fresh(self) -> bool:
        """Whether its owner seems to be active, by this machine's clock: for display, never for a decision."""
        is_gone = self.owner is not None and self.owner.is_gone
        return not is_gone and time.time() - self.touched_ns / 1e9 < LEASE_S


class Claim:
    """A claim of this process."""

    def __init__(self, path: Path, number: int, owner: Owner, previous_owner: Owner | None = None) -> None:
        self.path = path
        self.owner = owner
        """This process."""
        self.previous_owner = previous_owner
        """The owner that had the trial before and is gone, if there is one."""
        self._number = number

    def beat(self) -> bool:
        """Touch the claim; return False if the trial was taken over meanwhile."""
        with writing(self.path), contextlib.suppress(FileNotFoundError):
            os.utime(self.path)
        return self.is_ours()

    def is_ours(self) -> bool:
        """Return whether the trial still belongs to this claim."""
        claim = current(self.path.parent)
        return claim is not None and claim.number == self._number and claim.owner == self.owner

    def check(self) -> None:
        """Raise `ClaimLost` unless the trial still belongs to this claim."""
        if not self.is_ours():
            raise ClaimLost(f"another process has taken over the work on {self.path.parent}")

    def release(self) -> None:
        """Release the trial. Older claims, whose owners are gone, are removed first.

        If the claim was lost, nothing is removed: files with these numbers may belong to another process by now.
        """
        if not self.is_ours():
            return
        with writing(self.path):
            for number in sorted(_numbers(self.path.parent)):
                if number <= self._number:
                    _path(self.path.parent, number).unlink(missing_ok=True)


@dataclass(slots=True)
class _Observation:
    """What a `Watch` has observed of a claim."""

    claim: ObservedClaim
    time_s: float
    unchanged_s: float = 0.0
    was_alive: bool = False


class Watch:
    """Observes claims repeatedly, and so distinguishes live from abandoned ones without comparing clocks.

    The time between two observations counts up to `BEAT_S`: an observer that was itself delayed, perhaps by the same
    file server as the owner, did not observe that nothing changed.
    """

    def __init__(self) -> None:
        self._observations: dict[Path, _Observation] = {}

    def observe(self, folder: Path) -> ObservedClaim | None:
        """Read the claim on a trial, and note whether it has changed since the last call."""
        claim = current(folder)
        if claim is None:
            self._observations.pop(folder, None)
            return None
        now, last = time.monotonic(), self._observations.get(folder)
        if last is None or last.claim != claim:
            self._observations[folder] = _Observation(claim, now, was_alive=last is not None)
        else:
            last.unchanged_s += min(now - last.time_s, BEAT_S)
            last.time_s = now
        return claim

    def is_abandoned(self, claim: ObservedClaim) -> bool:
        """Return whether the owner is gone: its process exited, or nothing changed while a lease was observed."""
        if claim.owner is not None and claim.owner.is_gone:
            return True
        last = self._observations.get(claim.path.parent)
        return last is not None and last.claim == claim and last.unchanged_s > LEASE_S

    def was_seen_alive(self, folder: Path) -> bool:
        """Return whether the claim was observed to change within the last lease."""
        last = self._observations.get(folder)
        return last is not None and last.was_alive and last.unchanged_s <= LEASE_S


def take(folder: Path, abandoned: str = "") -> Claim | None:
    """Claim a trial for this process; return None if another process has it, or may have it.

    An existing claim is only taken over if its process is known to have exited, or if ``abandoned`` is its
    `ObservedClaim.key` (see `Watch.is_abandoned`).

    Raises:
        RunError: the folder cannot be read or written.
    """
    existing = current(folder)
    if existing is not None and existing.key != abandoned and not (existing.owner and existing.owner.is_gone):
        return None
    claim = _create(folder, existing.number + 1 if existing else 1, existing.owner if existing else None)
    if claim is None:
        return None
    # The existing claim may have been released, and the trial claimed anew, just before ours was created.
    if existing:
        reread = _read(existing.path, existing.number)
        is_unchanged = reread is not None and reread.owner == existing.owner
    else:
        is_unchanged = not _path(folder, 2).exists()
    if not is_unchanged:
        with writing(claim.path):
            claim.path.unlink(missing_ok=True)
        return None
    return claim


def current(folder: Path) -> ObservedClaim | None:
    """Return the claim on a trial that counts, which has the highest number; None if there is none.

    Raises:
        RunError: the folder or the claim cannot be read.
    """
    numbers = []
    with reading(folder), contextlib.suppress(FileNotFoundError):
        numbers = _numbers(folder)
    return _read(_path(folder, max(numbers)), max(numbers)) if numbers else None


def _numbers(folder: Path) -> list[int]:
    """Return the numbers of all claims in a folder."""
    return [int(match[1]) for entry in os.scandir(folder) if (match := _NAME.fullmatch(entry.name))]


def is_claim(name: str) -> bool:
    """Return whether a file of that name is a claim."""
    return _NAME.fullmatch(name) is not None


@contextlib.contextmanager
def heartbeat(claim: Claim) -> Iterator[Callable[[], bool]]:
    """Keep a claim alive while the block runs; yield a function that returns whether it was lost.

    A claim that could not be touched for most of a lease counts as lost, too.
    """
    stopped, lost = threading.Event(), threading.Event()
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        while not stopped.wait(BEAT_S):
            with contextlib.suppress(RunError):  # the file system may answer again later
                if claim.beat():
                    last = time.monotonic()
                else:
                    lost.set()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lambda: lost.is_set() or time.monotonic() - last > 0.75 * LEASE_S
    finally:
        stopped.set()
        thread.join()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[Claim]:
    """Wait until this process has the claim on a folder, and keep it while the block runs.

    Raises:
        RunError: the folder cannot be read or written, or the block was about to change one of its files after another
            process had taken the claim over.
    """
    watch, abandoned, is_logged = Watch(), "", False
    while (claim := take(folder, abandoned)) is None:
        other = watch.observe(folder)
        abandoned = other.key if other and watch.is_abandoned(other) else ""
        if other and other.owner and not is_logged:
            is_logged = True
            log.info("waiting for process %d on %s, which uses %s", other.owner.pid, other.owner.host, folder)
        time.sleep(0.2)
    try:
        with heartbeat(claim), guarded(folder, claim.check):
            yield claim
    except ClaimLost as error:
        raise RunError(f"{error}; this process was suspended for too long and stops") from error
    finally:
        claim.release()


def _path(folder: Path, number: int) -> Path:
    return folder / f"claim.{number}.json"


def _create(folder: Path, number: int, previous_owner: Owner | None) -> Claim | None:
    """Create a claim; return None if there is one with that number."""
    path, owner = _path(folder, number), Owner.here()
    with writing(path):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return None
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(dataclasses.asdict(owner), file)
        except OSError:  # a full disk must not leave a claim without an owner
            path.unlink(missing_ok=True)
            raise
    return Claim(path, number, owner, previous_owner)


def _read(path: Path, number: int) -> ObservedClaim | None:
    """Read a claim. Opening it makes an NFS client ask the server for its current state."""
    try:
        content, touched = read_with_time(path, MAX_BYTES)
    except RunError as error:
        if is_missing(error):
            return None
        if isinstance(error.__cause__, OSError):  # for example, a file server that does not answer
            raise
        with reading(path):
            return ObservedClaim(path, number, None, path.lstat().st_mtime_ns)  # no owner can be read from it
    try:
        owner = owner_from(parse_json(content))
    except ValueError:
        owner = None
    return ObservedClaim(path, number, owner, touched)


def owner_from(fields: Any) -> Owner:
    """Return the owner that a claim or a launch.json describes.

    Raises:
        InputError: a field is missing, unknown or of the wrong kind.
    """
    owner: Owner = from_fields(Owner, fields)
    return owner


def _start_time(pid: int) -> str:
    """Return the start time of a process of this machine; empty if it cannot be read."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def _has_exited(pid: int, born: str) -> bool:
    """Return whether a process of this machine is known to have exited; zombies have."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process, which /proc may hide
        pass
    fields = _stat(pid)
    return bool(fields) and (fields[0] in "ZX" or fields[19] != born)


def _stat(pid: int) -> list[str]:
    """Return the fields that /proc has of a process, its state first; none if they cannot be read."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        )  # the name before it may contain anything
    except OSError:
        return []


@functools.cache
def _machine() -> str:
    """Return an identifier of this machine's process table; empty if there is none (not Linux)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
