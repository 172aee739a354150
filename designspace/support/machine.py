"""Cores and memory available to this process, within a SLURM allocation and the limits of a container."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    This is the minimum of SLURM's allocation, the CPU affinity and a container's limit on CPU time.
    """
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    allocated = (os.environ.get(name, "") for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"))
    counts += [int(count) for count in allocated if count.isdecimal()][:1]
    for folder in _cgroups():
        with contextlib.suppress(OSError, ValueError):  # "max" is not a number
            quota, period = (int(word) for word in (folder / "cpu.max").read_text().split())
            counts.append(math.ceil(quota / period))
    with contextlib.suppress(OSError, ValueError):
        quota, period = (int((_CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota > 0:  # -1 means no limit
            counts.append(math.ceil(quota / period))
    return max(1, min(counts))


def available_bytes() -> float:
    """Return the memory available to new processes, in bytes, within the limits of a container or job.

    Returns infinity if the system does not report it.
    """
    free = [float("inf")]
    with contextlib.suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(float(lines["MemAvailable"].split()[0]) * 1024)
    for folder in _cgroups():
        with contextlib.suppress(OSError, ValueError):
            limit, used = (float((folder / file).read_text()) for file in ("memory.max", "memory.current"))
            free.append(limit - used)
    with contextlib.suppress(KeyError, ValueError):
        free.append(float(os.environ["SLURM_MEM_PER_NODE"]) * 2**20)
    with contextlib.suppress(KeyError, ValueError):
        free.append(float(os.environ["SLURM_MEM_PER_CPU"]) * 2**20 * available_cores())
    return max(0.0, min(free))


def _cgroups() -> Iterator[Path]:
    """Yield the control groups (version 2) of this process, each of which may set limits."""
    with contextlib.suppress(OSError):
        name = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
        group = _CGROUPS / name
        yield group
        yield from group.parents
