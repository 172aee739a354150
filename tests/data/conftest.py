"""Folders of images and packed data sets that several tests share."""

import shutil

import numpy as np
import pytest
from PIL import Image

from designspace.data.packing import pack
from designspace.data.splits import find_splits


def picture(seed, width=40, height=30):
    """Return an image of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def fill(folder, classes, count, seed=0):
    for i, name in enumerate(classes):
        for j in range(count):
            path = folder / name / f"{j:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed + 1000 * i + j, 20 + j % 30, 45 - j % 20).save(path, compress_level=1)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A folder with two classes, of 75 training and 10 test images each."""
    folder = tmp_path_factory.mktemp("images") / "flowers"
    fill(folder / "train", ["rose", "tulip"], 75)
    fill(folder / "val", ["rose", "tulip"], 10, seed=500)
    return folder


@pytest.fixture(scope="session")
def packed_root(image_folder, tmp_path_factory):
    """A folder of data sets that holds those images, packed."""
    root = tmp_path_factory.mktemp("root")
    pack(find_splits(image_folder), root / "flowers", 16, 2)
    return root


@pytest.fixture
def root(packed_root, tmp_path):
    """A copy of `packed_root` that keeps the modification times of its files."""
    shutil.copytree(packed_root, tmp_path / "root")
    return tmp_path / "root"
