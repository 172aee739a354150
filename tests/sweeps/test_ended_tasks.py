"""Array tasks that end before their trials. SLURM's commands are scripts here; tests/slurm uses real ones."""

import os
import subprocess
import sys
import time

import pytest
from sweep_runs import make_run

from designspace.sweeps.ended_tasks import ended_tasks
from designspace.sweeps.launch import origin
from designspace.trials import claims

ANSWERS = {
    "sbatch": "echo Submitted batch job 4711",
    "squeue": "true",
    "scontrol": "echo 'MaxArraySize            = 1001'",
    "srun": "true",
    "scancel": "true",
}


@pytest.fixture
def no_task_starts(tmp_path, monkeypatch):
    """Replace SLURM's commands by those of a cluster on which every task ends before it starts anything."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, answer in ANSWERS.items():
        (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", n=4)


def launched(run, tasks, **about):
    """Record a launch on SLURM."""
    array = {"name": f"ds-run-{len(run.launches())}", "first": 0, "count": len(tasks), "job_id": "4711"}
    launch = run.new_launch({**origin(), "launcher": "slurm", "arrays": [array], **about})
    launch.write_tasks(tasks)
    launch.jobs.mkdir()
    return launch


def message(run):
    """Return the message about the ended tasks of a run."""
    return ended_tasks(run, run.states(run.ids())).message


def command(name, run, *arguments):
    line = [sys.executable, "-m", f"designspace.{name}", f"run={run.path}", *arguments]
    return subprocess.run(line, capture_output=True, text=True)


def test_a_launch_fails_if_its_tasks_never_start(run, no_task_starts, data_root, monkeypatch):
    done = command("launch", run, f"data.root={data_root}", "launcher=slurm", "launcher.trials_per_task=2", "wait=true")
    output = done.stdout + done.stderr
    (launch,) = run.launches()
    assert done.returncode == 1
    assert "results are in" not in output
    assert "other launch" not in output
    expected = (
        "run: 4 trials have no result, and SLURM has no tasks of this run any more: 2 array tasks ended before any "
        f"training began. The log {launch.jobs.resolve()}/4711_0_0_log.out is empty or missing: can the nodes write "
        "there? The same launch command submits them again"
    )
    assert expected in done.stderr
    status = command("status", run)
    assert status.returncode == 0
    assert expected in " ".join(status.stdout.split("\n"))


def test_the_log_of_a_task_that_never_started_is_quoted(run):
    ids = run.ids()
    launch = launched(run, [ids[:2], ids[2:]])
    (launch.jobs / "4711_1_0_log.out").write_text(
        "loading\nbash: line 1: exec: /opt/\x1b[31mpython: not found\nsrun: error: n1: task 0: Exited with code 127"
    )
    assert (
        f"2 array tasks ended before any training began. The log {launch.jobs}/4711_1_0_log.out ends with: "
        "bash: line 1: exec: /opt/?[31mpython: not found. The same launch command"
    ) in message(run)


def test_the_log_of_a_single_task_is_found(run):
    launch = launched(run, [run.ids()])
    (launch.jobs / "4711_0_log.out").write_text("module: command not found\n")
    assert (
        f"1 array task ended before any training began. The log {launch.jobs}/4711_0_log.out ends with: module"
        in message(run)
    )


def test_a_task_that_ended_early(run):
    launch = launched(run, [run.ids()])
    launch.task_log(0).touch()
    (launch.jobs / "4711_0_log.out").write_text("slurmstepd: error: *** JOB 4711 ON n1 CANCELLED ***\n")
    assert "1 array task ended early. The log" in message(run)
    assert "CANCELLED" in message(run)


def test_the_user_who_cancelled_a_launch_is_named(run):
    launched(run, [run.ids()]).cancel("ada on analytical")
    assert "4 trials have no result" in message(run)
    assert "their launch was cancelled by ada on analytical. The same" in message(run)


def test_only_the_last_task_of_a_trial_counts(run):
    launched(run, [run.ids()]).cancel("ada")
    time.sleep(1.1)  # launches are ordered by the second
    launched(run, [run.ids()])
    assert "before any training began" in message(run)


def test_trials_of_another_launch_are_not_counted(run):
    launched(run, [run.ids()])
    for id_ in run.ids():
        run.trial(id_).path.mkdir(parents=True)
    claim = claims.take(run.trial(run.ids()[0]).path)
    assert ended_tasks(run, run.states(run.ids())).trials == 3
    for id_ in run.ids()[1:]:
        claims.take(run.trial(id_).path)
    assert ended_tasks(run, run.states(run.ids())).message == ""
    # A claim that an ended task of this run left behind does not count as active.
    claim.path.write_text(claim.path.read_text().replace('"job": ""', '"job": "4711_0"'))
    assert ended_tasks(run, run.states(run.ids())).trials == 1


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_log_that_is_not_a_regular_file_is_not_read(run, make):
    launch = launched(run, [run.ids()])
    make(launch.jobs / "4711_0_log.out")
    assert "is empty or missing" in message(run)


def test_a_local_run_has_no_message(run):
    run.new_launch({**origin(), "launcher": "local"})
    assert message(run) == ""
