import os
import stat

import pytest

from designspace.support.errors import RunError
from designspace.support.files import atomic_writer, read_json, write_folder, write_json, write_text, write_together


def test_a_failed_write_keeps_the_old_content_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half():
        with atomic_writer(path) as file:
            file.write(b"half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_files_are_as_readable_as_the_umask_allows(tmp_path):
    old = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_nan_is_not_written_as_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"error": float("nan")})
    assert not list(tmp_path.iterdir())


def test_an_error_in_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"error": 1')
    with pytest.raises(RunError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_a_file_instead_of_a_folder_is_a_run_error(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "a" / "b.txt", "x")


def test_a_full_disk_keeps_the_old_file(full_disk):
    path = full_disk / "a.txt"
    write_text(path, "old")
    with pytest.raises(RunError, match="cannot write .*: (No space left on device|File too large)"):
        write_text(path, "x" * 100_000)
    assert path.read_text() == "old"
    assert [file.name for file in full_disk.iterdir()] == ["a.txt"]


def test_texts_in_parts_are_written_all_or_none(tmp_path):
    def parts(fails):
        yield "new\n"
        if fails:
            raise ValueError("no more")
        yield "lines\n"

    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    write_together({first: "old", second: "old"})
    with pytest.raises(ValueError, match="no more"):
        write_together({first: "new", second: parts(fails=True)})
    assert (first.read_text(), second.read_text()) == ("old", "old")
    write_together({first: "new", second: parts(fails=False)})
    assert (first.read_text(), second.read_text()) == ("new", "new\nlines\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_a_folder_is_created_complete_or_updated(tmp_path):
    old = os.umask(0o022)
    try:
        write_folder(tmp_path / "new" / "folder", {"a": b"1", "b": b"2"})
    finally:
        os.umask(old)
    folder = tmp_path / "new" / "folder"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    for name in ("mine", "stale"):
        (folder / name).write_text(name)
    write_folder(folder, {"b": b"3"}, stale=["stale", "never there"])
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "1", "b": "3", "mine": "mine"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_written_leaves_no_files(tmp_path, full_disk):
    with pytest.raises(RunError, match="cannot write"):
        write_folder(full_disk / "folder", {"a": b"x", "b": bytes(100_000)})
    assert not list(full_disk.iterdir())
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(RunError, match="cannot write"):
            write_folder(path, {"a": b"x"})
    assert (tmp_path / "file").is_file()
