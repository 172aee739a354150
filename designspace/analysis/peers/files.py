"""Reading a file of jobs, whose format is detected from its content."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.analysis.peers import nds, pycls
from designspace.analysis.peers.job import Job
from designspace.analysis.source import Source
from designspace.support.errors import InputError, RunError


def read(path: Path) -> Source:
    """Read a JSON file of pycls or NDS.

    Raises:
        InputError: the file is neither.
        RunError: the file cannot be read, or a job in it lacks a value or has an invalid one.
    """
    content = _load(path)
    groups = content if isinstance(content, dict) else {"": content}
    if groups and all(isinstance(jobs, list) for jobs in groups.values()):
        jobs = list(_jobs(path, groups))
        if any("cfg" in job.values for job in jobs):
            return pycls.source_of(path, jobs)
        if any("net" in job.values for job in jobs):
            return nds.source_of(path, jobs)
    raise InputError(
        f"{path} is neither a sweep.json of pycls (a list of jobs with cfg) nor of the NDS data (a list of jobs with "
        "net); a run of designspace is given by its folder"
    )


def _load(path: Path) -> Any:
    """Return the content of a JSON file; NaN is allowed because both programs write it."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if path.suffix != ".json":
            raise InputError(f"{path} is not a run: neither a folder nor JSON") from error
        raise RunError(f"{path} is not valid JSON ({error}); it may have been cut off or edited") from error


def _jobs(path: Path, groups: Mapping[str, Sequence[Any]]) -> Iterator[Job]:
    """Yield the jobs of a file."""
    for group, jobs in groups.items():
        for number, job in enumerate(jobs, start=1):
            location = f"{path}, job {number}{f' of {group}' if group else ''}"
            if not isinstance(job, dict):
                raise RunError(f"{location}: a job must be an object, not {str(job)[:60]!r}")
            yield Job(location, job, group)
