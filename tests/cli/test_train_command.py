"""`python -m designspace.train` on the command line."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from interrupts import start_interruptible
from sweep_runs import make_run

import designspace
from designspace import train, verify
from designspace.cli import app
from designspace.cli.training import TrainingProgress, lr_note, print_summary
from designspace.data import load as load_data
from designspace.data.presets import Preset
from designspace.library.saved import write_model
from designspace.models import AnyNet
from designspace.models.info import ModelInfo
from designspace.networks.network import Network, Stage, Stem
from designspace.training import train as train_network
from designspace.training import train_on_devices
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, Trial

NETWORK = Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 8),), num_classes=10)
SMALL = (
    "recipe=quick",
    "recipe.epochs=3",
    "recipe.train_images=256",
    "recipe.test_images=200",
    "data=patterns",
    "device=cpu",
)
RECIPE = Recipe(
    **{"epochs": 3, "batch_size": 64, "lr": 0.2, "weight_decay": 5e-4, "warmup_epochs": 1, "zero_init_residual": True},
    **{"data": "patterns", "train_images": 256, "test_images": 200},
)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    """Set a width at which no row of a table is wrapped, even with long folder names."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def here(tmp_path, monkeypatch, data_root):
    """A working directory with a model folder of a small network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(data_root))
    write_model(tmp_path / "tiny", AnyNet(NETWORK, seed=9), ModelInfo("tiny", Preset(16, 16), "", ""))
    return tmp_path


def run_command(capsys, *arguments):
    """Run the command in this process; return its exit code, output and error output."""
    code = 0
    try:
        app.main("train", train.run, [*SMALL, *arguments])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def history(folder):
    with (folder / "history.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "wall_s"} for row in csv.DictReader(file)]


def test_a_published_network_is_trained_on_16_pixels(here, capsys):
    code, output, errors = run_command(
        capsys, "model=RegNetX-200MF", "stem=cifar", "recipe.epochs=1", "recipe.train_images=64"
    )
    assert code == 0, errors
    out = here / "runs" / "regnetx_200mf-patterns"
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert "cifar stem; initial weights: random" in lines["network"]
    assert "4.06 M multiply-adds, 2.32 M parameters, 44.2 k activations at 16 x 16 pixels" in lines["complexity"]
    assert "64 training and 200 test images of 3 x 16 x 16, 10 classes" in lines["data"]
    assert "quick: 1 epoch of 1 step" in lines["recipe"]
    model = designspace.load(out)
    assert model.network.stem == Stem("cifar", 32)
    error = model.weights.about["result"]["final_error"]
    assert f"error {error:.2f}%; 1 epoch in" in output
    assert errors.startswith("epoch 1/1: loss ")
    record = json.loads((out / "train.json").read_text())
    assert record["provenance"]["command"].startswith("python -m designspace.train recipe=quick recipe.epochs=3")
    app.main("verify", verify.run, [f"model={out}", "data=patterns", "images=200", "device=cpu"])
    assert f"{100 - error:.2f}%" in capsys.readouterr().out


def test_the_same_command_again_prints_the_result(here, capsys):
    code, output, errors = run_command(capsys, "model=tiny", "out=o")
    assert code == 0, errors
    before = {path: path.stat().st_mtime_ns for path in (here / "o").rglob("*") if path.is_file()}
    assert run_command(capsys, "model=tiny", "out=o") == (0, output, "")
    assert {path: path.stat().st_mtime_ns for path in (here / "o").rglob("*") if path.is_file()} == before
    code, _, errors = run_command(capsys, "model=tiny", "out=o", "recipe.lr=0.05")
    assert code == 2
    assert "o holds another training (recipe.lr is 0.2 there and 0.05 here). It was left as it is; choose" in errors


def test_a_dry_run_writes_nothing(here, capsys):
    code, output, errors = run_command(
        capsys, "model=tiny", "dry_run=true", "recipe.devices=2", "recipe.batch_size=128"
    )
    assert (code, errors) == (0, "")
    assert "0.2 at its peak, for batches of 128 images: 64 on each of 2 devices\n" in output
    assert "note: the learning rate stays 0.2, which quick uses for batches of 64; scaled" in output
    assert "it would be recipe.lr=0.4" in output
    assert "2 x cpu" in output
    assert {path.name for path in here.iterdir()} == {"tiny"}


def test_a_network_of_a_run_and_its_weights(here, capsys, data_root):
    run = make_run(here / "run", n=1, epochs=1)
    trial = Trial(run.population()[0], run.plan().recipe, run.plan().seed)
    folder = run.trial(trial.id)
    images = load_data("patterns", data_root)
    result = train_network(trial.network, trial.recipe, images, seed=trial.seed, checkpoint=folder.checkpoint)
    folder.write_result(result)
    best = designspace.load(run.path)
    code, _, errors = run_command(capsys, "run=run", "out=scratch", "recipe.epochs=1")
    assert code == 0, errors
    assert designspace.load("scratch").network == best.network
    code, _, errors = run_command(
        capsys, "run=run", f"id={best.network.id}", "weights=true", "out=tuned", "recipe.epochs=1", "recipe.lr=1e-12"
    )
    assert code == 0, errors
    tuned = designspace.load("tuned")
    assert tuned.weights.origin.startswith(
        f"fine-tuned on 256 training images of patterns, from AnyNetXA {best.network.id}"
    )
    torch.testing.assert_close(tuned.head.classifier.weight, best.head.classifier.weight)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "either model=... or run=... must be given"),
        (("model=tiny", "run=tiny"), 2, "and not both"),
        (("model=vgg16",), 2, "vgg16"),
        (("model=tiny", "recipe.trainer=mine:train"), 2, "recipe.trainer works only with designspace.launch"),
        (("model=tiny", "recipe.devices=no"), 2, "devices must be a whole number >= 1, not 'no'"),
        (("model=tiny", "recipe.batch_size=65", "recipe.devices=2"), 2, "batch_size 65 is not divisible by devices 2"),
        (("model=tiny", "recipe.devices=2", "device=cuda:0"), 2, "device=cuda:0 cannot be shared by 2 processes"),
        (("model=tiny", "recipe.devices=2", "recipe.sync_norm=true"), 2, "sync_norm=true with devices=2 needs GPUs"),
        (("model=tiny", "device=tpu"), 2, "cannot use device 'tpu'"),
        (("model=tiny", "seed=-1"), 2, "seed must be a whole number >= 0, not -1"),
        (("model=tiny", "stem=vit"), 2, "unknown stem 'vit'; choose from: imagenet, cifar, resnet, deep"),
        (("model=tiny", "weights=timm"), 2, "tiny has its own weights: weights=true, not weights=timm"),
        (("model=regnetx_200mf", "weights=nowhere.pt"), 1, "there is no file nowhere.pt"),
        (("model=tiny", "data.root=empty"), 2, "python -m designspace.prepare data=folder"),
        (("model=tiny", "recipe.lr=1e20", "out=o"), 1, "a smaller recipe.lr than 1e+20 may help"),
        (("model=tiny", "recipe.train_images=1201"), 2, "train_images must be 1 to 1200, not 1201"),
        (("model=tiny", "out=tiny"), 2, "tiny holds no training but other files; choose another folder with out="),
    ],
)
def test_errors_are_one_line(here, capsys, arguments, code, message):
    actual_code, _, errors = run_command(capsys, *arguments)
    assert actual_code == code
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert errors.startswith("designspace.train: ")


def test_torchrun_sets_the_number_of_devices(here, capsys, monkeypatch):
    for name, value in (
        ("RANK", "0"),
        ("WORLD_SIZE", "4"),
        ("LOCAL_RANK", "0"),
        ("MASTER_ADDR", "here"),
        ("MASTER_PORT", "1"),
    ):
        monkeypatch.setenv(name, value)
    code, _, errors = run_command(capsys, "model=tiny", "recipe.devices=2")
    assert code == 2
    assert "recipe.devices=2, but torchrun started 4 processes; leave it out" in errors
    code, output, errors = run_command(capsys, "model=tiny", "dry_run=true")
    assert "16 on each of 4 devices" in output
    monkeypatch.setenv("WORLD_SIZE", "1")
    code, output, errors = run_command(capsys, "model=tiny", "recipe.epochs=1", "out=o")
    assert code == 0, errors
    assert "for batches of 64 images\n" in output


def test_two_processes_killed_and_resumed_equal_train_on_devices(here, data_root):
    # With this many epochs it is still training when the signal arrives, even if this process had to wait for its turn.
    arguments = ["recipe.epochs=80", "model=tiny", "recipe.devices=2", "out=o"]
    command = [sys.executable, "-m", "designspace.train", *SMALL, *arguments]
    out = here / "o"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 600
        while not (out / "history.csv").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=600)[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.endswith("\nstopped; run the same command again to resume\n")
    assert len(history(out)) < 80
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    recipe = dataclasses.replace(RECIPE, epochs=80, devices=2)
    images = load_data("patterns", data_root)
    seen = []
    train_on_devices(NETWORK, recipe, images, checkpoint=here / "expected.pt", on_epoch=seen.append)
    expected = torch.load(here / "expected.pt", weights_only=True)["model"]
    assert all(torch.equal(value, expected[key]) for key, value in designspace.load(out).state_dict().items())
    assert [float(row["test_error"]) for row in history(out)] == [record.test_error for record in seen[-1]]
    assert (out / "log.txt").read_text().count("started on") == 2


@pytest.mark.gpu
@pytest.mark.parametrize("devices", [1, 2])
def test_on_gpus(here, devices):
    """Train on one or two GPUs, which use NCCL; after a kill in the first epoch the training resumes."""
    if torch.cuda.device_count() < devices:
        pytest.skip(f"needs {devices} CUDA devices")
    small = (*SMALL[:-1], "device=cuda", "recipe.epochs=100", f"recipe.devices={devices}", "model=tiny", "out=o")
    command = [sys.executable, "-m", "designspace.train", *small]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (here / "o" / "history.csv").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=600)[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert float(history(here / "o")[-1]["test_error"]) < 60
    assert torch.cuda.get_device_name(0) in (here / "o" / "README.md").read_text()


def test_ctrl_c_prints_how_to_resume(here):
    command = [sys.executable, "-m", "designspace.train", *SMALL, "model=tiny", "recipe.epochs=100000", "out=o"]
    with start_interruptible(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stderr.readline().startswith("epoch 1/100000: loss")
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=600)[1]
    assert process.returncode == 130
    assert errors.endswith("\nstopped; run the same command again to resume\n")
    assert "Traceback" not in errors


def test_the_summary_shows_how_a_batch_is_shared(capsys, data_root):
    images = load_data("patterns", data_root)
    recipe = Recipe(batch_size=1024, devices=8, accumulate=2, heldout_images=200, crop_size=12)
    trial = Trial(NETWORK, recipe)
    print_summary("tiny", trial, images, "mine", "cuda", "there")
    output = capsys.readouterr().out
    assert "for batches of 1,024 images: 64 on each of 8 devices, accumulated 2 times" in output
    assert "1,000 training, 200 held-out and 400 test images of 3 x 16 x 16, 10 classes" in output
    assert "activations at 12 x 12 pixels" in output
    assert "8 x cuda" in output


def test_the_status_text_of_a_training(data_root):
    images = load_data("patterns", data_root)
    updates = []
    progress = TrainingProgress(RECIPE, images, lambda done, status: updates.append((done, status)))
    for _ in range(4):
        progress.on_step()
    record = EpochRecord(1, 0.1, 2.25, 80.0, 70.0, 1.0)
    progress.on_epoch((record,))
    for _ in range(2):
        progress.on_step()
    progress.on_epoch((record, dataclasses.replace(record, epoch=2, heldout_error=60.0)))
    assert [done for done, _ in updates] == [1, 2, 3, 4, 4, 5, 8]
    assert updates[0][1].startswith("epoch 1/3, ")
    assert updates[3][1].startswith("epoch 2/3, loss 2.25, error 70.0%, ")
    assert updates[6][1].startswith("epoch 3/3, loss 2.25, held-out error 60.0%, ")
    assert "images/s, time left" in updates[6][1]


def test_the_note_about_the_learning_rate():
    recipe = Recipe(batch_size=256, lr=0.8)
    assert lr_note(recipe, 256, "regnet_100", is_lr_given=False) is None
    assert lr_note(recipe, 1024, "regnet_100", is_lr_given=True) is None
    assert lr_note(recipe, 1024, "regnet_100", is_lr_given=False).endswith("it would be recipe.lr=0.2")


def test_torchrun_gives_the_same_result_as_own_processes(here):
    command = ["-m", "designspace.train", *SMALL, "recipe.epochs=2", "model=tiny"]
    done = [
        subprocess.run(arguments, capture_output=True, text=True, timeout=600)
        for arguments in (
            [sys.executable, *command, "recipe.devices=2", "out=own"],
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *command, "out=run"],
        )
    ]
    assert [process.returncode for process in done] == [0, 0], done
    assert history(here / "own") == history(here / "run")
    own, of_torchrun = (designspace.load(here / name).state_dict() for name in ("own", "run"))
    assert all(torch.equal(value, of_torchrun[key]) for key, value in own.items())
    assert "and 1 more processes" in (here / "run" / "log.txt").read_text()
