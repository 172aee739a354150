"""Data sets that Hugging Face's library ``datasets`` saved on the disk."""

import sys

import numpy as np
import pytest
from PIL import Image

from designspace import data
from designspace.data.hugging_face import convert, is_saved
from designspace.data.image_folder import prepare_image
from designspace.data.presets import Preset
from designspace.support.errors import InputError, RunError

NAMES = ["cat", "dog", "owl"]


def pictures(count):
    noise = np.random.default_rng(count)
    return [Image.fromarray(noise.integers(0, 256, (20 + i % 3, 24, 3), np.uint8)) for i in range(count)]


def rows(count, names=NAMES, **columns):
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    columns = {"image": pictures(count), "label": [i % len(names) for i in range(count)], **columns}
    features = {"image": ImageFeature(), "label": ClassLabel(names=names)}
    return Dataset.from_dict({key: columns[key] for key in features}, features=Features(features))


@pytest.mark.parametrize("test", ["test", "validation", None])
def test_saved_images_become_described_arrays(test, tmp_path):
    from datasets import DatasetDict

    saved = rows(12) if test is None else DatasetDict({"train": rows(12), test: rows(6)})
    saved.save_to_disk(str(tmp_path / "saved"))
    assert is_saved(tmp_path / "saved")
    convert(tmp_path / "saved", tmp_path / "root" / "pets", 16)
    assert data.counts("pets", tmp_path / "root") == ((12, 6) if test else (10, 2))
    loaded = data.load("pets", tmp_path / "root")
    assert loaded.classes == tuple(NAMES)
    preset = Preset(crop=16, resize=16)
    expected = [prepare_image(image, preset) for image in pictures(12)]
    for image, label in zip(loaded.train_images, loaded.train_labels, strict=True):
        (index,) = [i for i, other in enumerate(expected) if np.array_equal(image, other)]
        assert label == index % 3
    with pytest.raises(InputError, match="already holds a data set; check it with data=pets, choose another name="):
        convert(tmp_path / "saved", tmp_path / "root" / "pets", 16)


def test_saved_data_without_classes_or_images_are_refused(tmp_path):
    from datasets import DatasetDict

    rows(12).rename_column("label", "kind").remove_columns("kind").save_to_disk(str(tmp_path / "unlabelled"))
    with pytest.raises(InputError, match=r"must have one column of type ClassLabel; its columns are image \(Image\)"):
        convert(tmp_path / "unlabelled", tmp_path / "root" / "a", 16)
    rows(12, image=[*pictures(11), None]).save_to_disk(str(tmp_path / "missing"))
    with pytest.raises(RunError, match="image 11 of train cannot be decoded|image 11 of test cannot be decoded"):
        convert(tmp_path / "missing", tmp_path / "root" / "b", 16)
    DatasetDict({"test": rows(6)}).save_to_disk(str(tmp_path / "no_train"))
    with pytest.raises(InputError, match="has no split train; its splits are test"):
        convert(tmp_path / "no_train", tmp_path / "root" / "c", 16)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "state.json").write_text("{}")
    with pytest.raises(RunError, match="cannot read .*damaged"):
        convert(tmp_path / "damaged", tmp_path / "root" / "d", 16)
    assert data.names(tmp_path / "root") == data.fetched_names()


def test_without_the_library_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(
        InputError, match="saved by Hugging Face's library datasets, which is not installed here .* pip"
    ):
        convert(tmp_path, tmp_path / "root" / "pets", 16)
    with pytest.raises(InputError, match="size .pixels. must be a whole number from 8 to 1024"):
        convert(tmp_path, tmp_path / "root" / "pets", 4)
    assert not (tmp_path / "root").exists()
