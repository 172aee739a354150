"""What the tests of sweeps on SLURM share: launching as a user does, and looking at what came of it."""

import subprocess
import sys
import time
from pathlib import Path

from sweep_runs import curves, numbers, starts

from designspace.sweeps.status import run_status

LONG_S = 900.0
"""Longer than anything here takes, also on a busy machine: only what never comes takes so long."""


def command(name, run, *arguments, check=True, **options):
    """Run a command of designspace on a run folder, and give what it said."""
    words = [sys.executable, "-m", f"designspace.{name}", f"run={run.path}", *arguments]
    finished = subprocess.run(words, capture_output=True, text=True, timeout=2 * LONG_S, **options)
    if check:
        assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


def launch(run, *arguments, **options):
    """Launch on SLURM."""
    return command("launch", run, "launcher=slurm", "launcher.cpus_per_task=1", *arguments, **options)


def wait_until(condition, what):
    """Poll a condition that does not depend on the cluster."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {LONG_S} s"
        time.sleep(0.2)


def wait_for_trials_at_work(run, count):
    """Wait until some trials are at work and have completed an epoch."""

    def under_way():
        running = [state.id for state in run.states(run.ids()) if state.status == "running"]
        return sum(bool(run.trial(id_).read_history()) for id_ in running)

    wait_until(lambda: under_way() >= count, f"{count} trials at work")


def wait_for_end(run, cluster):
    """Wait until every trial has ended and no task is left; the tasks' logs tell why if that does not come."""

    def over():
        return run_status(run).left_s == 0 and not cluster.queue()

    try:
        cluster.wait_until(over, LONG_S, "the run's end")
    except TimeoutError as error:
        logs = sorted(run.path.glob("launches/*/jobs/*.out")) + sorted(run.path.glob("launches/*/jobs/*.log"))
        tails = [f"{path.name}: {path.read_text()[-800:]}" for path in logs]
        raise TimeoutError(f"{error}\n{run_status(run).counts}\n" + "\n".join(tails)) from error


def begun(run, status="running"):
    """How many trials are in a status."""
    return run_status(run).counts[status]


def assert_as_if_undisturbed(run, reference, *, attempts=None):
    """Nothing lost, and the same numbers to the last digit as a run that nothing happened to.

    ``attempts`` is how many attempts may have begun in all; by default one a trial, so that nothing was trained twice.
    """
    n = len(run.ids())
    assert run_status(run).counts == {"done": n, "failed": 0, "running": 0, "waiting": 0}
    assert numbers(run) == numbers(reference)[:n]
    whole = curves(reference)
    assert curves(run) == {id_: whole[id_] for id_ in run.ids()}
    begun = starts(run)
    assert sum(begun.values()) <= (n if attempts is None else attempts), begun
    for id_ in run.ids():
        log = run.trial(id_).log.read_text()
        assert log.count("done: final error") == 1
    leftovers = [path for path in run.path.glob("trials/*/*") if path.name.startswith("claim")]
    assert leftovers == []


def tasks_at_work(run):
    """The processes of running tasks that their pools are in."""
    lines = [line.split(maxsplit=1) for line in _processes()]
    inside = [pid for pid, words in lines if "-m submitit.core._submit" in words and str(run.path) in words]
    return [int(pid) for pid in inside if _words(pid)[:1] not in ([], [b"srun"], [b"bash"])]


def workers(run):
    """Processes of workers whose code is the run's, without the servers that they were forked from."""
    found = {}
    for line in _processes("ppid"):
        pid, parent, words = line.split(maxsplit=2)
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "designspace.sweeps.fork_server" in words and f"{run.path}/code" in environment:
            found[int(pid)] = int(parent)
    return [pid for pid in found if pid not in found.values()]


def _words(pid):
    """The command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def _processes(*columns):
    """The processes' ids, those columns of ps, and command lines."""
    command = ["ps", "-ww", "-eo", ",".join(["pid", *columns, "args"])]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
