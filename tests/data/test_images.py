import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designspace.data import ImageData
from designspace.support.errors import InputError


def make_data(train_labels, test_labels=(0, 1), classes=5):
    """Return a data set whose images have their index as the first pixel."""
    train, test = (np.asarray(labels, np.int64) for labels in (train_labels, test_labels))
    images = [np.zeros((len(labels), 1, 2, 3), np.uint8) for labels in (train, test)]
    for array in images:
        array[:, 0, 0, 0] = np.arange(len(array))
    return ImageData("made", images[0], train, images[1], test, classes, (0.5,), (0.25,))


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), st.data())
def test_subset_keeps_the_shares_of_the_classes(labels, data):
    whole = make_data(labels)
    count = data.draw(st.integers(1, len(labels)))
    part = whole.subset(train_images=count)
    indices = part.train_images[:, 0, 0, 0]
    assert len(indices) == count
    assert (np.diff(indices.astype(int)) > 0).all()
    np.testing.assert_array_equal(part.train_labels, whole.train_labels[indices])
    present = len(np.unique(whole.train_labels))
    for label in range(5):
        share = (whole.train_labels == label).mean()
        # Half an image, and the class's share of half an image per class: 1 in total if classes are equally large.
        allowed = 0.5 + share * present / 2
        assert abs((part.train_labels == label).sum() - share * count) <= allowed + 1e-9
    smaller = whole.subset(train_images=data.draw(st.integers(1, count))).train_images[:, 0, 0, 0]
    assert set(smaller) <= set(indices)


def test_subset_is_the_same_on_every_machine():
    part = make_data([0, 1, 2, 3, 4] * 8, [0, 1] * 10).subset(7, 4)
    assert part.train_images[:, 0, 0, 0].tolist() == [2, 3, 11, 13, 20, 21, 39]
    assert part.test_images[:, 0, 0, 0].tolist() == [2, 9, 16, 19]


def test_subset_of_everything_is_the_data_set_itself():
    whole = make_data([0, 1, 2])
    assert whole.subset() is whole
    assert whole.subset(3, 2) is whole


def test_subset_larger_than_the_data_set_is_refused():
    with pytest.raises(InputError, match="made: train_images must be 1 to 3, not 4"):
        make_data([0, 1, 2]).subset(4)
    with pytest.raises(InputError, match="made: test_images must be 1 to 2, not 0"):
        make_data([0, 1, 2]).subset(None, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": np.zeros((3, 1, 2, 3))},
            "train_images must be an array of uint8, uint16 or float32 with 4 dimensions, not float64",
        ),
        (
            {"test_images": [[1]]},
            "test_images must be an array of uint8, uint16 or float32 with 4 dimensions, not list",
        ),
        ({"train_labels": np.zeros(2, np.int64)}, "train has 3 images and 2 labels"),
        ({"train_labels": np.array([0, 1, 5])}, "train_labels must be 0 to 4, not 0 to 5"),
        (
            {"test_images": np.zeros((2, 1, 3, 3), np.uint8)},
            r"training images are \(1, 2, 3\), test images \(1, 3, 3\)",
        ),
        ({"std": (0.0,)}, "std above 0"),
        ({"mean": (0.1, 0.2)}, "one number for each of 1 channels"),
    ],
)
def test_invalid_arrays_are_refused(change, message):
    with pytest.raises(InputError, match=f"made: .*{message}"):
        dataclasses.replace(make_data([0, 1, 2]), **change)
