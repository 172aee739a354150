"""Looking after a run: ending what is at work on it, trying failed trials again, deleting what is no longer needed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.support.errors import InputError, unknown
from designspace.support.text import counted
from designspace.sweeps import scheduler
from designspace.sweeps.launch import origin
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.launches import LaunchFolder
from designspace.trials.trial import FAILURE_REASONS
from designspace.trials.trial_folder import best_first

KINDS = {
    "temporary": "half-written files of processes that were killed",
    "claims": "claims of processes that are gone",
    "failed": "checkpoints of failed trials; a retry would begin anew",
    "checkpoints": "checkpoints of done trials, but for the best ones: their weights",
    "launches": "scripts, logs and copies of the code of launches that have ended",
}
"""What can be deleted, and what it is."""

OLD_S = 3600.0
"""A half-written file that has not changed for so long is given up; clocks may differ by less."""

Leftovers = Mapping[str, Sequence[tuple[Path, int]]]
"""Kind -> paths and their sizes in bytes."""


def cancel(run: RunFolder) -> list[str]:
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
            told.append(f"launch {launch.token} on {_owner(about).host}, process {_owner(about).pid}")
    return told


def retry(run: RunFolder, reason: str | None = None, trial: str | None = None) -> list[str]:
    """Make failed trials wait again, all or those of a reason or an id, and give their ids.

    Raises:
        InputError: there is no such reason or no such trial.
    """
    ids = run.ids()
    if reason is not None and reason not in FAILURE_REASONS:
        raise unknown("reason", reason, FAILURE_REASONS)
    if trial is not None and trial not in ids:
        raise InputError(f"{run.path} has no trial {trial!r}")
    failed = [state for state in run.states(ids if trial is None else (trial,)) if state.failure]
    chosen = [state.id for state in failed if state.failure and reason in (None, state.failure.reason)]
    for id_ in chosen:
        run.trial(id_).forget_failure()
    return chosen


def leftovers(run: RunFolder, keep_best: int = 10) -> Leftovers:
    """What a run no longer needs, by kind. Nothing that may belong to somebody at work is among it."""
    found: dict[str, list[tuple[Path, int]]] = {kind: [] for kind in KINDS}
    states = run.states(run.ids())
    kept = {state.id for state in best_first(states)[:keep_best]}
    at_work = False
    for state in states:
        folder = run.trial(state.id)
        held = claims.current(folder.path)
        gone = held is not None and held.owner is not None and held.owner.is_gone
        if held and not gone and not state.has_ended:
            at_work = True  # perhaps: clocks of other machines cannot be asked
            continue
        if held:
            found["claims"] += [_sized(path) for path in folder.path.iterdir() if claims.is_claim(path.name)]
        found["temporary"] += _old(folder.path)
        kind = "failed" if state.failure else "checkpoints" if state.result and state.id not in kept else None
        if kind and folder.checkpoint.exists():
            found[kind].append(_sized(folder.checkpoint))
    found["temporary"] += _old(run.path)
    if not at_work and all(_has_ended(launch) for launch in run.launches()):
        files = (path for parent in (run.launches_path, run.code) for path in parent.rglob("*") if path.is_file())
        found["launches"] = [_sized(path) for path in files if not claims.is_claim(path.name)]
    return found


def delete(found: Leftovers, kinds: Sequence[str]) -> tuple[int, int]:
    """Delete leftovers of some kinds, and give how many files and bytes those were.

    Raises:
        InputError: a kind that there is not; nothing is deleted then.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    files = [entry for kind in kinds for entry in found[kind]]
    for path, _ in files:
        path.unlink(missing_ok=True)
    for parent in {path.parent for path, _ in files if "launches" in kinds}:
        _remove_empty(parent)
    return len(files), sum(size for _, size in files)


def _owner(about: Mapping[str, Any]) -> claims.Owner:
    """The process that launched."""
    return claims.Owner(**about["owner"])


def _has_ended(launch: LaunchFolder) -> bool:
    """Whether a launch is known to have ended; False where SLURM cannot be asked or another machine would know."""
    about = launch.about()
    names = [array["name"] for array in about.get("arrays") or []]
    if names and (not scheduler.is_here() or scheduler.queue(names)):
        return False
    return bool(about.get("ended")) or _owner(about).is_gone


def _old(folder: Path) -> list[tuple[Path, int]]:
    """Temporary files that nobody can still be writing."""
    return [_sized(path) for path in folder.glob(".*.tmp") if time.time() - path.stat().st_mtime > OLD_S]


def _sized(path: Path) -> tuple[Path, int]:
    with contextlib.suppress(FileNotFoundError):
        return path, path.stat().st_size
    return path, 0


def _remove_empty(folder: Path) -> None:
    """Remove a folder of a launch that holds nothing any more, and those around it."""
    while folder.name and folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
        shutil.rmtree(folder, ignore_errors=True)
        folder = folder.parent
