"""ImageNet from the published archives to verified models, with the papers' recipes on two devices through SLURM.

The archives have ImageNet's layout, and few small images.
"""

import subprocess
import sys

import pytest
from imagenet_archives import write_archives

import designspace
from designspace import prepare
from designspace.cli import app
from designspace.trials.training_folder import TrainingFolder
from slurm.sweeps import LONG_S


def run_command(name, *arguments):
    """Run a command like a user, and return its output."""
    command_line = [sys.executable, "-m", f"designspace.{name}", *arguments]
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=2 * LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("model", "recipe", "size", "crop"), [("regnetx_200mf", "regnet_100", 36, 32), ("resnest14", "resnest_270", 36, 32)]
)
def test_from_archives_to_a_verified_model(model, recipe, size, crop, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "data"))
    write_archives(tmp_path / "downloads", monkeypatch)
    app.main("prepare", prepare.run, ["data=imagenet", f"from={tmp_path / 'downloads'}", f"size={size}", "workers=1"])
    out = tmp_path / "trained"
    short = ("recipe.epochs=2", "recipe.warmup_epochs=1", "recipe.batch_size=8", "recipe.devices=2", "recipe.lr=0.01")
    slurm = ("launcher=slurm", "launcher.cpus_per_task=2", "device=cpu", "wait=true")
    sizes = (f"recipe.crop_size={crop}",)
    output = run_command(
        "train", f"model={model}", "data=imagenet", f"recipe={recipe}", f"out={out}", *short, *sizes, *slurm
    )
    result = TrainingFolder(out).trial_folder.state().result
    assert result.device.startswith("2 x")
    assert f"error {result.final_error:.2f}%" in output
    trained = designspace.load(out)
    assert trained.weights.classes == ("n00000001", "n00000002", "n00000003")
    assert (trained.weights.preset.crop, trained.weights.preset.resize) == (crop, size)
    verified = run_command("verify", f"model={out}", "data=imagenet", "device=cpu", "workers=0")
    assert "6 in 3 classes" in verified
    assert f"resize {size}, crop {crop}" in verified
    predicted = tmp_path / "predictions.csv"
    photos = tmp_path / "data" / "imagenet" / "val"
    run_command("predict", f"model={out}", f"images={photos}", f"to={predicted}", "device=cpu", "workers=0")
    assert len(predicted.read_text().splitlines()) == 7
