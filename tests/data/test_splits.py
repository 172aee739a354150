import numpy as np
import pytest

from designspace.data.splits import find_splits
from designspace.support.errors import InputError


def put(folder, **counts):
    """Create empty files as images, because nothing here reads them."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (folder / name / f"{i}.jpg").touch()
    return folder


@pytest.mark.parametrize("name", ["val", "test", "validation"])
def test_folders_of_splits_are_listed(tmp_path, name):
    put(tmp_path / "train", a=3, b=2)
    put(tmp_path / name, a=1, b=1)
    splits = find_splits(tmp_path)
    assert [len(splits[split]) for split in ("train", "test")] == [5, 2]
    assert splits["test"].path == tmp_path / name


def test_val_is_preferred_among_folders_of_test_images(tmp_path):
    for name in ("train", "val", "test"):
        put(tmp_path / name, a=1, b=1)
    assert find_splits(tmp_path)["test"].path == tmp_path / "val"


@pytest.mark.parametrize("heldout", [0.1, 0.25, 0.5])
def test_a_share_of_every_class_is_held_out(tmp_path, heldout):
    put(tmp_path, a=20, b=40, c=60)
    splits = find_splits(tmp_path, heldout)
    train, test = splits["train"], splits["test"]
    assert np.bincount(test.labels).tolist() == [round(heldout * count) for count in (20, 40, 60)]
    assert np.bincount(train.labels).tolist() == [count - round(heldout * count) for count in (20, 40, 60)]
    assert not set(train.files) & set(test.files)
    assert len(set(train.files) | set(test.files)) == 120
    again = find_splits(tmp_path, heldout)
    assert (again["train"].files, again["test"].files) == (train.files, test.files)
    for images in (train, test):
        assert all(file[0] == images.classes[label] for file, label in zip(images.files, images.labels, strict=True))


def test_folders_with_another_layout_are_refused(tmp_path):
    put(tmp_path / "one", a=1, b=4)
    with pytest.raises(
        InputError, match=r"one must hold train/<class>/<image> and a folder val or test or validation with"
    ):
        find_splits(tmp_path / "one")
    for heldout in (0, 1, -0.1, "a", True):
        with pytest.raises(
            InputError, match="heldout.* must be a (number|fraction of the images, above 0 and below 1)"
        ):
            find_splits(tmp_path / "one", heldout)
    with pytest.raises(InputError, match=r"heldout=0.2 leaves no image for testing of the classes a"):
        find_splits(tmp_path / "one", 0.2)
    put(tmp_path / "two" / "train", a=1, b=1)
    put(tmp_path / "two" / "val", a=1, c=1)
    with pytest.raises(InputError, match="but .*train has no c and .*val has no b; add images"):
        find_splits(tmp_path / "two")
    with pytest.raises(InputError, match="two has train and val, so heldout must be null, not 0.1"):
        find_splits(tmp_path / "two", 0.1)
    with pytest.raises(InputError, match="nothing is not a folder"):
        find_splits(tmp_path / "nothing", 0.1)
