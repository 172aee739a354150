"""The processes of a cluster, found in /proc and ended.

Run as a script it guards a cluster: when its standard input ends, so does every process of the cluster in the folder
that its argument names. Whatever happens to the tests, nothing stays behind.
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
    """The parent of every process that is alive; a zombie is not."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            # pid (name, which may hold anything) state parent ...
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended meanwhile
        if state not in "ZX":
            found[int(folder.name)] = int(parent)
    return found


def descendants(pids: Iterable[int]) -> set[int]:
    """The children of these processes, the children of those, and so on, in whatever session they are."""
    family = parents()
    found: set[int] = set()
    layer = set(pids)
    while layer:
        layer = {pid for pid, parent in family.items() if parent in layer} - found
        found |= layer
    return found


def step_daemons(folder: Path, node: str = "*") -> set[int]:
    """The step daemons of a node: those that listen on a socket in its spool folder.

    A step daemon is no child of its slurmd, outlives it, and writes its title over its environment.
    """
    spools = [f"{spool}/" for spool in folder.glob(f"spool.{node}")]
    sockets = set()
    for line in (PROC / "net/unix").read_text().splitlines():
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and any(fields[7].startswith(spool) for spool in spools):
            sockets.add(f"socket:[{fields[6]}]")
    return {pid for pid in parents() if _name(pid) == STEP_DAEMON and not sockets.isdisjoint(_open_files(pid))}


def job_processes(folder: Path, node: str = "*") -> set[int]:
    """The processes of the jobs on a node, also those that moved into a session of their own or lost their parent."""
    steps = step_daemons(folder, node)
    configuration = f"SLURM_CONF={folder}/slurm.conf".encode()
    place = "SLURMD_NODENAME=" + node

    def belongs(variables: list[bytes]) -> bool:
        return configuration in variables and any(fnmatchcase(os.fsdecode(variable), place) for variable in variables)

    return (descendants(steps) | _with_environment(belongs)) - steps


def daemons(folder: Path) -> set[int]:
    """The daemons of a cluster, without its step daemons."""
    mark = f"{MARK}={folder}".encode()
    return _with_environment(lambda variables: mark in variables)


def end(find: Callable[[], set[int]], timeout_s: float = 120.0) -> None:
    """Kill what `find` finds, until it finds nothing: a process may fork while others are killed."""
    limit = time.monotonic() + timeout_s
    while pids := find():
        if time.monotonic() > limit:
            raise TimeoutError(f"processes {sorted(pids)} survive SIGKILL")
        # All at once, as far as can be: a step daemon must not come to report that its job was killed.
        for sent in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    continue
        time.sleep(0.02)


def end_steps(folder: Path, node: str = "*") -> None:
    """End the step daemons of a node and every process of its jobs."""
    _end_all(lambda: step_daemons(folder, node) | job_processes(folder, node))


def end_cluster(folder: Path) -> None:
    """End everything that runs for the cluster in a folder: first what could start more, then the jobs."""
    _end_all(lambda: daemons(folder))
    end_steps(folder)


def _end_all(find: Callable[[], set[int]]) -> None:
    known = find()
    known |= descendants(known)  # before any dies: a dead parent names no children
    end(lambda: known & parents().keys() | find())


def _with_environment(accept: Callable[[list[bytes]], bool]) -> set[int]:
    found = set()
    for pid in parents():
        try:
            variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended, or belongs to somebody else
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
        pass  # it ended, or belongs to somebody else
    return found


if __name__ == "__main__":
    sys.stdin.read()
    end_cluster(Path(sys.argv[1]))
