from pathlib import Path

import pytest

from designspace.data import default_root, facts, load, names, prepare, shape
from designspace.support.errors import InputError


def test_shape_needs_no_files():
    assert names() == ["fashion_mnist"]
    assert shape("fashion_mnist") == (1, 28, 10)


def test_facts_need_no_files_and_are_those_of_the_images(fashion_mnist):
    images = load("fashion_mnist", fashion_mnist)
    mean, std, classes = facts("fashion_mnist")
    assert (mean, std) == (images.mean, images.std)
    assert len(classes) == images.num_classes
    pixels = images.train_images / 255
    assert (pixels.mean(), pixels.std()) == (pytest.approx(mean[0], abs=1e-5), pytest.approx(std[0], abs=1e-5))


@pytest.mark.parametrize("function", [shape, facts, load, prepare])
def test_unknown_name_lists_what_there_is(function):
    with pytest.raises(InputError, match="unknown data set 'mnist'; there is: fashion_mnist"):
        function("mnist")


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("DESIGNSPACE_DATA")
    assert default_root() == Path.home() / ".cache" / "designspace"
