"""Claims: who is at work on a trial, so that no two processes ever are, on one machine or on many.

A claim is a file ``claim.<k>.json`` in the trial's folder. Creating it with O_EXCL decides who has it, also on NFS. Its
owner touches it every `BEAT_S` seconds. A claim whose owner is gone is never removed by others: who takes the trial
over creates the next one, k + 1, and of several that try one succeeds. The claim with the highest number counts, and an
owner that finds a higher one than its own has lost the trial and stops. It looks right before it changes any of the
trial's files (see `Claim.check`), for it may have stood still for any length of time.

An owner is gone when its process is known to have ended, or when its claim did not change for `LEASE_S` seconds of the
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
"""A claim that does not change for so long is abandoned. NFS may show a change up to 30 s late."""
MAX_BYTES = 1 << 16
"""The largest claim that is read."""
BEAT_S = 5.0
"""How often an owner touches its claim."""

_NAME = re.compile(r"claim\.([1-9]\d{0,8})\.json")


class ClaimLost(BaseException):
    """Another process has taken over what this one had a claim on.

    Like ``KeyboardInterrupt`` this is not an ``Exception``: what collects failures must not take it for one.
    """


@dataclass(frozen=True, slots=True)
class Owner:
    """The process behind a claim."""

    host: str
    pid: int
    born: str
    """When the process began, in its machine's own count: a later process may have the same pid."""
    machine: str
    """One running kernel and its table of processes; hosts may share a name, these do not."""
    job: str
    """Its SLURM job, as ``12_3``; empty outside SLURM."""
    token: str
    """Random: no two claims have the same."""

    def __post_init__(self) -> None:
        whole("pid", self.pid, 1, 2**31 - 1)
        for name in ("host", "born", "machine", "job", "token"):
            text(name, getattr(self, name))

    @staticmethod
    def here() -> Owner:
        """This process."""
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
        pid = os.getpid()
        return Owner(socket.gethostname(), pid, _born(pid), _machine(), job, os.urandom(16).hex())

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended; False where this machine cannot tell."""
        return bool(self.machine) and self.machine == _machine() and _has_ended(self.pid, self.born)


@dataclass(frozen=True, slots=True)
class Held:
    """A claim as it was found."""

    path: Path
    number: int
    owner: Owner | None
    """None while its owner is still writing it (or never came to)."""
    touched_ns: int
    """Time of the last touch, by whatever clock the file system has."""

    @property
    def key(self) -> str:
        """What names this claim and no other."""
        return f"{self.number}/{self.owner.token if self.owner else ''}"

    @property
    def is_fresh(self) -> bool:
        """Whether somebody seems to be at work, judged by this machine's clock: for display, never for a decision."""
        gone = self.owner is not None and self.owner.is_gone
        return not gone and time.time() - self.touched_ns / 1e9 < LEASE_S


class Claim:
    """A claim of this process."""

    def __init__(self, path: Path, number: int, owner: Owner, lost: Owner | None = None) -> None:
        self.path = path
        self.owner = owner
        """This process."""
        self.lost = lost
        """Who had the trial before and is gone, if anybody."""
        self._number = number

    def beat(self) -> bool:
        """Say that the owner is still at work; False if the trial was taken over meanwhile."""
        with writing(self.path), contextlib.suppress(FileNotFoundError):
            os.utime(self.path)
        return self.is_ours()

    def is_ours(self) -> bool:
        """Whether the trial is still this claim's."""
        held = current(self.path.parent)
        return held is not None and held.number == self._number and held.owner == self.owner

    def check(self) -> None:
        """Raise `ClaimLost` unless the trial is still this claim's."""
        if not self.is_ours():
            raise ClaimLost(f"another process has taken over the work on {self.path.parent}")

    def release(self) -> None:
        """Give the trial up. Older claims, of owners that are gone, go first.

        Where the claim was lost, the files of its numbers may be somebody else's by now, and stay.
        """
        if not self.is_ours():
            return
        with writing(self.path):
            for number in sorted(_numbers(self.path.parent)):
                if number <= self._number:
                    _path(self.path.parent, number).unlink(missing_ok=True)


@dataclass(slots=True)
class _Seen:
    """What a `Watch` knows of a claim."""

    held: Held
    looked: float
    unchanged_s: float = 0.0
    was_alive: bool = False


