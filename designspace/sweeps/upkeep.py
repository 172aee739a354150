"""Maintenance of runs: cancelling launches, retrying failed trials, and deleting files that are no longer needed."""

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
from designspace.trials.folder import RunFolder
from designspace.trials.launches import LaunchFolder
from designspace.trials.run import Run
from designspace.trials.state import TrialState
from designspace.trials.trial import FAILURE_REASONS

log = logging.getLogger(__name__)

KINDS = {
    "temporary": "partial files of processes that were killed; damaged files that a retry renamed",
    "claims": "claims of processes that are gone",
    "failed": "checkpoints of failed trials; a retry would start from the first epoch",
    "checkpoints": "checkpoints (the weights) of done trials, except those of the best networks",
    "launches": "scripts, logs and copies of the code of launches that have ended",
}
"""Kinds of files that can be deleted, and their descriptions."""

OLD_S = 3600.0
"""Seconds after which a partial file that has not changed is abandoned. Clocks are assumed to differ by less."""

Sized = tuple[Path, int]
"""A file and its size in bytes."""


@dataclass(frozen=True)
class Leftovers:
    """Files of a run that were no longer needed when they were listed."""

    run: Run
    keep_best: int
    files: Mapping[str, Sequence[Sized]]
    """Kind -> files."""

    def __getitem__(self, kind: str) -> Sequence[Sized]:
        return self.files[kind]


def cancel(run: Run) -> list[str]:
    """Cancel all launches of a run, and return a description of each.

    SLURM tasks are removed from the queue. Every other launch that is not known to have ended notices within seconds
    that it was cancelled, from its folder, wherever it runs.

    Raises:
        RunError: SLURM does not answer, or the folder cannot be written.
    """
    this_process = origin()
    user = f"{this_process['user']} on {this_process['owner']['host']}"
    cancelled = []
    for launch in run.launches():
        about = launch.about()
        if launch.is_cancelled:
            continue
        names = [array["name"] for array in about.get("arrays", [])]
        if about.get("launcher") == "slurm":
            is_available = scheduler.is_available()
            jobs = scheduler.queue(names) if is_available else []
            if is_available and not jobs:
                continue
            launch.cancel(user)
            if is_available:
                scheduler.cancel(names)
            tasks = counted(len(jobs), "SLURM task") if is_available else "unknown SLURM tasks"
            cancelled.append(f"{tasks} of launch {launch.token}")
        elif not _has_ended(launch):
            launch.cancel(user)
            cancelled.append(f"launch {launch.token}{_location(about)}")
    return cancelled


def retry(run: Run, reason: str | None = None, trial: str | None = None) -> list[str]:
    """Make failed trials wait again: all, or those with a reason or a key. Return their keys.

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
    """Make a failed trial wait again; return False if another process has it, or its files cannot be changed."""
    folder = run.trial(key)
    try:
        with as_run_errors(), folder.claimed(is_finished=True) as claim:
            if claim is None or not run.states([key])[0].failure:
                return False
            folder.clear_failure()
    except claims.ClaimLost:
        return False
    except RunError as error:
        log.warning("trial %s cannot be retried: %s", key, error_message(error))
        return False
    return True


def leftovers(run: Run, keep_best: int = 10) -> Leftovers:
    """List the files that a run no longer needs, by kind, without any that an active process may use.

    Links are not followed, since their targets do not belong to the run.
    """
    by_kind: dict[str, list[Sized]] = {kind: [] for kind in KINDS}
    states = run.states(run.trial_keys())
    best = _best_ids(run, states, keep_best)
    for state in states:
        for kind, files in _trial_leftovers(run, state, best).items():
            by_kind[kind] += files
    # In the run of a single network, the run folder is also the folder of the trial.
    by_kind["temporary"] = list(dict.fromkeys([*by_kind["temporary"], *_old_temporary_files(run.path)]))
    by_kind["launches"] += _launch_leftovers(run, states)
    return Leftovers(run, keep_best, by_kind)


def delete(listed: Leftovers, kinds: Sequence[str]) -> tuple[int, int]:
    """Delete leftovers of some kinds, and return the number of deleted files and bytes.

    Each file is checked again while no other process can start to use it: a trial while it is claimed, launches while
    none can start. Files that cannot be deleted are logged.

    Raises:
        InputError: a kind is unknown; nothing is deleted then.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    run = listed.run
    paths = {entry[0] for kind in kinds if kind != "launches" for entry in listed[kind]}
    trials = {run.trial(key).path: key for key in run.started_keys().intersection(run.trial_keys())}
    entries_of_run = [entry for kind in kinds for entry in listed[kind] if entry[0].parent == run.path]
    removed = [] if run.path in trials else _remove(run, entries_of_run)
    best = _best_ids(run, run.states(run.trial_keys()), listed.keep_best)
    for path in sorted({path.parent for path in paths} & trials.keys()):
        with _errors_logged(path):
            removed += _delete_of_trial(run, trials[path], best, paths, kinds)
    if "launches" in kinds and listed["launches"]:
        with _errors_logged(run.launches_path), run.launching():
            removed += _remove(run, _launch_leftovers(run, run.states(run.trial_keys())))
            for folder in (run.launches_path, run.code):
                remove_empty_folders(folder)
    return len(removed), sum(removed)


def fold(run: RunFolder) -> int:
    """Put the files of done trials, except checkpoints, into one file (see `RunFolder.fold`); return their number.

    Raises:
        RunError: a launch may be active, or a file cannot be written.
    """
    # The code of an active launch may be of a version that does not read this file and would train the trials again.
    with run.launching():
        if not _have_launches_ended(run, run.states(run.trial_keys())):
            raise RunError(f"a launch of {run.path} may be active; fold its trials when all launches have ended")
        return run.fold()


