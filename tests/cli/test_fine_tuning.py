"""Fine-tuning of a trained network on few images of other classes, in one command."""

import numpy as np
import pytest
from PIL import Image

from designspace import train
from designspace.cli import app
from designspace.data.packing import pack
from designspace.data.presets import Preset
from designspace.data.splits import find_splits
from designspace.library.saved import write_model
from designspace.models import AnyNet
from designspace.models.info import ModelInfo
from designspace.networks.network import Network, Stage, Stem
from designspace.trials.training_folder import TrainingFolder

NETWORK = Network(Stem("cifar", 16), (Stage(1, 16, 1, 1, 8), Stage(1, 32, 2, 1, 8), Stage(1, 64, 2, 1, 8)))
SIZE = 16
SEEDS = (0, 1, 2)


def write_gratings(folder, angles, train, test, seed):
    """Write images of stripes at some angles, with random phases and under noise; each angle is a class."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    for split, count in (("train", train), ("val", test)):
        for angle in angles:
            (folder / split / f"{angle} degrees").mkdir(parents=True)
            for number in range(count):
                direction = np.deg2rad(angle + random.normal(0, 3))
                wave = np.sin(1.1 * (x * np.cos(direction) + y * np.sin(direction)) + random.uniform(0, 6.3))
                pixels = 128 + 40 * wave + random.normal(0, 40, (SIZE, SIZE))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB")
                image.save(folder / split / f"{angle} degrees" / f"{number}.png")


@pytest.fixture(scope="module")
def data_sets(once):
    """A folder of data sets: many images of eight angles, and few of four others."""

    def make(folder):
        for name, angles, train_images, test_images in (
            ("many", range(0, 180, 22), 150, 20),
            ("few", range(11, 180, 44), 8, 60),
        ):
            write_gratings(folder / f"{name}_images", angles, train_images, test_images, seed=len(name))
            pack(find_splits(folder / f"{name}_images"), folder / name, SIZE, workers=1)

    return once("gratings", make)


def error_of(out, *arguments):
    """Train with the command, and return the final error."""
    app.main("train", train.run, [f"out={out}", "device=cpu", "recipe.flip=false", *arguments])
    return TrainingFolder(out).trial_folder.state().result.final_error


def test_fine_tuning_is_better_than_training_from_scratch(data_sets, tmp_path, monkeypatch):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(data_sets))
    write_model(tmp_path / "network", AnyNet(NETWORK), ModelInfo("small", Preset(SIZE, SIZE), "", ""))
    quick = ("recipe=quick", "recipe.train_images=null", "recipe.test_images=null")
    trained = tmp_path / "trained"
    assert error_of(trained, f"model={tmp_path / 'network'}", "data=many", *quick, "recipe.epochs=8") < 40
    errors = {"scratch": [], "tuned": []}
    for seed in SEEDS:
        few = ("data=few", f"seed={seed}", "recipe.batch_size=16")
        scratch = (f"model={tmp_path / 'network'}", *few, *quick, "recipe.epochs=20", "recipe.lr=0.1")
        errors["scratch"].append(error_of(tmp_path / f"scratch{seed}", *scratch))
        tuned = (f"model={trained}", "weights=true", *few, "recipe=finetune", "recipe.frozen_stages=1")
        errors["tuned"].append(error_of(tmp_path / f"tuned{seed}", *tuned))
    print(errors)
    assert max(errors["tuned"]) < min(errors["scratch"])


def test_too_many_frozen_stages_are_reported_before_training(data_sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(data_sets))
    write_model(tmp_path / "network", AnyNet(NETWORK), ModelInfo("small", Preset(SIZE, SIZE), "", ""))
    arguments = [f"model={tmp_path / 'network'}", "data=few", "recipe.frozen_stages=5", f"out={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        app.main("train", train.run, [*arguments, "device=cpu"])
    assert "recipe.frozen_stages=5, but" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
