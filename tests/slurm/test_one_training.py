"""Training of one network on a real SLURM, as an array task: pre-emption, and the commands for runs."""

import dataclasses
import json
import subprocess
import sys

import pytest

import designspace
from designspace.sweeps.status import run_status
from designspace.trials.open import run_at
from designspace.trials.training_folder import TrainingFolder
from slurm.sweeps import LONG_S, command, wait_for_end, wait_until, workers

TRAINING = (
    "model=regnetx_200mf",
    "data=patterns",
    "stem=cifar",
    "recipe=quick",
    "recipe.train_images=64",
    "recipe.test_images=100",
)
SLURM = ("launcher=slurm", "launcher.cpus_per_task=1", "device=cpu")


def train(folder, *arguments, code=0):
    """Run the command like a user, and return its output."""
    command_line = [sys.executable, "-m", "designspace.train", *TRAINING, f"out={folder}", *arguments]
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=2 * LONG_S)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def history(folder):
    return [dataclasses.replace(record, wall_s=0.0) for record in TrainingFolder(folder).trial_folder.read_history()]


def weights(folder):
    return {key: value.numpy().tobytes() for key, value in designspace.load(folder).state_dict().items()}


def test_a_pre_empted_training_is_requeued_and_gives_the_same_numbers(make_cluster, tmp_path, data_root, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as an array task of one CPU has
    epochs = "recipe.epochs=30"
    train(tmp_path / "whole", epochs, "device=cpu")
    cluster = make_cluster(
        nodes=1,
        partitions="PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=30\n"
        "PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF",
        extra="PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE",
    )
    planned = train(tmp_path / "out", epochs, *SLURM, "launcher.partition=low", "dry_run=true")
    assert "1 trial in 1 task of up to 1 trial" in planned
    assert not (tmp_path / "out").exists()
    train(tmp_path / "out", epochs, *SLURM, "launcher.partition=low")
    run = run_at(tmp_path / "out")
    wait_until(lambda: len(history(run.path)) >= 2, "two epochs")
    cluster.run("sbatch", "--partition=high", "--nodes=1", "--exclusive", "--wrap=sleep 5")
    wait_until(lambda: not workers(run), "end of the pre-empted task")
    assert len(history(run.path)) < 30
    wait_for_end(run, cluster)
    assert history(run.path) == history(tmp_path / "whole")
    assert weights(run.path) == weights(tmp_path / "whole")
    log = run.trial(run.trial_keys()[0]).log.read_text()
    assert log.count("started on") >= 2
    about = json.loads((run.path / "network.json").read_text())["about"]
    assert about["provenance"][0]["command"].startswith("python -m designspace.train model=regnetx_200mf")
    again = train(tmp_path / "out", epochs, *SLURM)
    assert "nothing to submit; 1 had finished before" in again
    assert f"the model is in {run.path}" in again


def test_status_cancel_retry_and_clean(cluster, tmp_path, data_root):
    folder = tmp_path / "out"
    endless = ("recipe.epochs=1000000", *SLURM)
    train(folder, *endless)
    run = run_at(folder)
    wait_until(lambda: history(folder), "an epoch")
    output = command("status", run, "trials=all")
    assert "running" in output
    assert "SLURM has 1 task for 1 trial: 1 running" in output
    assert "1 SLURM task of launch" in command("cancel", run)
    cluster.wait_until(lambda: not cluster.queue(), LONG_S, "an empty queue")
    assert "their launch was cancelled by" in command("status", run)
    limits = ("launcher.max_retries=0", "launcher.trial_timeout_min=0.02")
    done = train(folder, *endless, *limits, "wait=true")
    assert "1 trial failed" in done
    assert run_status(run).reasons == {"time limit": 1}
    assert "1 trial is waiting again" in command("retry", run)
    assert "deleted" in command("clean", run, "delete=launches")
    assert not list((folder / "launches").glob("*/launch.json"))
    assert "to train the others: python -m designspace.train model=regnetx_200mf" in command("status", run)
    assert (folder / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [("launcher.workers=2", "trained by one worker"), ("device=cuda:1", "device must be auto, cpu or cuda")],
)
def test_invalid_options_of_one_training(cluster, tmp_path, data_root, words, message):
    assert message in train(tmp_path / "out", "launcher=slurm", words, code=2)
    assert not (tmp_path / "out").exists()
