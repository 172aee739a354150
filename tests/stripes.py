"""A small network, a recipe and three easy classes of images, as fixtures for the tests that train."""

import numpy as np
import pytest

from designspace.data import ImageData
from designspace.networks.network import Network, Stage, Stem
from designspace.trials.recipe import Recipe


@pytest.fixture
def network():
    """A small network with every kind of layer that has state."""
    stages = (Stage(1, 8, 2, 1, 4), Stage(2, 16, 2, 1, 8))
    return Network(Stem("cifar", 8), stages, se_ratio=0.25, radix=2, num_classes=3, in_channels=2)


@pytest.fixture
def recipe():
    return Recipe(data="stripes", epochs=4, batch_size=16, lr=0.1, crop_padding=1, label_smoothing=0.1)


@pytest.fixture
def data():
    return stripes()


def stripes(train=70, test=33):
    """Return images of three easy classes: noise with a bright stripe at one of three heights."""
    random = np.random.default_rng(0)

    def split(count):
        labels = np.arange(count) % 3
        images = random.integers(0, 160, (count, 2, 10, 9), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 1 + 3 * label : 3 + 3 * label] += 95
        return images, labels

    return ImageData("stripes", *split(train), *split(test), num_classes=3, mean=(0.4, 0.4), std=(0.2, 0.2))
