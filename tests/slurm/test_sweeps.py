"""Sweeps on a real SLURM: nothing lost, nothing trained twice, results equal to an undisturbed run."""

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
    begun,
    command,
    launch,
    tasks_at_work,
    wait_for_end,
    wait_for_trials_at_work,
    wait_until,
    workers,
)

LONG = {"epochs": 10, "train_images": 768}
"""Changes of the recipe for trials of several epochs, between which things can happen."""
HELD = {**LONG, "trainer": "faulty:held"}
"""The same, of trials that wait after an epoch for the fixture `gate`: what happens to them does so in their midst."""


@pytest.fixture(scope="session")
def reference(tmp_path_factory, data_root):
    """40 trials that nothing happened to, trained by the local pool."""
    run = make_run(tmp_path_factory.mktemp("reference") / "run", n=40)
    assert sweep_runs.launch(run, data_root).failed == 0
    return run


@pytest.fixture(scope="session")
def long_reference(tmp_path_factory, data_root):
    """6 longer trials that nothing happened to."""
    run = make_run(tmp_path_factory.mktemp("reference") / "run", n=6, **LONG)
    assert sweep_runs.launch(run, data_root).failed == 0
    return run


def test_forty_trials_over_four_nodes(cluster, reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=40, trainer="faulty:held")
    limits = ("launcher.array_parallelism=4", "launcher.trials_per_task=5")
    planned = launch(run, *limits, "launcher.memory=1", "launcher.setup=[echo hello]", "dry_run=true")
    for line in ("#SBATCH --array=0-7%4", "#SBATCH --mem=1024M", "#SBATCH --cpus-per-task=1", "echo hello"):
        assert line in planned
    assert not (run.path / "launches").exists()
    said = launch(run, *limits, "launcher.sbatch=[exclusive]")
    assert "40 trials in 8 tasks of up to 5 trials" in said
    again = launch(run, *limits)  # all are queued or running by now
    assert "nothing to submit; 0 had ended before, 40 are queued or running" in again

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
    assert "nothing to submit; 40 had ended before" in launch(run)


def test_a_task_s_trials_go_on_when_its_workers_are_killed(cluster, reference, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", n=6, trainer="faulty:train")
    ids = run.ids()
    kinds = [("kill", 1), ("die while writing", 0), ("die while writing", 1), ("segfault", 0)]
    faults = {id_: {"kind": kind, "epoch": epoch, "times": 1} for id_, (kind, epoch) in zip(ids, kinds, strict=False)}
    plan_faults(tmp_path / "faults", faults, monkeypatch)
    launch(run, "launcher.trials_per_task=3")
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference, tries=6 + len(faults))


def test_a_task_whose_own_process_is_killed_is_requeued(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=3")
    wait_for_trials_at_work(run, 2)
    os.kill(tasks_at_work(run)[0], signal.SIGKILL)
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, tries=8)


def test_one_task_cancelled_then_all(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=2", "launcher.array_parallelism=2")
    wait_for_trials_at_work(run, 2)  # of two tasks; the third one waits for the end of either
    cluster.run("scancel", next(id_ for id_, state in cluster.queue() if state == "PENDING"))
    cluster.run("scancel", next(id_ for id_, state in cluster.queue() if state == "RUNNING"))
    wait_until(lambda: len(cluster.queue()) == 1 and begun(run, "running") == 1, "end of cancelled tasks")
    said = launch(run, "launcher.trials_per_task=1")  # what lost its task, and nothing else
    assert "4 trials in 4 tasks" in said
    wait_for_trials_at_work(run, 2)
    assert "SLURM tasks of launch" in command("cancel", run)
    wait_until(lambda: not cluster.queue() and not workers(run), "end of all tasks")
    assert begun(run, "running") == 0
    assert "nothing is running" in command("cancel", run)
    gate.unlink()
    launch(run)
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, tries=20)


def test_time_limits_shorter_than_the_trial(cluster, tmp_path, data_root, monkeypatch):
    """The limit is two minutes, and SLURM's warning comes half a minute to one and a half before.

    One trial lasts longer than that, and goes on after a requeue. Another never ends its second epoch: it is a row.
    """
    recipe = {"epochs": 6, "train_images": 256}
    long, stuck = (make_run(tmp_path / name, n=1, trainer=f"faulty:{name}", **recipe) for name in ("slow", "train"))
    whole = make_run(tmp_path / "whole", n=1, **recipe)
    sweep_runs.launch(whole, data_root)
    (id_,) = long.ids()
    plan_faults(tmp_path / "faults", {id_: {"kind": "hang", "epoch": 1, "times": -1}}, monkeypatch)
    launch(long, "launcher.time=2", "launcher.max_retries=20")  # a busy machine may need a whole task to begin
    launch(stuck, "launcher.time=2", "launcher.max_retries=0")
    wait_for_end(long, cluster)
    assert_as_if_undisturbed(long, whole, tries=20)
    log = next(long.path.glob("launches/*/jobs/*_log.out")).read_text()
    assert "Caught signal SIGUSR2" in log
    assert log.count("1 trial, 1 worker") >= long.trial(id_).log.read_text().count(" started on ") >= 2
    # Tasks that ended an epoch, which on an idle machine are all, were not in vain.
    assert {attempt.failure.reason for attempt in long.trial(id_).attempts()} <= {"time limit"}
    failure = stuck.states((id_,))[0].failure
    assert (failure.reason, failure.epochs) == ("time limit", 1)
    assert "no epoch ended within" in failure.detail


