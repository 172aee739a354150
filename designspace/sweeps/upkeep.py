"""Looking after a run: ending what is at work on it, trying failed trials again, deleting what is no longer needed."""

from __future__ import annotations

import contextlib
import logging
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.support.errors import InputError, RunError, unknown
from designspace.support.file_errors import as_run_errors, error_message
from designspace.support.reading import entries, reading
from designspace.support.removal import files_below, remove, remove_empty_folders
from designspace.support.text import counted
from designspace.sweeps import scheduler
from designspace.sweeps.launch import origin
from designspace.sweeps.status import ranking_of_run
from designspace.trials import claims
from designspace.trials.launches import LaunchFolder
from designspace.trials.run import Run
from designspace.trials.trial import FAILURE_REASONS
from designspace.trials.trial_folder import TrialState

log = logging.getLogger(__name__)

KINDS = {
    "temporary": "half-written files of processes that were killed; damaged ones that a retry set aside",
    "claims": "claims of processes that are gone",
    "failed": "checkpoints of failed trials; a retry would begin anew",
    "checkpoints": "checkpoints of done trials, except of the best networks: their weights",
    "launches": "scripts, logs and copies of the code of launches that have ended",
}
"""What can be deleted, and what it is."""

OLD_S = 3600.0
"""A half-written file that has not changed for so long is given up; clocks may differ by less."""

Sized = tuple[Path, int]
"""A file and its size in bytes."""


@dataclass(frozen=True)
class Leftovers:
    """What a run no longer needed when it was looked at."""

    run: Run
    keep_best: int
    files: Mapping[str, Sequence[Sized]]
    """Kind -> files."""

    def __getitem__(self, kind: str) -> Sequence[Sized]:
        return self.files[kind]


def cancel(run: Run) -> list[str]:
    """End all launches of a run, and say in words what was told to end.

    SLURM tasks are taken from the queue. Every launch that is not known to have ended finds the word in its folder
    within seconds, wherever it runs.

    Raises:
        RunError: SLURM does not answer, or the folder cannot be written.
    """
    here = origin()
    who = f"{here['user']} on {here['owner']['host']}"
    told = []
    for launch in run.launches():
        about = launch.about()
        if launch.is_cancelled:
            continue
        names = [array["name"] for array in about.get("arrays", [])]
        if about.get("launcher") == "slurm":
            known = scheduler.is_here()
            jobs = scheduler.queue(names) if known else []
            if known and not jobs:
                continue
            launch.cancel(who)
            if known:
                scheduler.cancel(names)
            tasks = counted(len(jobs), "SLURM task") if known else "unknown SLURM tasks"
            told.append(f"{tasks} of launch {launch.token}")
        elif not _has_ended(launch):
            launch.cancel(who)
            told.append(f"launch {launch.token}{_where(about)}")
    return told


def retry(run: Run, reason: str | None = None, trial: str | None = None) -> list[str]:
    """Make failed trials wait again, all or those of a reason or a key, and give their keys.

    Raises:
        InputError: there is no such reason or no such trial.
    """
    keys = run.trial_keys()
    if reason is not None and reason not in FAILURE_REASONS:
        raise unknown("reason", reason, FAILURE_REASONS)
    if trial is not None and trial not in keys:
        raise InputError(f"{run.path} has no trial {trial!r}")
    failed = [state for state in run.states(keys if trial is None else (trial,)) if state.failure]
    chosen = [state.key for state in failed if state.failure and reason in (None, state.failure.reason)]
    return [key for key in chosen if _retry(run, key)]


def _retry(run: Run, key: str) -> bool:
    """Make a failed trial wait again; False where somebody else was faster, or its files cannot be changed."""
    folder = run.trial(key)
    try:
        with as_run_errors(), folder.claimed(has_ended=True) as claim:
            if claim is None or not run.states([key])[0].failure:
                return False
            folder.forget_failure()
    except claims.ClaimLost:
        return False
    except RunError as error:
        log.warning("trial %s cannot be retried: %s", key, error_message(error))
        return False
    return True


def leftovers(run: Run, keep_best: int = 10) -> Leftovers:
    """List what a run no longer needs, by kind. Nothing that may belong to somebody at work is among it.

    Links are not followed: what is on their other side is not the run's.
    """
    found: dict[str, list[Sized]] = {kind: [] for kind in KINDS}
    states = run.states(run.trial_keys())
    best = _best(run, states, keep_best)
    for state in states:
        for kind, files in _of_trial(run, state, best).items():
            found[kind] += files
    # The folder of a single network's run is also that of its trial.
    found["temporary"] = list(dict.fromkeys([*found["temporary"], *_old(run.path)]))
    found["launches"] += _of_launches(run, states)
    return Leftovers(run, keep_best, found)


