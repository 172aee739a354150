"""Tests of the cluster itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.cluster import LONGEST_PATH, Cluster
from slurm.processes import daemons, job_processes, parents, step_daemons

TIMEOUT_S = 300.0  # far more than anything here takes, also on a busy machine
SESSIONS = "setsid sleep 600 & sleep 600 & wait"  # a process of the job leaves its session


def submit(cluster: Cluster, script: str, *options: str) -> str:
    output = cluster.folder / "%A_%a.txt"
    return cluster.run("sbatch", "--parsable", f"--output={output}", *options, f"--wrap={script}").strip()


def wait_for_state(cluster: Cluster, job: str, state: str) -> None:
    cluster.wait_until(lambda: (job, state) in cluster.queue(), TIMEOUT_S, f"{job} is {state}")


def all_processes(cluster: Cluster) -> set[int]:
    return daemons(cluster.folder) | step_daemons(cluster.folder) | job_processes(cluster.folder)


def test_an_array_runs_on_several_nodes(cluster):
    gate = cluster.folder / "gate"
    gate.touch()
    wait = f"while [ -e {gate} ]; do sleep 0.2; done"
    job = submit(cluster, f"echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES; {wait}", "--array=0-7", "--gres=gpu:1")

    for task in range(8):
        wait_for_state(cluster, f"{job}_{task}", "RUNNING")
    assert {name for name, _ in cluster.queue()} == {f"{job}_{task}" for task in range(8)}
    gate.unlink()
    cluster.wait_until(lambda: not cluster.queue(), TIMEOUT_S, "the array is over")

    outputs = [(cluster.folder / f"{job}_{task}.txt").read_text().strip() for task in range(8)]
    assert sorted(outputs) == [f"n{node} {gpu}" for node in range(1, 5) for gpu in range(2)]
    query = ["sacct", "--noheader", "--allocations", f"--jobs={job}", "--format=State"]
    cluster.wait_until(
        lambda: cluster.run(*query).split() == ["COMPLETED"] * 8, TIMEOUT_S, "the accounting has the end"
    )


def test_the_jobs_of_a_crashed_node_run_again(cluster):
    script = f'echo $SLURMD_NODENAME; [ -n "$SLURM_RESTART_COUNT" ] || {{ {SESSIONS}; }}'
    job = submit(cluster, script, "--nodelist=n2", "--open-mode=append", "--array=1")
    cluster.wait_until(lambda: len(cluster.job_processes(2)) == 3, TIMEOUT_S, "the job runs")

    lost = set(cluster.job_processes(2))
    cluster.crash_node(2)
    assert not lost & parents().keys()
    assert cluster.job_processes(2) == []
    cluster.report_down(2)
    wait_for_state(cluster, f"{job}_1", "PENDING")
    cluster.start_node(2)

    cluster.wait_until(lambda: not cluster.queue(), TIMEOUT_S, "the job is over")
    assert (cluster.folder / f"{job}_1.txt").read_text().split() == ["n2", "n2"]


def test_jobs_outlive_their_slurmd(cluster):
    gate = cluster.folder / "gate"
    gate.touch()
    wait = f"while [ -e {gate} ]; do sleep 0.2; done"
    job = submit(cluster, f"echo begun; {wait}; echo over", "--nodelist=n3", "--array=1")
    output = cluster.folder / f"{job}_1.txt"
    cluster.wait_until(lambda: output.exists() and "begun" in output.read_text(), TIMEOUT_S, "the job has begun")
    cluster.kill_node(3)
    gate.unlink()
    cluster.wait_until(lambda: "over" in output.read_text(), TIMEOUT_S, "the job has written")
    cluster.start_node(3)
    cluster.wait_until(lambda: not cluster.queue(), TIMEOUT_S, "the job is over")


def test_heal_restores_the_cluster(cluster):
    job = submit(cluster, f"trap '' TERM; {SESSIONS}", "--array=0-20")
    wait_for_state(cluster, f"{job}_7", "RUNNING")
    cluster.kill_node(1)
    cluster.stop_accounting()
    cluster.heal()
    assert cluster.queue() == []
    cluster.run("sacct")
    submit(cluster, "true", "--nodelist=n1", "--wait")


def test_a_restart_of_slurmctld_keeps_the_queue(cluster):
    job = submit(cluster, "sleep 600", "--array=0-9")
    wait_for_state(cluster, f"{job}_7", "RUNNING")
    before = cluster.queue()
    assert (f"{job}_9", "PENDING") in before

    cluster.restart_controller(down_s=0.5)
    assert sorted(cluster.queue()) == sorted(before)
    cluster.run("scancel", job)
    cluster.wait_until(lambda: not cluster.queue(), TIMEOUT_S, "the array is cancelled")


def test_accounting_can_be_stopped_and_restarted(cluster):
    cluster.stop_accounting()
    with pytest.raises(RuntimeError, match="sacct ends with 1"):
        cluster.run("sacct")
    submit(cluster, "true")
    cluster.start_accounting()
    cluster.run("sacct")
    cluster.wait_until(lambda: not cluster.queue(), TIMEOUT_S, "the job is over")


def test_a_cluster_without_accounting_runs_next_to_another(cluster, make_cluster):
    other = make_cluster(nodes=1, cpus=3, gpus=0, accounting=False, max_array=20)
    assert os.environ["SLURM_CONF"] == other.environment["SLURM_CONF"] != cluster.environment["SLURM_CONF"]
    with pytest.raises(RuntimeError, match="accounting storage is disabled"):
        other.run("sacct")
    with pytest.raises(RuntimeError, match="Invalid job array"):
        submit(other, "true", "--array=0-20")
    job = submit(other, "true", "--array=0-2")
    other.wait_until(lambda: not other.queue(), TIMEOUT_S, "the array is over")
    assert (other.folder / f"{job}_2.txt").exists()


def test_stop_leaves_no_process_behind(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), nodes=2) as cluster:
        submit(cluster, SESSIONS, "--nodes=2")
        submit(cluster, f"trap '' TERM; {SESSIONS}", "--array=0-3")
        cluster.wait_until(lambda: len(cluster.job_processes(2)) >= 3, TIMEOUT_S, "jobs run on n2")
        cluster.kill_node(2)
        assert len(all_processes(cluster)) > 10
    assert all_processes(cluster) == set()
    cluster.stop()


def test_a_failed_start_leaves_no_process_behind(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), accounting=False, extra="SchedulerType=sched/none")
    with pytest.raises(RuntimeError, match="(?s)slurmctld ended with 1.*sched/none"):
        cluster.start()
    assert all_processes(cluster) == set()


def test_a_folder_whose_sockets_would_have_too_long_names_is_refused(tmp_path):
    folder = tmp_path / ("x" * LONGEST_PATH)
    with pytest.raises(ValueError, match=f"longer than {LONGEST_PATH} characters: .*x"):
        Cluster(folder, nodes=1).start()
    assert not folder.exists()


def test_an_unknown_line_of_slurm_conf_is_named(tmp_path_factory):
    with pytest.raises(RuntimeError, match="unrecognized key: NoSuchKey"):
        Cluster(tmp_path_factory.mktemp("cluster"), extra="NoSuchKey=1").start()


def test_nothing_outlives_tests_that_are_killed(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), nodes=1, accounting=False)
    program = f"""
import pathlib, sys, time
from slurm.cluster import Cluster
Cluster(pathlib.Path({str(cluster.folder)!r}), nodes=1, accounting=False).start()
print("started", flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline() == b"started\n"
        assert daemons(cluster.folder)
        tests.send_signal(signal.SIGKILL)
    cluster.wait_until(lambda: not all_processes(cluster), TIMEOUT_S, "everything has ended")


def test_a_missing_program_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr("slurm.cluster.PROGRAMS", ["munged", "no-such-daemon"])
    with pytest.raises(RuntimeError, match="no no-such-daemon on this machine; .* slurm-wlm munge"):
        Cluster(tmp_path / "cluster").start()
