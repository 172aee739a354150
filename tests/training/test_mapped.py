import dataclasses
import pickle

import numpy as np
import pytest

from designspace.support.errors import RunError
from designspace.training.mapped import MappedArray, MappedData


@pytest.mark.parametrize("part", [slice(None), slice(7, 50), slice(3, 4)])
@pytest.mark.parametrize("offset", [0, 24, 10_000])
def test_a_mapped_array_can_be_mapped_again_elsewhere(tmp_path, part, offset):
    values = np.random.default_rng(0).integers(0, 256, (60, 3, 40, 41), np.uint8)
    path = tmp_path / "values"
    path.write_bytes(bytes(offset) + values.tobytes())
    array = np.memmap(path, np.uint8, "r", offset, values.shape)[part]
    mapped = pickle.loads(pickle.dumps(MappedArray.of(array)))
    assert (mapped.path, mapped.shape) == (path, array.shape)
    np.testing.assert_array_equal(mapped.map(), values[part])


def test_arrays_outside_files_or_not_contiguous_are_not_mapped(tmp_path):
    values = np.zeros((4, 4), np.uint8)
    (tmp_path / "values").write_bytes(values.tobytes())
    mapped = np.memmap(tmp_path / "values", np.uint8, "r", 0, (4, 4))
    for array in (values, mapped[:, 1:], mapped.T, mapped[[0, 2]], mapped[::2]):
        assert MappedArray.of(array) is None


def test_data_are_passed_by_files(data, tmp_path):
    """Arrays in memory are written to files; mapped arrays are not."""
    np.save(tmp_path / "mapped.npy", data.train_images)
    data = dataclasses.replace(data, train_images=np.load(tmp_path / "mapped.npy", mmap_mode="r"))
    folder = tmp_path / "folder"
    folder.mkdir()
    received = pickle.loads(pickle.dumps(MappedData.of(data, folder))).data()
    assert sorted(path.name for path in folder.iterdir()) == ["test_images.npy", "test_labels.npy", "train_labels.npy"]
    for field in dataclasses.fields(data):
        np.testing.assert_array_equal(getattr(received, field.name), getattr(data, field.name))


def test_an_unwritable_folder_is_an_error(data, tmp_path):
    with pytest.raises(RunError, match="cannot write the images to .*nowhere"):
        MappedData.of(data, tmp_path / "nowhere")