def delete(found: Leftovers, kinds: Sequence[str]) -> tuple[int, int]:
    """Delete leftovers of some kinds, and give how many files and bytes those were.

    Each is looked at once more, while nobody else can begin to work with it: a trial under its claim, launches while
    none can begin. What cannot be deleted is logged.

    Raises:
        InputError: a kind that does not exist; nothing is deleted then.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    run = found.run
    listed = {entry[0] for kind in kinds if kind != "launches" for entry in found[kind]}
    trials = {run.trial(key).path: key for key in run.begun().intersection(run.trial_keys())}
    entries_of_run = [entry for kind in kinds for entry in found[kind] if entry[0].parent == run.path]
    removed = [] if run.path in trials else _remove(run, entries_of_run)
    best = _best(run, run.states(run.trial_keys()), found.keep_best)
    for path in sorted({path.parent for path in listed} & trials.keys()):
        with _going_on(path):
            removed += _delete_of_trial(run, trials[path], best, listed, kinds)
    if "launches" in kinds and found["launches"]:
        with _going_on(run.launches_path), run.launching():
            removed += _remove(run, _of_launches(run, run.states(run.trial_keys())))
            for folder in (run.launches_path, run.code):
                remove_empty_folders(folder)
    return len(removed), sum(removed)


def _delete_of_trial(run: Run, key: str, best: set[str], listed: set[Path], kinds: Sequence[str]) -> list[int]:
    """Delete what a trial still does not need, and give the sizes."""
    folder = run.trial(key)
    state = run.states([key])[0]
    # Taking the claim of an owner that is gone and giving it up removes both.
    claimed = [entry for entry in _left_claims(folder.path, state) if "claims" in kinds and entry[0] in listed]
    with folder.claimed(has_ended=state.has_ended) as claim:
        if claim is None:
            return []
        files = _of_trial(run, run.states([key])[0], best)
        wanted = [entry for kind in kinds if kind in files and kind != "claims" for entry in files[kind]]
        removed = _remove(run, [entry for entry in wanted if entry[0] in listed])
    return removed + [size for _, size in claimed]


def _remove(run: Run, files: Sequence[Sized]) -> list[int]:
    """Remove files of a run, and give the sizes of those that were there."""
    sizes = []
    for path, size in files:
        with _going_on(path):
            if remove(path, run.path):
                sizes.append(size)
    return sizes


@contextlib.contextmanager
def _going_on(path: Path) -> Iterator[None]:
    """Say what could not be deleted, and go on with the rest."""
    try:
        with as_run_errors():
            yield
    except claims.ClaimLost as error:
        log.warning("%s is left as it is: %s", path, error)
    except RunError as error:
        log.warning("%s cannot be deleted: %s", path, error_message(error))


def _best(run: Run, states: Sequence[TrialState], count: int) -> set[str]:
    """Return the ids of the best networks, the weights of whose trials stay."""
    return {network.id for network in ranking_of_run(run, states, run.plan())[:count]}


def _of_trial(run: Run, state: TrialState, best: set[str]) -> dict[str, list[Sized]]:
    """What a trial no longer needs, by kind; nothing while somebody may be at work on it."""
    folder = run.trial(state.key)
    if state.is_damaged or folder.path.is_symlink() or folder.path.parent.is_symlink():
        return {}
    if not state.has_ended and _may_be_at_work(claims.current(folder.path)):
        return {}
    found = {"claims": _left_claims(folder.path, state), "temporary": _old(folder.path)}
    kind = "failed" if state.failure else "checkpoints" if state.result and state.id not in best else None
    if kind and folder.checkpoint.is_file() and not folder.checkpoint.is_symlink():
        found[kind] = [_sized(folder.checkpoint)]
    return found


def _of_launches(run: Run, states: Sequence[TrialState]) -> list[Sized]:
    """The files of launches, and of the code that they ran, if all of them are known to have ended."""
    if any(not state.has_ended and _may_be_at_work(state.claim) for state in states):
        return []  # clocks of other machines cannot be asked
    if not all(_has_ended(launch) for launch in run.launches()):
        return []
    files = (entry for parent in (run.launches_path, run.code) for entry in files_below(parent))
    return [entry for entry in files if not claims.is_claim(entry[0].name)]


def _left_claims(folder: Path, state: TrialState) -> list[Sized]:
    """Claims on a trial that processes left behind which are gone, or that had ended the trial."""
    held = claims.current(folder)
    if _may_be_at_work(held) and not state.has_ended:
        return []
    return [_sized(path) for path in entries(folder) if claims.is_claim(path.name)] if held else []


def _may_be_at_work(held: claims.Held | None) -> bool:
    """Whether the owner of a claim is not known to be gone."""
    return held is not None and not (held.owner is not None and held.owner.is_gone)


def _owner(about: Mapping[str, Any]) -> claims.Owner:
    """The process that launched.

    Raises:
        RunError: launch.json does not say.
    """
    try:
        return claims.Owner(**about["owner"])
    except (KeyError, TypeError) as error:
        raise RunError(f"a launch.json does not say who launched ({error})") from error


def _where(about: Mapping[str, Any]) -> str:
    """Where a launch runs, in words; empty if its files do not say."""
    with contextlib.suppress(RunError):
        return f" on {_owner(about).host}, process {_owner(about).pid}"
    return ""


def _has_ended(launch: LaunchFolder) -> bool:
    """Whether a launch is known to have ended; False where SLURM cannot be asked or another machine would know."""
    about = launch.about()
    names = [array["name"] for array in about.get("arrays") or []]
    if names and (not scheduler.is_here() or scheduler.queue(names)):
        return False
    with contextlib.suppress(RunError):
        return bool(about.get("ended")) or _owner(about).is_gone
    return False


def _old(folder: Path) -> list[Sized]:
    """Temporary files that nobody can still be writing, and damaged ones that were set aside so long ago."""
    with reading(folder), contextlib.suppress(FileNotFoundError):
        files = [(path, path.lstat()) for pattern in (".*.tmp", "*.damaged") for path in folder.glob(pattern)]
        return [
            (path, info.st_size)
            for path, info in files
            if stat.S_ISREG(info.st_mode) and time.time() - info.st_mtime > OLD_S
        ]
    return []


def _sized(path: Path) -> Sized:
    with reading(path), contextlib.suppress(FileNotFoundError):
        return path, path.lstat().st_size
    return path, 0
