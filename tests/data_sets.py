"""Small data sets, a working folder, and a function that runs commands in this process, for tests of commands."""

import numpy as np
import pytest
from PIL import Image

from designspace.cli import app
from designspace.data.packing import pack
from designspace.data.splits import find_splits


def pack_noise(root, name, classes=3, size=16, train=20, test=10):
    """Pack a data set of noise below ``root``; ``train`` and ``test`` are images per class."""
    noise = np.random.default_rng(0)
    for split, count in (("train", train), ("val", test)):
        for label in range(classes):
            folder = root / f"{name}_images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(noise.integers(0, 256, (size, size, 3), np.uint8)).save(folder / f"{number}.png")
    pack(find_splits(root / f"{name}_images", None), root / name, size, 1, lambda finished, total: None)


@pytest.fixture(scope="session")
def pets(once):
    """The folder of data sets, which contains images of noise in three classes, named pets."""
    return once("pets", lambda root: pack_noise(root, "pets"))


@pytest.fixture
def here(tmp_path, monkeypatch, pets):
    """An empty working folder of a user who has this data set."""
    monkeypatch.setenv("DESIGNSPACE_DATA", str(pets))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(capsys, command, run, *arguments):
    """Run a command in this process; return its exit code, output and error output."""
    code = 0
    try:
        app.main(command, run, list(arguments))
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()
