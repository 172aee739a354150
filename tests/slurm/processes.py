"""Finding the processes of a cluster in /proc, and killing them.

As a script, this guards the cluster in the folder given as its argument: when its standard input ends, it kills all
processes of the cluster. So no process is left over, however the tests end.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

PROC = Path("/proc")
STEP_DAEMON = "slurmstepd"
MARK = "DESIGNSPACE_TEST_CLUSTER"  # in the environment of every daemon: the folder of its cluster


def parents() -> dict[int, int]:
    """Return the parent of every live process; zombies are left out."""
    parent_of = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            # pid (name, which may contain anything) state parent ...
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has exited meanwhile
        if state not in "ZX":
            parent_of[int(folder.name)] = int(parent)
    return parent_of


def descendants(pids: Iterable[int]) -> set[int]:
    """Return all descendants of some processes, in any session."""
    family = parents()
    found: set[int] = set()
    layer = set(pids)
    while layer:
        layer = {pid for pid, parent in family.items() if parent in layer} - found
        found |= layer
    return found


def step_daemons(folder: Path, node: str = "*") -> set[int]:
    """Return the step daemons of a node, which listen on a socket in its spool folder.

    A step daemon is not a child of its slurmd, outlives it, and overwrites its environment with its title.
    """
    spools = [f"{spool}/" for spool in folder.glob(f"spool.{node}")]
    sockets = set()
    for line in (PROC / "net/unix").read_text().splitlines():
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and any(fields[7].startswith(spool) for spool in spools):
            sockets.add(f"socket:[{fields[6]}]")
    return {pid for pid in parents() if _name(pid) == STEP_DAEMON and not sockets.isdisjoint(_open_files(pid))}


def job_processes(folder: Path, node: str = "*") -> set[int]:
    """Return the processes of the jobs on a node, including those in a new session or without a parent."""
    steps = step_daemons(folder, node)
    configuration = f"SLURM_CONF={folder}/slurm.conf".encode()
    pattern = "SLURMD_NODENAME=" + node

    def belongs(variables: list[bytes]) -> bool:
        return configuration in variables and any(fnmatchcase(os.fsdecode(variable), pattern) for variable in variables)

    return (descendants(steps) | _with_environment(belongs)) - steps


def daemons(folder: Path) -> set[int]:
    """Return the daemons of a cluster, without its step daemons."""
    mark = f"{MARK}={folder}".encode()
    return _with_environment(lambda variables: mark in variables)


def end(find: Callable[[], set[int]], timeout_s: float = 120.0) -> None:
    """Kill the processes that `find` returns until there are none, since processes may fork while others are killed."""
    limit = time.monotonic() + timeout_s
    while pids := find():
        if time.monotonic() > limit:
            raise TimeoutError(f"processes {sorted(pids)} survive SIGKILL")
        # All at the same time, if possible: a step daemon must not report that its job was killed.
        for sent in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    continue
        time.sleep(0.02)


def end_steps(folder: Path, node: str = "*") -> None:
    """Kill the step daemons of a node and all processes of its jobs."""
    _end_all(lambda: step_daemons(folder, node) | job_processes(folder, node))


def end_cluster(folder: Path) -> None:
    """Kill all processes of the cluster in a folder: first those that could start more, then the jobs."""
    _end_all(lambda: daemons(folder))
    end_steps(folder)


def _end_all(find: Callable[[], set[int]]) -> None:
    known = find()
    known |= descendants(known)  # before any process is killed: the children of a dead parent cannot be found
    end(lambda: known & parents().keys() | find())


def _with_environment(accept: Callable[[list[bytes]], bool]) -> set[int]:
    found = set()
    for pid in parents():
        try:
            variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has exited, or belongs to another user
        if accept(variables):
            found.add(pid)
    return found


def _name(pid: int) -> str:
    try:
        return (PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for file in (PROC / str(pid) / "fd").iterdir():
            found.add(str(file.readlink()))
    except OSError:
        pass  # it has exited, or belongs to another user
    return found


if __name__ == "__main__":
    sys.stdin.read()
    end_cluster(Path(sys.argv[1]))
