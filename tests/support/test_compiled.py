"""Libraries built from C are kept whole or not at all, and loaded only if they are whole."""

import logging
import os
import shutil

import pytest

from designspace.support import compiled

pytestmark = pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler")


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build a library whose function gives 42."""
    monkeypatch.delenv("DESIGNSPACE_KERNELS", raising=False)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "data"))
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }\n")
    return lambda: compiled.build("answer", [source], ["-O1"])


def kept(tmp_path):
    return list((tmp_path / "data" / "kernels").iterdir())


def test_it_is_built_once(build, tmp_path, monkeypatch):
    assert build().answer() == 42
    (path,) = kept(tmp_path)
    monkeypatch.setattr(compiled, "_compile", None)
    assert build().answer() == 42
    assert kept(tmp_path) == [path]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(path.read_bytes()[:-32]),
    ],
    ids=["half of it", "empty", "a byte short", "zeros", "as earlier versions kept it"],
)
def test_what_is_not_whole_is_built_anew(damage, build, tmp_path):
    build()
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    path.unlink()  # this process has it loaded: what follows must be another file
    path.write_bytes(whole)
    damage(path)
    assert build().answer() == 42
    assert compiled._is_whole(path)
    assert kept(tmp_path) == [path]


@pytest.mark.parametrize("reason", ["the disk is full", "there is no home folder"])
def test_where_it_cannot_be_kept_it_is_used_all_the_same(reason, build, tmp_path, monkeypatch, caplog):
    if reason == "the disk is full":
        (tmp_path / "data").write_text("a file, where a folder would be")
    else:
        monkeypatch.delenv("DESIGNSPACE_DATA")
        monkeypatch.setattr("pathlib.Path.home", _no_home)
    with caplog.at_level(logging.WARNING):
        assert build().answer() == 42
    assert "cannot write" in caplog.text or "DESIGNSPACE_DATA" in caplog.text


def _no_home():
    raise RuntimeError("Could not determine home directory.")
