"""Sweeps on a real SLURM: no trial is lost or trained twice, and results equal those of an undisturbed run."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sweep_runs
from full_disks import limit_files_to, read_only
from sweep_runs import SPACE, make_run, plan_faults

from designspace.sweeps.status import run_status
from designspace.trials.folder import RunFolder
from slurm.sweeps import (
    LONG_S,
    assert_as_if_undisturbed,
    command,
    count_trials,
    launch,
    task_processes,
    wait_for_end,
    wait_for_running_trials,
    wait_until,
    workers,
)

LONG = {"epochs": 10, "train_images": 768}
"""Changes of the recipe for trials of several epochs."""
HELD = {**LONG, "trainer": "faulty:held"}
"""The same, for trials that wait after an epoch for the fixture `gate`, so that they can be disturbed."""


def train_undisturbed(path, data_root, **recipe):
    assert sweep_runs.launch(make_run(path, **recipe), data_root).failed == 0


@pytest.fixture(scope="session")
def reference(once, data_root):
    """A run of 40 undisturbed trials, trained by the local pool."""
    return RunFolder(once("reference", lambda path: train_undisturbed(path, data_root, n=40)))


@pytest.fixture(scope="session")
def long_reference(once, data_root):
    """A run of 6 longer undisturbed trials."""
    return RunFolder(once("long_reference", lambda path: train_undisturbed(path, data_root, n=6, **LONG)))


def test_forty_trials_over_four_nodes(cluster, reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=40, trainer="faulty:held")
    limits = ("launcher.array_parallelism=4", "launcher.trials_per_task=5")
    planned = launch(run, *limits, "launcher.memory=1", "launcher.setup=[echo hello]", "dry_run=true")
    for line in ("#SBATCH --array=0-7%4", "#SBATCH --mem=1024M", "#SBATCH --cpus-per-task=1", "echo hello"):
        assert line in planned
    assert not (run.path / "launches").exists()
    output = launch(run, *limits, "launcher.sbatch=[exclusive]")
    assert "40 trials in 8 tasks of up to 5 trials" in output
    again = launch(run, *limits)  # all trials are queued or running
    assert "nothing to submit; 0 had finished before, 40 are queued or running" in again

    def running_on():
        lines = cluster.run("squeue", "-h", "-r", "-t", "running", "-o", "%N").splitlines()
        return sorted(line.strip() for line in lines)

    cluster.wait_until(lambda: running_on() == ["n1", "n2", "n3", "n4"], LONG_S, "a task on each node")
    gate.unlink()
    most = 0

    def look():
        nonlocal most
        most = max(most, len(running_on()))
        return run_status(run).left_s == 0

    cluster.wait_until(look, LONG_S, "the end of 40 trials")
    wait_for_end(run, cluster)
    assert most <= 4
    assert_as_if_undisturbed(run, reference)
    assert run.results.read_text().count(",done,") == 40
    assert "nothing to submit; 40 had finished before" in launch(run)


def test_trials_of_a_task_resume_when_its_workers_are_killed(cluster, reference, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", n=6, trainer="faulty:train")
    ids = run.ids()
    kinds = [("kill", 1), ("die while writing", 0), ("die while writing", 1), ("segfault", 0)]
    faults = {id_: {"kind": kind, "epoch": epoch, "times": 1} for id_, (kind, epoch) in zip(ids, kinds, strict=False)}
    plan_faults(tmp_path / "faults", faults, monkeypatch)
    launch(run, "launcher.trials_per_task=3")
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference, attempts=6 + len(faults))


def test_a_task_is_requeued_when_its_process_is_killed(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=3")
    wait_for_running_trials(run, 2)
    os.kill(task_processes(run)[0], signal.SIGKILL)
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, attempts=8)


def test_cancelling_one_task_then_all(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=2", "launcher.array_parallelism=2")
    wait_for_running_trials(run, 2)  # of two tasks; the third task waits
    cluster.run("scancel", next(id_ for id_, state in cluster.queue() if state == "PENDING"))
    cluster.run("scancel", next(id_ for id_, state in cluster.queue() if state == "RUNNING"))
    wait_until(lambda: len(cluster.queue()) == 1 and count_trials(run, "running") == 1, "end of cancelled tasks")
    output = launch(run, "launcher.trials_per_task=1")  # only trials that lost their task
    assert "4 trials in 4 tasks" in output
    wait_for_running_trials(run, 2)
    assert "SLURM tasks of launch" in command("cancel", run)
    wait_until(lambda: not cluster.queue() and not workers(run), "end of all tasks")
    assert count_trials(run, "running") == 0
    assert "nothing is running" in command("cancel", run)
    gate.unlink()
    launch(run)
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, attempts=20)


def test_time_limits_shorter_than_the_trial(cluster, tmp_path, data_root, monkeypatch):
    """The limit is two minutes, and SLURM sends its warning between 30 and 90 s before.

    One trial takes longer, and resumes after a requeue. Another never completes its second epoch, and fails.
    """
    recipe = {"epochs": 6, "train_images": 256}
    long, stuck = (make_run(tmp_path / name, n=1, trainer=f"faulty:{name}", **recipe) for name in ("slow", "train"))
    whole = make_run(tmp_path / "whole", n=1, **recipe)
    sweep_runs.launch(whole, data_root)
    (id_,) = long.ids()
    plan_faults(tmp_path / "faults", {id_: {"kind": "hang", "epoch": 1, "times": -1}}, monkeypatch)
    # On a busy machine, a task may end before training starts.
    launch(long, "launcher.time=2", "launcher.max_retries=20")
    launch(stuck, "launcher.time=2", "launcher.max_retries=0")
    wait_for_end(long, cluster)
    assert_as_if_undisturbed(long, whole, attempts=20)
    log = next(long.path.glob("launches/*/jobs/*_log.out")).read_text()
    assert "Caught signal SIGUSR2" in log
    assert log.count("1 trial, 1 worker") >= long.trial(id_).log.read_text().count(" started on ") >= 2
    # Tasks that completed an epoch, which are all tasks on an idle machine, do not count as failed attempts.
    assert {attempt.failure.reason for attempt in long.trial(id_).attempts()} <= {"time limit"}
    failure = stuck.states((id_,))[0].failure
    assert (failure.reason, failure.epochs) == ("time limit", 1)
    assert "no epoch ended within" in failure.detail


def test_a_node_crashes_and_comes_back(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=2", "launcher.sbatch=[exclusive]")
    wait_for_running_trials(run, 3)
    node = cluster.run("squeue", "-h", "-t", "running", "-o", "%N").splitlines()[0]
    cluster.crash_node(int(node[1:]))
    cluster.report_down(int(node[1:]))
    cluster.start_node(int(node[1:]))
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, attempts=9)


def test_two_copies_of_a_task_after_a_node_stopped_answering(cluster, long_reference, tmp_path, gate):
    """SLURM considers a node dead whose tasks are still running, and starts them again on another node."""
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=3", "launcher.sbatch=[exclusive]")
    wait_for_running_trials(run, 2)
    node = int(cluster.run("squeue", "-h", "-t", "running", "-o", "%N").splitlines()[0][1:])
    cluster.kill_node(node)
    cluster.report_down(node)
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference)


@pytest.mark.parametrize("grace", [0, 8])
def test_pre_emption(grace, make_cluster, long_reference, tmp_path, gate):
    """Jobs of a partition with a higher priority take the nodes; the task is requeued and resumes."""
    cluster = make_cluster(
        nodes=2,
        partitions=f"PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace}\n"
        "PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF",
        extra="PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE",
    )
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=3", "launcher.partition=low", "launcher.sbatch=[exclusive]")
    wait_for_running_trials(run, 2)
    cluster.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 5")
    wait_until(lambda: not workers(run), "end of the pre-empted tasks")
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, attempts=8)
    assert [run.trial(id_).attempts() for id_ in run.ids()] == 6 * [()]


def test_slurmctld_restarts(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=1", "launcher.array_parallelism=3")
    wait_for_running_trials(run, 2)
    cluster.restart_controller(down_s=5)
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference)


def test_without_accounting(make_cluster, long_reference, tmp_path, gate):
    cluster = make_cluster(accounting=False)
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=2")
    wait_for_running_trials(run, 3)
    cluster.run("scancel", next(id_ for id_, state in cluster.queue() if state == "RUNNING"))
    wait_until(lambda: count_trials(run, "running") == 2, "end of the cancelled task")
    os.kill(workers(run)[0], signal.SIGKILL)
    gate.unlink()
    wait_until(lambda: not cluster.queue(), "end of the tasks")
    output = launch(run, "wait=true")
    assert "results are in" in output
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, attempts=9)


def test_trials_that_fail_in_every_way(cluster, reference, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", n=8, trainer="faulty:train")
    kinds = {"raise": "error", "diverge": "diverged", "memory": "out of memory", "hang": "time limit"}
    kinds["segfault"] = "worker died"
    faults = {id_: {"kind": kind, "epoch": 1, "times": -1} for id_, kind in zip(run.ids(), kinds, strict=False)}
    plan_faults(tmp_path / "faults", faults, monkeypatch)
    limits = ("launcher.max_retries=1", "launcher.trial_timeout_min=0.5")
    output = launch(run, "launcher.trials_per_task=4", *limits, "wait=true")
    assert "5 trials failed" in output
    states = run.states(run.ids())
    assert [state.failure.reason for state in states[:5]] == list(kinds.values())
    assert [state.status for state in states[5:]] == 3 * ["done"]
    shown = command("status", run, "trials=failed")
    for reason in kinds.values():
        assert reason in shown
    plan_faults(tmp_path / "faults", {}, monkeypatch)
    assert "1 trial is waiting again" in command("retry", run, "reason=out of memory")
    assert "4 trials are waiting again" in command("retry", run)
    launch(run)
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference, attempts=40)


def test_more_tasks_than_an_array_may_have(make_cluster, reference, tmp_path, gate):
    cluster = make_cluster(max_array=4)
    run = make_run(tmp_path / "run", n=10, trainer="faulty:held")
    output = launch(run, "launcher.trials_per_task=1", "launcher.array_parallelism=2")
    assert re.search(r"10 trials in 10 tasks of up to 1 trial as job \d+, \d+, \d+;", output), output
    assert len(cluster.queue()) == 10
    gate.unlink()
    most = 0

    def look():
        nonlocal most
        most = max(most, sum(state == "RUNNING" for _, state in cluster.queue()))
        return run_status(run).left_s == 0

    cluster.wait_until(look, LONG_S, "the end of three arrays")
    wait_for_end(run, cluster)
    assert most <= 2  # over all arrays
    assert_as_if_undisturbed(run, reference)


def test_a_limit_on_submitted_tasks(cluster, reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=10, trainer="faulty:held")
    output = launch(run, "launcher.trials_per_task=1", "launcher.max_submitted=4")
    assert "4 trials in 4 tasks" in output
    assert "6 trials were not submitted" in output
    assert "nothing to submit" in launch(run, "launcher.trials_per_task=1", "launcher.max_submitted=4")
    gate.unlink()
    output = launch(run, "launcher.max_submitted=5", "launcher.trials_per_task=2", "wait=true")
    assert "results are in" in output
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference)
    # If the number of trials per task is not set, all trials are submitted at once.
    other = make_run(tmp_path / "other", n=10)
    output = launch(other, "launcher.array_parallelism=5", "launcher.max_submitted=3")
    assert "10 trials in 3 tasks of up to 4 trials" in output
    wait_for_end(other, cluster)
    assert_as_if_undisturbed(other, reference)


@pytest.mark.parametrize(
    ("setup", "cause"),
    [
        ("set -e,module load nothing", "module: command not found"),
        ("export PATH=/nowhere", "srun: command not found"),
        ("exit 3", "is empty or missing"),
    ],
)
def test_tasks_that_end_before_they_start(setup, cause, cluster, reference, tmp_path):
    run = make_run(tmp_path / "run", n=4)
    output = launch(run, "launcher.trials_per_task=2", f"launcher.setup=[{setup}]", "wait=true", check=False)
    for words in (output, command("status", run)):
        assert "2 array tasks ended before any training began" in " ".join(words.split())
        assert cause in words
        assert "other launch" not in words
    assert "results are in" in launch(run, "wait=true")
    assert_as_if_undisturbed(run, reference)


def test_tasks_that_slurm_refuses(cluster, tmp_path):
    run = make_run(tmp_path / "run", n=2)
    output = launch(run, "launcher.partition=gpu", check=False)
    assert "SLURM refused the tasks: sbatch: error:" in output
    assert "Traceback" not in output
    assert list(run.path.glob("launches/*/jobs/*.pkl")) == []
    output = launch(run, "launcher.time=1", check=False)
    assert "it must be at least 2 minutes" in output
    assert count_trials(run, "waiting") == 2


def test_a_launch_that_slurm_refuses_writes_no_recipe(cluster, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(SPACE.sample(2), {})
    output = launch(run, "launcher.partition=gpu", "dry_run=true", check=False)
    assert "SLURM would refuse the tasks: " in output
    assert "nvalid partition" in output
    assert "SLURM refused the tasks: " in launch(run, "launcher.partition=gpu", check=False)
    assert run.plan() is None
    launch(run, "recipe=quick", "recipe.epochs=1", "recipe.train_images=256")
    assert run.plan().recipe.epochs == 1
    wait_for_end(run, cluster)
    assert count_trials(run, "done") == 2


def test_editing_the_code_changes_no_queued_trial(cluster, reference, tmp_path):
    code = tmp_path / "checkout"
    source = Path(sys.modules["designspace"].__file__).parent
    for folder in (source, source.parent / "configs"):
        shutil.copytree(folder, code / folder.name)
    run = make_run(tmp_path / "run", n=3)
    inside = {**os.environ, "PYTHONPATH": str(code)}
    launch(run, "launcher.sbatch=[hold]", cwd=code, env=inside)
    (code / "designspace/training/loop.py").write_text("raise SystemExit('edited')")
    (code / "designspace/sweeps/worker.py").write_text("raise SystemExit('edited')")
    for id_, _ in cluster.queue():
        cluster.run("scontrol", "release", id_)
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference)


def test_with_a_local_launch_whose_clock_is_an_hour_off(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    skewed = {**os.environ, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    here = [sys.executable, "-m", "designspace.launch", f"run={run.path}", "launcher.workers=1"]
    launch(run, "launcher.trials_per_task=3")
    local = subprocess.Popen(
        ["faketime", "-f", "+1h", *here], env=skewed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def trained_in():
        logs = [run.trial(id_).log for id_ in run.started_keys()]
        return {"job" if "SLURM job" in log.read_text() else "here" for log in logs if log.exists()}

    wait_until(lambda: trained_in() == {"job", "here"}, "trials at work in both")
    gate.unlink()
    output, _ = local.communicate(timeout=LONG_S)
    assert local.returncode == 0, output
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference)


def test_a_full_disk(cluster, reference, tmp_path):
    run = make_run(tmp_path / "run", n=6)
    # SLURM applies the limits of the submitting process to the job. Every checkpoint is larger than this limit.
    launch(run, "launcher.trials_per_task=3", preexec_fn=limit_files_to(65536))
    wait_until(lambda: not cluster.queue(), "end of the tasks")
    assert count_trials(run, "failed") == 0
    assert count_trials(run, "waiting") > 0
    logs = "".join(path.read_text() for path in run.path.glob("launches/*/jobs/*_log.out"))
    assert "File too large" in logs
    launch(run)
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference, attempts=40)


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_a_read_only_run_folder(launcher, cluster, tmp_path):
    made = make_run(tmp_path / "run", n=2)
    with read_only(made.path, tmp_path / "seen") as (folder, why):
        run = RunFolder(folder)
        output = command("launch", run, f"launcher={launcher}", check=False)
        assert why in output
        assert "Traceback" not in output
        assert "2" in command("status", run)
        assert cluster.queue() == []
    assert not made.started_keys()
