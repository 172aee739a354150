"""Checks before a training writes anything."""

import dataclasses

import numpy as np
import pytest

from designspace.data.catalog import DataCounts, DataShape
from designspace.networks import catalog as networks
from designspace.networks.columns import NetworkColumns
from designspace.networks.network import Network, Stage, Stem
from designspace.spaces import catalog
from designspace.support.errors import InputError
from designspace.sweeps.launch import check_fit
from designspace.sweeps.preflight import Images, check_training
from designspace.trials.recipe import Recipe

SMALL = {"in_channels": 1, "num_classes": 10, "resolution": 28, "stem": "cifar", "stem_width": 8}
NETWORK = Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 8),), num_classes=10, in_channels=1)
LAST_PIXEL = dataclasses.replace(NETWORK, stages=(Stage(1, 16, 28, 1, 8),))
SPLIT = dataclasses.replace(NETWORK, radix=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": 60_001}, "has 60,000 training images: recipe.train_images must be 1 to 60000, not 60001"),
        ({"test_images": 20_000}, "has 10,000 test images: recipe.test_images must be 1 to 10000, not 20000"),
        ({"heldout_images": 60_000}, "recipe.heldout_images=60000 leaves none of 60,000 training images"),
        ({"heldout_images": 500, "train_images": 500}, "recipe.heldout_images=500 leaves none of 500 training images"),
        ({"devices": 4, "train_images": 10}, "a batch of all 10 training images cannot be shared by 4 devices"),
        ({"crop_size": 40}, "crop_size 40 is larger than the padded images"),
        ({"crop_area": 0.1, "crop_padding": 4}, "are two kinds of crops"),
        ({"policy": "autoaugment", "lighting": 0.1}, "lighting is for images of 3 channels, but these have 1"),
    ],
)
def test_a_recipe_that_does_not_fit_its_images_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        check_training(Recipe(**changes), NetworkColumns.of(NETWORK))


@pytest.mark.parametrize("network", [LAST_PIXEL, SPLIT], ids=["last maps of one pixel", "split attention"])
@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1},
        {"batch_size": 4, "accumulate": 4},
        {"batch_size": 4, "devices": 4},
        {"batch_size": 8, "devices": 2, "accumulate": 4},
        {"train_images": 1},
        {"train_images": 501, "heldout_images": 500},
        {"train_images": 5, "accumulate": 4},
    ],
    ids=str,
)
def test_batch_norm_needs_two_values(network, changes):
    assert check_training(Recipe(**changes), NetworkColumns.of(NETWORK))
    with pytest.raises(InputError, match="one image at a time, but batch-norm needs two or more in networks with"):
        check_training(Recipe(**changes), NetworkColumns.of(network))
    assert check_training(Recipe(**changes, trainer="mine:train"), NetworkColumns.of(network))


def test_synchronised_batch_norm_needs_gpus():
    shared = Recipe(devices=2, sync_norm=True)
    shared.check_device("cuda")
    with pytest.raises(InputError, match="sync_norm=true with devices=2 needs GPUs, not cpu devices; choose"):
        shared.check_device("cpu")
    for changes in ({"devices": 1}, {"sync_norm": False}, {"trainer": "mine:train"}):
        dataclasses.replace(shared, **changes).check_device("cpu")


def test_devices_with_synchronised_batch_norm_see_more_than_one_image():
    assert check_training(Recipe(batch_size=4, devices=4, sync_norm=True), NetworkColumns.of(SPLIT))
    with pytest.raises(
        InputError, match=r"by recipe.devices=4 are one .* choose fewer parts, or recipe.batch_size=8 or"
    ):
        check_training(Recipe(batch_size=4, devices=4), NetworkColumns.of(SPLIT))


@pytest.mark.parametrize("name", ["AnyNetXA", "AnyNeSt"])
def test_one_unsuitable_network_of_a_population_is_an_error(name):
    space = catalog.space(name, **SMALL, radix=[0, 2])
    population = space.sample(20)
    columns = space.network_columns(population.columns)
    with pytest.raises(InputError, match="split attention"):
        check_training(Recipe(batch_size=1), columns)
    plain = {**population.columns, "radix": np.zeros(20, np.int64)}
    assert check_training(Recipe(batch_size=1), space.network_columns(plain))


def test_numbers_of_images_that_a_recipe_uses():
    recipe = Recipe(train_images=1000, heldout_images=100, test_images=50, batch_size=64)
    images = check_training(recipe, NetworkColumns.of(NETWORK))
    assert images == Images(DataShape(1, 28, 10), train=900, test=50, batch=64)
    assert images.steps == 14


def test_images_of_one_class_are_refused(monkeypatch):
    monkeypatch.setattr("designspace.data.shape", lambda name, root: DataShape(3, 16, 1))
    monkeypatch.setattr("designspace.data.counts", lambda name, root: DataCounts(10, 10))
    with pytest.raises(InputError, match="one has images of only one class"):
        check_training(Recipe(data="one"), NetworkColumns.of(networks.get("resnet50")))


def test_the_crop_size_counts_for_the_fit_of_networks(tmp_path, monkeypatch):
    template = catalog.space("AnyNetXB").template
    check_fit(template, Recipe(data="imagenet"), tmp_path)  # not packed here: of the size in the papers
    monkeypatch.setattr("designspace.data.shape", lambda name, root: DataShape(3, 160, 1000))
    check_fit(template, Recipe(data="imagenet", crop_area=0.08, crop_size=224), tmp_path)
    with pytest.raises(InputError, match=r"crop_size=224 cuts and scales .* data=imagenet space.resolution=160 run="):
        check_fit(template, Recipe(data="imagenet"), tmp_path)
