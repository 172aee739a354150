"""A launch that fails before its first trial saves no recipe; a dry run reports the same errors as the launch."""

import os

import pytest
from data_sets import pack_noise, run_command

from designspace import launch, sample
from designspace.sweeps import snapshot
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

QUICK = ["recipe=quick", "recipe.epochs=1", "launcher.workers=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    for name in ("pets", "dogs"):
        pack_noise(root, name)
    return root


@pytest.fixture
def here(tmp_path, monkeypatch, root, capsys):
    """A folder with a run of two networks with split attention."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(root))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    arguments = ["data=pets", "space=RegNetX", "space.radix=2", "n=2", "run=r"]
    assert run_command(capsys, "sample", sample.run, *arguments)[0] == 0
    return tmp_path


def run_launch(capsys, *arguments):
    return run_command(capsys, "launch", launch.run, "run=r", *arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["recipe.train_images=61"], 2, "recipe.train_images must be 1 to 60, not 61"),
        (["recipe.test_images=31"], 2, "recipe.test_images must be 1 to 30, not 31"),
        (["recipe.heldout_images=60"], 2, "recipe.heldout_images=60 leaves none of 60"),
        (["recipe.warmup_epochs=2"], 2, "warmup_epochs 2 is more than epochs 1"),
        (["recipe.batch_size=1"], 2, "one image at a time"),
        (["recipe.batch_size=4", "recipe.accumulate=4"], 2, "one image at a time"),
        (["recipe.batch_size=64", "launcher.gpus_per_trial=64"], 2, "cannot be shared by 64 devices"),
        (["recipe.crop_area=0.1", "recipe.crop_padding=4"], 2, "two kinds of crops"),
        (["recipe.trainer=nowhere:train"], 2, "recipe.trainer: nowhere:train cannot be imported (No module named"),
        (["recipe.trainer=mine:trian"], 2, "has no attribute 'trian'"),
        (["recipe.trainer=mine:number"], 2, "number is not a function"),
        (["data.root=empty"], 2, "unknown data set 'pets'"),
        (["data=cifar10"], 2, "the networks were drawn for images of 3 channels, 16 x 16 pixels and 3 classes"),
        (["launcher.workers=0"], 2, "workers (or null) must be a whole number >= 1"),
        (["launcher.device=cuda"], 2, "PyTorch finds no GPU here"),
        (["seed=-1"], 2, "seed must be a whole number >= 0"),
    ],
)
def test_a_launch_that_fails_early_saves_no_recipe(arguments, code, message, capsys, here, monkeypatch):
    monkeypatch.setattr("designspace.sweeps.slots._count_gpus", lambda: 0)
    (here / "path").mkdir()
    (here / "path" / "mine.py").write_text("number = 1\ndef train(): pass\n")
    for more in (["dry_run=true"], []):
        actual_code, _, errors = run_launch(capsys, *QUICK, *arguments, *more)
        assert actual_code == code, errors
        assert message in errors
        assert len(errors.splitlines()) == 1
    assert RunFolder(here / "r").plan() is None
    assert not (here / "r" / "launches").exists()


def test_damaged_images_and_invalid_paths_are_errors(capsys, here, root):
    images = root / "pets" / "train_images.npy"
    content = images.read_bytes()
    images.write_bytes(content[:-100])
    code, _, errors = run_launch(capsys, *QUICK)
    images.write_bytes(content)
    assert (code, "train_images.npy" in errors) == (1, True)
    with pytest.raises(ValueError, match="a run folder's path must have no ':' in it"):
        snapshot.check_path(here / f"a{os.pathsep}b")
    assert RunFolder(here / "r").plan() is None


def test_slurm_is_checked_before_the_recipe_is_saved(capsys, here, monkeypatch):
    """Fake commands act like a cluster without the partition gpu; tests/slurm uses a real SLURM."""
    refusal = "echo 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2; exit 1"
    for name, script in {"sbatch": refusal, "scontrol": "", "squeue": "", "srun": "", "scancel": ""}.items():
        path = here / "path" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'path'}{os.pathsep}{os.environ['PATH']}")
    slurm = ["launcher=slurm", "launcher.partition=gpu"]
    for more in (["dry_run=true"], []):
        code, _, errors = run_launch(capsys, *slurm, *more)
        assert code == 2
        assert "Invalid partition name specified" in errors
    assert RunFolder(here / "r").plan() is None


def test_a_dry_run_shows_everything(capsys, here):
    code, output, errors = run_launch(capsys, *QUICK, "recipe.heldout_images=10", "dry_run=true")
    assert code == 0, errors
    lines = {line.strip().split("  ")[0]: line for line in output.splitlines()}
    assert output.startswith("note: pets has fewer images than recipe.train_images=2000, recipe.test_images=2000")
    assert "2 trials on 1 worker (cpu); 0 already finished" in output
    assert "2 of RegNetX: " in lines["networks"]
    assert "50 training, 10 held-out and 30 test images of 3 x 16 x 16, 3 classes" in lines["data"]
    for text in ("epochs 1,", "batch_size 64", "lr 0.2", "weight_decay 0.0005", "warmup_epochs 1"):
        assert text in lines["recipe"]
    assert "none yet" in lines["recipe of the run"]
    assert "1 per epoch, of 50 images" in lines["steps"]
    assert " s, about " in lines["expected time"]
    assert RunFolder(here / "r").plan() is None


def test_a_run_keeps_its_recipe_unless_another_one_is_given(capsys, here):
    code, _, errors = run_launch(capsys, *QUICK, "seed=3")
    assert code == 0, errors
    plan = RunFolder(here / "r").plan()
    assert (plan.recipe.train_images, plan.recipe.test_images, plan.recipe.epochs, plan.seed) == (None, None, 1, 3)
    for arguments in (
        [],
        ["data=pets"],
        ["data=folder", "data.name=pets"],
        ["seed=3"],
        ["recipe.epochs=1"],
        ["recipe.lr=0.2", "data=pets"],
        ["launcher.gpus_per_trial=1"],
        ["recipe=quick", "recipe.epochs=1", "seed=3"],
    ):
        for more in (["dry_run=true"], []):
            assert run_launch(capsys, *arguments, *more)[0] == 0, arguments
    for arguments, message in (
        (["seed=4"], "r is already being trained with another seed (seed is 3 there and 4 here). Leave seed out"),
        (["data=dogs"], "r is already being trained on pets (recipe.data is pets there and dogs here). Leave data out"),
        (["recipe.epochs=2"], "another recipe (recipe.epochs is 1 there and 2 here). Leave the recipe out"),
        (["recipe=quick"], "another recipe (recipe.epochs is 1 there and 10 here)"),
        (["recipe=quick", "recipe.epochs=1", "recipe.flip=false"], "(recipe.flip is true there and false here)"),
        (
            ["launcher.gpus_per_trial=2"],
            "launcher.gpus_per_trial=2, but r already has recipe.devices=1",
        ),
        (["launcher.gpus_per_trial=2", "recipe.devices=4"], "contradict each other"),
    ):
        for more in (["dry_run=true"], []):
            code, _, errors = run_launch(capsys, *arguments, *more)
            assert code == 2, arguments
            assert message in errors
    assert RunFolder(here / "r").plan() == plan


def test_gpus_per_trial_sets_the_devices_of_a_new_recipe(capsys, here):
    arguments = ["recipe.batch_size=4", "launcher.gpus_per_trial=2", "launcher.device=cpu", "dry_run=true"]
    output = run_launch(capsys, *arguments)[1]
    assert "devices 2" in output
    assert Recipe().devices == 1
    code, _, errors = run_launch(capsys, *arguments, "recipe.sync_norm=true")
    assert code == 2
    assert "sync_norm=true with devices=2 needs GPUs, not cpu devices" in errors
