from pathlib import Path

import pytest

from designspace.data import default_root, load, names, prepare, shape
from designspace.support.errors import InputError


def test_shape_needs_no_files():
    assert names() == ["fashion_mnist"]
    assert shape("fashion_mnist") == (1, 28, 10)


@pytest.mark.parametrize("function", [shape, load, prepare])
def test_unknown_name_lists_what_there_is(function):
    with pytest.raises(InputError, match="unknown data set 'mnist'; there is: fashion_mnist"):
        function("mnist")


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("DESIGNSPACE_DATA")
    assert default_root() == Path.home() / ".cache" / "designspace"
