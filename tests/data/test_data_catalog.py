from pathlib import Path

import pytest

from designspace.data import counts, default_root, facts, fetched_names, load, names, prepare, shape
from designspace.data.catalog import check_name
from designspace.support.errors import InputError


def test_shapes_and_counts_need_no_files(tmp_path):
    assert names(tmp_path) == fetched_names() == ["fashion_mnist", "cifar10", "cifar100"]
    assert [shape(name).fitting for name in fetched_names()] == [(1, 28, 10), (3, 32, 10), (3, 32, 100)]
    assert [counts(name) for name in fetched_names()] == [(60_000, 10_000), (50_000, 10_000), (50_000, 10_000)]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../a", "a b", None, 3])
def test_invalid_names_of_packed_data_sets_are_refused(name):
    with pytest.raises(InputError, match="name must consist of letters, digits"):
        check_name(name)
    with pytest.raises(InputError, match="name=cifar10 belongs to a data set that is fetched"):
        check_name("cifar10")
    assert check_name("flowers-64_b.2") == "flowers-64_b.2"


@pytest.mark.parametrize("function", [shape, facts, counts, load, prepare])
def test_the_error_for_an_unknown_name_lists_the_data_sets(function):
    with pytest.raises(
        InputError, match="unknown data set 'mnist'; choose from: fashion_mnist, cifar10, .*data=folder name="
    ):
        function("mnist")


def test_default_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("DESIGNSPACE_DATA")
    assert default_root() == Path.home() / ".cache" / "designspace"
