import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from designspace import data
from designspace.data import packed
from designspace.data.packing import pack
from designspace.data.splits import find_splits
from designspace.support.errors import RunError


def test_mean_std_and_facts_match_the_arrays(packed_root):
    images = data.load("flowers", packed_root)
    pixels = images.train_images / 255
    np.testing.assert_allclose(images.mean, pixels.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(images.std, pixels.std((0, 2, 3)), atol=1e-6)
    assert data.facts("flowers", packed_root) == (images.mean, images.std, ("rose", "tulip"))
    assert data.shape("flowers", packed_root).fitting == (3, 16, 2)
    assert data.counts("flowers", packed_root) == (150, 20)
    assert data.names(packed_root)[-1] == "flowers"


def test_only_the_subset_is_copied_into_memory(packed_root):
    images = data.load("flowers", packed_root, train_images=10)
    assert not isinstance(images.train_images, np.memmap)
    assert len(images.train_images) == 10
    assert isinstance(images.test_images, np.memmap)


def cut_off(path):
    os.truncate(path, path.stat().st_size - 1)


def append_byte(path):
    with path.open("ab") as file:
        file.write(b"x")


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def damage_header(path):
    path.write_bytes(b"x" + path.read_bytes()[1:])


@pytest.mark.parametrize("damage", [Path.unlink, cut_off, append_byte, flip_bit, damage_header])
@pytest.mark.parametrize("file", ["train_images.npy", "test_images.npy", "train_labels.npy", "test_labels.npy"])
def test_the_error_for_a_damaged_file_says_what_to_do(root, file, damage):
    damage(root / "flowers" / file)
    for read in (data.load, data.prepare):
        with pytest.raises(
            RunError, match=rf"{file}.*; delete .*packed.json and pack it again: .*data=folder name=flow"
        ):
            read("flowers", root)


def test_prepare_finds_a_change_that_keeps_the_modification_time(root, image_folder):
    path = root / "flowers" / "train_images.npy"
    before = path.stat()
    flip_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    data.load("flowers", root)
    for check in (
        lambda: data.prepare("flowers", root),
        lambda: pack(find_splits(image_folder), root / "flowers", 16, 1),
    ):
        with pytest.raises(
            RunError, match=r"train_images.npy is damaged: images 128 to 149 differ from what was packed"
        ):
            check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "is not valid JSON"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "has format 2, which this version cannot read"),
        (lambda text: "[]", "must contain an object"),
        (lambda text: text.replace('"images": 150', '"images": 0'), "is damaged .*whole numbers >= 1"),
        (lambda text: text.replace('"images": 150', '"images": 1500'), "is damaged .*1,500 images have 3 digests"),
        (lambda text: text.replace('"size": 16', '"size": 32'), "train_images.npy is damaged: it must hold"),
        (lambda text: text.replace('"classes"', '"klasses"'), "is damaged .*klasses"),
    ],
)
def test_a_damaged_packed_json_is_refused(root, change, message):
    path = root / "flowers" / "packed.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=message):
        data.load("flowers", root)


def test_a_copy_is_read_and_checked_until_prepare_records_its_time(root, caplog):
    for split in packed.SPLITS:
        os.utime(root / "flowers" / f"{split}_images.npy")
    with caplog.at_level(logging.INFO):
        data.load("flowers", root)
    assert "train_images.npy was modified since it was packed" in caplog.text
    caplog.clear()
    data.prepare("flowers", root)
    with caplog.at_level(logging.INFO):
        data.load("flowers", root)
    assert caplog.text == ""


def test_packed_json_is_read_back(packed_root):
    description = packed.read_packed(packed_root / "flowers")
    assert json.loads((packed_root / "flowers" / "packed.json").read_text())["format"] == 1
    assert description.classes == ("rose", "tulip")
    assert len(description.train.sha256) == 3