def _delete_of_trial(run: Run, key: str, best: set[str], paths: set[Path], kinds: Sequence[str]) -> list[int]:
    """Delete the listed files that a trial still does not need, and return their sizes."""
    folder = run.trial(key)
    state = run.states([key])[0]
    # Taking over the claim of an owner that is gone, and releasing it, removes both claims.
    old_claims = [entry for entry in _leftover_claims(folder.path, state) if "claims" in kinds and entry[0] in paths]
    with folder.claimed(is_finished=state.is_finished) as claim:
        if claim is None:
            return []
        files = _trial_leftovers(run, run.states([key])[0], best)
        to_delete = [entry for kind in kinds if kind in files and kind != "claims" for entry in files[kind]]
        removed = _remove(run, [entry for entry in to_delete if entry[0] in paths])
    return removed + [size for _, size in old_claims]


def _remove(run: Run, files: Sequence[Sized]) -> list[int]:
    """Remove files of a run, and return the sizes of those that existed."""
    sizes = []
    for path, size in files:
        with _errors_logged(path):
            if remove(path, run.path):
                sizes.append(size)
    return sizes


@contextlib.contextmanager
def _errors_logged(path: Path) -> Iterator[None]:
    """Log errors of the block instead of raising them, so that other files can be deleted."""
    try:
        with as_run_errors():
            yield
    except claims.ClaimLost as error:
        log.warning("%s is not deleted: %s", path, error)
    except RunError as error:
        log.warning("%s cannot be deleted: %s", path, error_message(error))


def _best_ids(run: Run, states: Sequence[TrialState], count: int) -> set[str]:
    """Return the ids of the best networks, whose weights are kept."""
    return {network.id for network in ranking_of_run(run, states, run.plan())[:count]}


def _trial_leftovers(run: Run, state: TrialState, best: set[str]) -> dict[str, list[Sized]]:
    """Return the files that a trial no longer needs, by kind; none while a process may be working on it."""
    folder = run.trial(state.key)
    if state.is_damaged or folder.path.is_symlink() or folder.path.parent.is_symlink():
        return {}
    if not state.is_finished and _may_be_active(claims.current(folder.path)):
        return {}
    files = {"claims": _leftover_claims(folder.path, state), "temporary": _old_temporary_files(folder.path)}
    kind = "failed" if state.failure else "checkpoints" if state.result and state.id not in best else None
    if kind and folder.checkpoint.is_file() and not folder.checkpoint.is_symlink():
        files[kind] = [_with_size(folder.checkpoint)]
    return files


def _launch_leftovers(run: Run, states: Sequence[TrialState]) -> list[Sized]:
    """Return the files of launches and of their code, if all launches are known to have ended."""
    if not _have_launches_ended(run, states):
        return []
    files = (entry for parent in (run.launches_path, run.code) for entry in files_below(parent))
    return [entry for entry in files if not claims.is_claim(entry[0].name)]


def _have_launches_ended(run: Run, states: Sequence[TrialState]) -> bool:
    """Return whether no process works on a trial, and all launches are known to have ended."""
    if any(not state.is_finished and _may_be_active(state.claim) for state in states):
        return False  # its owner may be active on another machine
    return all(_has_ended(launch) for launch in run.launches())


def _leftover_claims(folder: Path, state: TrialState) -> list[Sized]:
    """Return the claims on a trial whose processes are gone, or on a finished trial."""
    claim = claims.current(folder)
    if _may_be_active(claim) and not state.is_finished:
        return []
    return [_with_size(path) for path in entries(folder) if claims.is_claim(path.name)] if claim else []


def _may_be_active(claim: claims.ObservedClaim | None) -> bool:
    """Return whether there is a claim whose owner is not known to be gone."""
    return claim is not None and not (claim.owner is not None and claim.owner.is_gone)


def _owner(about: Mapping[str, Any]) -> claims.Owner:
    """Return the process of a launch.

    Raises:
        RunError: launch.json has no valid owner.
    """
    try:
        return claims.Owner(**about["owner"])
    except (KeyError, TypeError) as error:
        raise RunError(f"a launch.json has no valid owner ({error})") from error


def _location(about: Mapping[str, Any]) -> str:
    """Return the host and process of a launch, as text; empty if they are not recorded."""
    with contextlib.suppress(RunError):
        return f" on {_owner(about).host}, process {_owner(about).pid}"
    return ""


def _has_ended(launch: LaunchFolder) -> bool:
    """Return whether a launch is known to have ended; False if only SLURM or another machine can determine it."""
    about = launch.about()
    names = [array["name"] for array in about.get("arrays") or []]
    if names and (not scheduler.is_available() or scheduler.queue(names)):
        return False
    with contextlib.suppress(RunError):
        return bool(about.get("ended")) or _owner(about).is_gone
    return False


def _old_temporary_files(folder: Path) -> list[Sized]:
    """Return temporary and damaged files that have not changed for `OLD_S` seconds."""
    with reading(folder), contextlib.suppress(FileNotFoundError):
        files = [(path, path.lstat()) for pattern in (".*.tmp", "*.damaged") for path in folder.glob(pattern)]
        return [
            (path, info.st_size)
            for path, info in files
            if stat.S_ISREG(info.st_mode) and time.time() - info.st_mtime > OLD_S
        ]
    return []


def _with_size(path: Path) -> Sized:
    """Return a path and its size; 0 if it does not exist."""
    with reading(path), contextlib.suppress(FileNotFoundError):
        return path, path.lstat().st_size
    return path, 0