def test_a_node_crashes_and_comes_back(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=2", "launcher.sbatch=[exclusive]")
    wait_for_trials_at_work(run, 3)
    node = cluster.run("squeue", "-h", "-t", "running", "-o", "%N").splitlines()[0]
    cluster.crash_node(int(node[1:]))
    cluster.report_down(int(node[1:]))
    cluster.start_node(int(node[1:]))
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, tries=9)


def test_two_copies_of_a_task_after_a_node_was_lost_from_sight(cluster, long_reference, tmp_path, gate):
    """SLURM takes a node for dead whose tasks live on, and starts them again elsewhere."""
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=3", "launcher.sbatch=[exclusive]")
    wait_for_trials_at_work(run, 2)
    node = int(cluster.run("squeue", "-h", "-t", "running", "-o", "%N").splitlines()[0][1:])
    cluster.kill_node(node)
    cluster.report_down(node)
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference)


@pytest.mark.parametrize("grace", [0, 8])
def test_pre_emption(grace, make_cluster, long_reference, tmp_path, gate):
    """Jobs of a partition that comes first take the nodes; ours is requeued and goes on."""
    cluster = make_cluster(
        nodes=2,
        partitions=f"PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace}\n"
        "PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF",
        extra="PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE",
    )
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=3", "launcher.partition=low", "launcher.sbatch=[exclusive]")
    wait_for_trials_at_work(run, 2)
    cluster.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 5")
    wait_until(lambda: not workers(run), "end of the pre-empted tasks")
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, tries=8)
    assert [run.trial(id_).attempts() for id_ in run.ids()] == 6 * [()]


def test_slurmctld_restarts(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=1", "launcher.array_parallelism=3")
    wait_for_trials_at_work(run, 2)
    cluster.restart_controller(down_s=5)
    gate.unlink()
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference)


def test_without_accounting(make_cluster, long_reference, tmp_path, gate):
    cluster = make_cluster(accounting=False)
    run = make_run(tmp_path / "run", n=6, **HELD)
    launch(run, "launcher.trials_per_task=2")
    wait_for_trials_at_work(run, 3)
    cluster.run("scancel", next(id_ for id_, state in cluster.queue() if state == "RUNNING"))
    wait_until(lambda: begun(run, "running") == 2, "end of the cancelled task")
    os.kill(workers(run)[0], signal.SIGKILL)
    gate.unlink()
    wait_until(lambda: not cluster.queue(), "end of the tasks")
    said = launch(run, "wait=true")
    assert "results are in" in said
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference, tries=9)


def test_trials_that_fail_in_every_way(cluster, reference, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", n=8, trainer="faulty:train")
    kinds = {"raise": "error", "diverge": "diverged", "memory": "out of memory", "hang": "time limit"}
    kinds["segfault"] = "worker died"
    faults = {id_: {"kind": kind, "epoch": 1, "times": -1} for id_, kind in zip(run.ids(), kinds, strict=False)}
    plan_faults(tmp_path / "faults", faults, monkeypatch)
    effort = ("launcher.max_retries=1", "launcher.trial_timeout_min=0.5")
    said = launch(run, "launcher.trials_per_task=4", *effort, "wait=true")
    assert "5 trials failed" in said
    states = run.states(run.ids())
    assert [state.failure.reason for state in states[:5]] == list(kinds.values())
    assert [state.status for state in states[5:]] == 3 * ["done"]
    shown = command("status", run, "trials=failed")
    for reason in kinds.values():
        assert reason in shown
    plan_faults(tmp_path / "faults", {}, monkeypatch)
    assert "1 trial waits again" in command("retry", run, "reason=out of memory")
    assert "4 trials are waiting again" in command("retry", run)
    launch(run)
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference, tries=40)