class Watch:
    """Looks at claims again and again, and so tells live ones from abandoned ones without comparing clocks.

    The time between two looks counts up to `BEAT_S`: an observer that was itself held up, perhaps by the same file
    server as the owner, has not seen that nothing happened.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def look(self, folder: Path) -> Held | None:
        """The claim on a trial, looked at once more."""
        held = current(folder)
        if held is None:
            self._seen.pop(folder, None)
            return None
        now, last = time.monotonic(), self._seen.get(folder)
        if last is None or last.held != held:
            self._seen[folder] = _Seen(held, now, was_alive=last is not None)
        else:
            last.unchanged_s += min(now - last.looked, BEAT_S)
            last.looked = now
        return held

    def is_abandoned(self, held: Held) -> bool:
        """Whether the owner is gone: its process ended, or nothing changed during a whole lease of looking."""
        if held.owner is not None and held.owner.is_gone:
            return True
        last = self._seen.get(held.path.parent)
        return last is not None and last.held == held and last.unchanged_s > LEASE_S

    def was_seen_alive(self, folder: Path) -> bool:
        """Whether the claim has changed while it was looked at, within the last lease."""
        last = self._seen.get(folder)
        return last is not None and last.was_alive and last.unchanged_s <= LEASE_S


def take(folder: Path, abandoned: str = "") -> Claim | None:
    """Try to become the owner of a trial; None if somebody else is, or may be.

    A claim is only taken over where its process is known to have ended, or where its `Held.key` is the one that is
    given as abandoned (a `Watch` can tell).

    Raises:
        RunError: the folder cannot be read or written.
    """
    held = current(folder)
    if held is not None and held.key != abandoned and not (held.owner and held.owner.is_gone):
        return None
    claim = _create(folder, held.number + 1 if held else 1, held.owner if held else None)
    if claim is None:
        return None
    # The claim that was found may have been given up, and the trial taken anew, just before ours was created.
    if held:
        before = _read(held.path, held.number)
        unchanged = before is not None and before.owner == held.owner
    else:
        unchanged = not _path(folder, 2).exists()
    if not unchanged:
        with writing(claim.path):
            claim.path.unlink(missing_ok=True)
        return None
    return claim


def current(folder: Path) -> Held | None:
    """Return the claim on a trial that counts; None if there is none.

    Raises:
        RunError: the folder or the claim cannot be read.
    """
    numbers = []
    with reading(folder), contextlib.suppress(FileNotFoundError):
        numbers = _numbers(folder)
    return _read(_path(folder, max(numbers)), max(numbers)) if numbers else None


def _numbers(folder: Path) -> list[int]:
    """The numbers of all claims in a folder."""
    return [int(match[1]) for entry in os.scandir(folder) if (match := _NAME.fullmatch(entry.name))]


def is_claim(name: str) -> bool:
    """Whether a file of that name is a claim."""
    return _NAME.fullmatch(name) is not None


@contextlib.contextmanager
def beating(claim: Claim) -> Iterator[Callable[[], bool]]:
    """Keep a claim alive while the block runs; the block gets a function that tells whether it was lost.

    It also counts as lost when it could not be touched for most of a lease.
    """
    stopped, lost = threading.Event(), threading.Event()
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        while not stopped.wait(BEAT_S):
            with contextlib.suppress(RunError):  # a file system that does not answer now may do so later
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
def alone(folder: Path) -> Iterator[Claim]:
    """Wait until this process has the claim on a folder, and keep it during the block.

    Raises:
        RunError: the folder cannot be read or written, or the block was about
            to change a file of it after another process had taken the claim over.
    """
    watch, abandoned, said = Watch(), "", False
    while (claim := take(folder, abandoned)) is None:
        held = watch.look(folder)
        abandoned = held.key if held and watch.is_abandoned(held) else ""
        if held and held.owner and not said:
            said = True
            log.info("waiting for process %d on %s, which is at %s", held.owner.pid, held.owner.host, folder)
        time.sleep(0.2)
    try:
        with beating(claim), guarded(folder, claim.check):
            yield claim
    except ClaimLost as error:
        raise RunError(f"{error}; this one stood still for too long and stops") from error
    finally:
        claim.release()


def _path(folder: Path, number: int) -> Path:
    return folder / f"claim.{number}.json"


def _create(folder: Path, number: int, lost: Owner | None) -> Claim | None:
    """Create a claim; None if there is one of that number."""
    path, owner = _path(folder, number), Owner.here()
    with writing(path):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return None
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(dataclasses.asdict(owner), file)
        except OSError:  # a full disk must not leave a claim that nobody has
            path.unlink(missing_ok=True)
            raise
    return Claim(path, number, owner, lost)


def _read(path: Path, number: int) -> Held | None:
    """Read a claim. Opening it first makes an NFS client ask the server for its present state."""
    try:
        content, touched = read_with_time(path, MAX_BYTES)
    except RunError as error:
        if is_missing(error):
            return None
        if isinstance(error.__cause__, OSError):  # a file server that does not answer, say
            raise
        with reading(path):
            return Held(path, number, None, path.lstat().st_mtime_ns)  # whatever it is, nobody can be asked
    try:
        owner = owner_from(parse_json(content))
    except ValueError:
        owner = None
    return Held(path, number, owner, touched)


def owner_from(fields: Any) -> Owner:
    """Return the owner that a claim or a launch.json describes.

    Raises:
        InputError: a field is missing, unknown or of the wrong kind.
    """
    owner: Owner = from_fields(Owner, fields)
    return owner


def _born(pid: int) -> str:
    """When a process of this machine began; empty where that cannot be read."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def _has_ended(pid: int, born: str) -> bool:
    """Whether a process of this machine is known to have ended, or only waits to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, of which /proc may say nothing
        pass
    fields = _stat(pid)
    return bool(fields) and (fields[0] in "ZX" or fields[19] != born)


def _stat(pid: int) -> list[str]:
    """What /proc says of a process: its state, and so on; nothing if it may not be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before may hold anything
    except OSError:
        return []


@functools.cache
def _machine() -> str:
    """What tells this machine's processes from another's; empty where that is not known (not Linux)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
