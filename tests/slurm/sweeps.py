"""Helpers of the tests of sweeps on SLURM: running commands like a user, and checking their results."""

import subprocess
import sys
import time
from pathlib import Path

from sweep_runs import curves, numbers, starts

from designspace.sweeps.status import run_status

LONG_S = 900.0
"""Timeout in seconds, longer than anything here takes on a busy machine."""


def command(name, run, *arguments, check=True, **options):
    """Run a command of designspace on a run folder, and return its output."""
    command_line = [sys.executable, "-m", f"designspace.{name}", f"run={run.path}", *arguments]
    finished = subprocess.run(command_line, capture_output=True, text=True, timeout=2 * LONG_S, **options)
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


def wait_for_running_trials(run, count):
    """Wait until some trials are running and have completed an epoch."""

    def count_running():
        running = [state.id for state in run.states(run.ids()) if state.status == "running"]
        return sum(bool(run.trial(id_).read_history()) for id_ in running)

    wait_until(lambda: count_running() >= count, f"{count} running trials")


def wait_for_end(run, cluster):
    """Wait until every trial is finished and no task is left; on a timeout, show the logs of the tasks."""

    def is_finished():
        return run_status(run).left_s == 0 and not cluster.queue()

    try:
        cluster.wait_until(is_finished, LONG_S, "the run's end")
    except TimeoutError as error:
        logs = sorted(run.path.glob("launches/*/jobs/*.out")) + sorted(run.path.glob("launches/*/jobs/*.log"))
        tails = [f"{path.name}: {path.read_text()[-800:]}" for path in logs]
        raise TimeoutError(f"{error}\n{run_status(run).counts}\n" + "\n".join(tails)) from error


def count_trials(run, status="running"):
    """Return the number of trials with a status."""
    return run_status(run).counts[status]


def assert_as_if_undisturbed(run, reference, *, attempts=None):
    """Check that no trial was lost, and that all numbers are exactly those of an undisturbed run.

    ``attempts`` is the maximum number of attempts in total; by default one per trial, since none is trained twice.
    """
    n = len(run.ids())
    assert run_status(run).counts == {"done": n, "failed": 0, "running": 0, "waiting": 0}
    assert numbers(run) == numbers(reference)[:n]
    expected = curves(reference)
    assert curves(run) == {id_: expected[id_] for id_ in run.ids()}
    started = starts(run)
    assert sum(started.values()) <= (n if attempts is None else attempts), started
    for id_ in run.ids():
        log = run.trial(id_).log.read_text()
        assert log.count("done: final error") == 1
    leftovers = [path for path in run.path.glob("trials/*/*") if path.name.startswith("claim")]
    assert leftovers == []


def task_processes(run):
    """Return the processes of running array tasks, which contain their pools."""
    lines = [line.split(maxsplit=1) for line in _processes()]
    submitit_pids = [pid for pid, words in lines if "-m submitit.core._submit" in words and str(run.path) in words]
    return [int(pid) for pid in submitit_pids if _words(pid)[:1] not in ([], [b"srun"], [b"bash"])]


def workers(run):
    """Return the worker processes that run the code of a run, without their fork servers."""
    parent_of = {}
    for line in _processes("ppid"):
        pid, parent, words = line.split(maxsplit=2)
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "designspace.sweeps.fork_server" in words and f"{run.path}/code" in environment:
            parent_of[int(pid)] = int(parent)
    return [pid for pid in parent_of if pid not in parent_of.values()]


def _words(pid):
    """Return the command line of a process; empty if it has exited."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def _processes(*columns):
    """Return the output of ps: process ids, some columns and command lines."""
    command = ["ps", "-ww", "-eo", ",".join(["pid", *columns, "args"])]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