def test_more_tasks_than_an_array_may_have(make_cluster, reference, tmp_path, gate):
    cluster = make_cluster(max_array=4)
    run = make_run(tmp_path / "run", n=10, trainer="faulty:held")
    said = launch(run, "launcher.trials_per_task=1", "launcher.array_parallelism=2")
    assert re.search(r"10 trials in 10 tasks of up to 1 trial as job \d+, \d+, \d+;", said), said
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
    said = launch(run, "launcher.trials_per_task=1", "launcher.max_submitted=4")
    assert "4 trials in 4 tasks" in said
    assert "6 trials were not submitted because of the limit on array tasks" in said
    assert "nothing to submit" in launch(run, "launcher.trials_per_task=1", "launcher.max_submitted=4")
    gate.unlink()
    said = launch(run, "launcher.max_submitted=5", "launcher.trials_per_task=2", "wait=true")
    assert "results are in" in said
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference)
    # Where the number of trials a task is ours to choose, everything goes in at once.
    other = make_run(tmp_path / "other", n=10)
    said = launch(other, "launcher.array_parallelism=5", "launcher.max_submitted=3")
    assert "10 trials in 3 tasks of up to 4 trials" in said
    wait_for_end(other, cluster)
    assert_as_if_undisturbed(other, reference)


@pytest.mark.parametrize(
    ("setup", "said_why"),
    [
        ("set -e,module load nothing", "module: command not found"),
        ("export PATH=/nowhere", "srun: command not found"),
        ("exit 3", "There is nothing in the log"),
    ],
)
def test_tasks_that_end_before_they_start(setup, said_why, cluster, reference, tmp_path):
    run = make_run(tmp_path / "run", n=4)
    said = launch(run, "launcher.trials_per_task=2", f"launcher.setup=[{setup}]", "wait=true", check=False)
    for words in (said, command("status", run)):
        assert "2 array tasks ended before any training began" in " ".join(words.split())
        assert said_why in words
        assert "other launch" not in words
    assert "results are in" in launch(run, "wait=true")
    assert_as_if_undisturbed(run, reference)


def test_slurm_refuses(cluster, tmp_path):
    run = make_run(tmp_path / "run", n=2)
    said = launch(run, "launcher.partition=gpu", check=False)
    assert "SLURM refused the tasks: sbatch: error:" in said
    assert "Traceback" not in said
    assert list(run.path.glob("launches/*/jobs/*.pkl")) == []
    said = launch(run, "launcher.time=1", check=False)
    assert "it must be at least 2 minutes" in said
    assert begun(run, "waiting") == 2


def test_a_launch_that_slurm_refuses_fixes_no_recipe(cluster, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(SPACE.sample(2), {})
    said = launch(run, "launcher.partition=gpu", "dry_run=true", check=False)
    assert "SLURM would refuse the tasks: " in said
    assert "nvalid partition" in said
    assert "SLURM refused the tasks: " in launch(run, "launcher.partition=gpu", check=False)
    assert run.plan() is None
    launch(run, "recipe=quick", "recipe.epochs=1", "recipe.train_images=256")
    assert run.plan().recipe.epochs == 1
    wait_for_end(run, cluster)
    assert begun(run, "done") == 2


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


def test_beside_a_local_launch_whose_clock_is_an_hour_off(cluster, long_reference, tmp_path, gate):
    run = make_run(tmp_path / "run", n=6, **HELD)
    skewed = {**os.environ, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    here = [sys.executable, "-m", "designspace.launch", f"run={run.path}", "launcher.workers=1"]
    launch(run, "launcher.trials_per_task=3")
    local = subprocess.Popen(
        ["faketime", "-f", "+1h", *here], env=skewed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def trained_in():
        logs = [run.trial(id_).log for id_ in run.begun()]
        return {"job" if "SLURM job" in log.read_text() else "here" for log in logs if log.exists()}

    wait_until(lambda: trained_in() == {"job", "here"}, "trials at work in both")
    gate.unlink()
    said, _ = local.communicate(timeout=LONG_S)
    assert local.returncode == 0, said
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, long_reference)


def test_a_full_disk(cluster, reference, tmp_path):
    run = make_run(tmp_path / "run", n=6)
    # SLURM gives the limits of whoever submits a job to its processes. No checkpoint is as small as this.
    launch(run, "launcher.trials_per_task=3", preexec_fn=limit_files_to(65536))
    wait_until(lambda: not cluster.queue(), "end of the tasks")
    assert begun(run, "failed") == 0
    assert begun(run, "waiting") > 0
    logs = "".join(path.read_text() for path in run.path.glob("launches/*/jobs/*_log.out"))
    assert "File too large" in logs
    launch(run)
    wait_for_end(run, cluster)
    assert_as_if_undisturbed(run, reference, tries=40)


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_a_read_only_run_folder(launcher, cluster, tmp_path):
    made = make_run(tmp_path / "run", n=2)
    with read_only(made.path, tmp_path / "seen") as (folder, why):
        run = RunFolder(folder)
        said = command("launch", run, f"launcher={launcher}", check=False)
        assert why in said
        assert "Traceback" not in said
        assert "2" in command("status", run)
        assert cluster.queue() == []
    assert not made.begun()
