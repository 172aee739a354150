"""The recipes in configs/recipe."""

import re

import pytest
import torch
import yaml

from designspace.cli import app
from designspace.cli.config_files import ConfigFiles, configs_folder
from designspace.cli.help import help_text, read_comments
from designspace.data.augment import Augmentation
from designspace.trials.recipe import Recipe
from designspace.trials.recipe_axes import RecipeAxes

NAMES = ConfigFiles().options("recipe")
SIZES = {"regnet_100": (3, 256), "resnest_270": (3, 256), "cifar": (3, 32), "cifar_best": (3, 32)}


def recipe(name, *overrides):
    config = app.compose("launch", [f"recipe={name}", "data=fashion_mnist", "run=x", *overrides])
    fields = {**config["recipe"], "data": config["data"]["name"]}
    return RecipeAxes.from_fields(fields).recipe(fields)


def base():
    return yaml.safe_load((configs_folder() / "base" / "recipe.yaml").read_text())


def test_the_base_lists_every_field_with_its_default():
    fields = Recipe().to_dict()
    assert fields.pop("data") == "fashion_mnist"
    assert base() == fields


@pytest.mark.parametrize("name", ["base/recipe", *(f"recipe/{name}" for name in NAMES)])
def test_help_shows_the_values_and_their_reasons(name):
    text = (configs_folder() / f"{name}.yaml").read_text()
    assert all(len(line) <= 130 for line in text.splitlines())
    if name != "base/recipe":
        assert text.startswith("# ")
        shown = " ".join(help_text("launch", [name.replace("/", "=")]).split())
        comments = read_comments(configs_folder() / f"{name}.yaml")
        assert " ".join(comments.about.split()) in shown
        for key, reason in comments.keys.items():
            assert reason in shown, key


def test_help_of_commands_with_a_recipe_explains_every_field():
    for command in ("launch", "explore", "train"):
        text = help_text(command)
        for field in base():
            assert re.search(rf"^  recipe\.{field}=\S*(  +\w|$)", text, re.M), field


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_fits_its_images(name):
    channels, size = SIZES.get(name, (1, 28))
    chosen = recipe(name)
    ones = torch.ones(channels, 1, 1)
    images = torch.zeros(2, channels, size, size, dtype=torch.uint8)
    augmentation = Augmentation.of(chosen, ones, ones, size)
    side = chosen.crop_size or size
    assert augmentation.train(images, torch.Generator().manual_seed(0)).shape == (2, channels, side, side)
    assert augmentation.test(images).shape == (2, channels, side, side)


def test_the_papers_sweep_is_the_default():
    assert recipe("sweep") == Recipe()


def test_quick_is_unchanged_since_its_published_results():
    assert recipe("quick") == Recipe(
        batch_size=64,
        lr=0.2,
        weight_decay=5e-4,
        warmup_epochs=1,
        zero_init_residual=True,
        train_images=2000,
        test_images=2000,
    )


def test_a_recipe_that_is_chosen_replaces_that_of_the_default_experiment():
    quickstart = app.compose("explore", [])["recipe"]
    assert (quickstart["epochs"], quickstart["train_images"], quickstart["test_images"]) == (5, 1000, 1000)
    for name in ("quick", "sweep"):
        assert (
            app.compose("explore", [f"recipe={name}"])["recipe"]
            == app.compose("launch", [f"recipe={name}", "run=x"])["recipe"]
        )


def test_random_lr_is_the_sweep_with_the_rates_of_pycls():
    shared = Recipe().to_dict()
    fields = app.compose("launch", ["recipe=random_lr", "run=x"])["recipe"]
    axes = RecipeAxes.from_fields(fields)
    assert {name: (axis.kind, axis.low, axis.high) for name, axis in axes.by_field.items()} == {
        "lr": ("log_uniform", pytest.approx(0.25 * 128 / 1024, rel=0.05), pytest.approx(5 * 128 / 1024, rel=0.05)),
        "weight_decay": ("log_uniform", 5e-5, 1e-3),
    }
    assert {name: value for name, value in fields.items() if name not in axes.by_field}.items() <= shared.items()
    assert "recipe.lr='{kind: log_uniform, low: 0.03, high: 0.6}'" in help_text("launch", ["recipe=random_lr"])


def test_published_recipes_scale_the_learning_rate_with_the_batch():
    for name, lr, images in (("regnet_100", 0.1, 128), ("resnest_270", 0.1, 256), ("cifar", 0.1, 128)):
        chosen = recipe(name)
        assert chosen.lr == pytest.approx(lr * chosen.batch_size / images)
    best = recipe("cifar_best")
    assert best.ema_decay == pytest.approx(1 - 0.00025 * best.batch_size / best.epochs, abs=5e-5)


def test_recipes_can_extend_others():
    assert recipe("fashion").to_dict() == {
        **recipe("cifar").to_dict(),
        "epochs": 50,
        "warmup_epochs": 1,
        "crop_padding": 2,
    }
    assert recipe("regnet_100", "recipe.devices=1", "recipe.accumulate=8").accumulate == 8
