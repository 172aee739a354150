"""Libraries run code when they are loaded, so one that other users could have written is rebuilt."""

import hashlib
import logging
import os
import shutil
import subprocess
import sys

import pytest

from designspace.support import compiled

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="libraries are built on Linux, with a compiler"
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A C file; libraries are built in temporary folders of the test."""
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("DESIGNSPACE_KERNELS", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = tmp_path / "five.c"
    path.write_text("int five(void) { return 5; }\n")
    return path


@pytest.fixture
def evil(tmp_path):
    """A library that creates a file when it is loaded; the test fails if that file exists."""
    ran = tmp_path / "ran"
    code = f'#include <stdio.h>\n__attribute__((constructor)) static void f(void) {{ fclose(fopen("{ran}", "w")); }}\n'
    (tmp_path / "evil.c").write_text(code)
    command = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / "evil.so"), str(tmp_path / "evil.c")]
    subprocess.run(command, check=True)
    yield tmp_path / "evil.so"
    assert not ran.exists()


def build(source):
    library = compiled.build("five", [source], ["-O1"])
    assert library.five() == 5
    return library


def folders_with_libraries(tmp_path):
    return sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("five-*.so"))


def test_a_library_is_built_once(source, tmp_path):
    build(source)
    (path,) = (tmp_path / "data" / "kernels").iterdir()
    before = path.stat().st_mtime_ns
    build(source)
    assert path.stat().st_mtime_ns == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_only_the_owner_can_write_to_a_library_with_any_umask(source, tmp_path):
    before = os.umask(0)
    try:
        build(source)
    finally:
        os.umask(before)
    (path,) = (tmp_path / "data" / "kernels").iterdir()
    assert path.stat().st_mode & 0o022 == 0
    assert path.parent.stat().st_mode & 0o022 == 0


def replace(path, evil):
    path.unlink()
    shutil.copy(evil, path)


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_library_that_others_can_write_to_is_rebuilt(source, evil, tmp_path, mode):
    build(source)
    (path,) = (tmp_path / "data" / "kernels").iterdir()
    replace(path, evil)
    path.chmod(mode)
    build(source)
    assert path.stat().st_mode & 0o022 == 0


def test_a_link_instead_of_a_library_is_replaced(source, evil, tmp_path):
    build(source)
    (path,) = (tmp_path / "data" / "kernels").iterdir()
    path.unlink()
    path.symlink_to(evil)
    build(source)
    assert not path.is_symlink()
    assert evil.exists()


def test_a_damaged_library_is_rebuilt(source, tmp_path):
    build(source)
    (path,) = (tmp_path / "data" / "kernels").iterdir()
    for damage in (b"", b"\x7fELF", path.read_bytes()[:100]):
        path.unlink()
        path.write_bytes(damage)
        build(source)
    path.unlink()
    path.mkdir()
    build(source)
    assert path.is_file()


def test_a_folder_that_is_a_link_is_not_used(source, evil, tmp_path):
    build(source)
    kernels = tmp_path / "data" / "kernels"
    (path,) = kernels.iterdir()
    replace(path, evil)
    kernels.rename(tmp_path / "elsewhere")
    kernels.symlink_to(tmp_path / "elsewhere")
    build(source)
    assert folders_with_libraries(tmp_path) == ["elsewhere", "temporary"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of files")
def test_a_library_of_another_user_is_not_loaded(source, evil, tmp_path):
    build(source)
    kernels = tmp_path / "data" / "kernels"
    (path,) = kernels.iterdir()
    replace(path, evil)
    os.chown(path, 12345, 12345)
    build(source)
    assert path.stat().st_uid == 0
    replace(path, evil)
    os.chown(kernels, 12345, 12345)
    build(source)
    assert folders_with_libraries(tmp_path) == ["data", "temporary"]
    (own,) = (tmp_path / "temporary").iterdir()
    (path,) = own.iterdir()
    replace(path, evil)
    os.chown(own, 12345, 12345)
    build(source)  # only for this process
    assert list((tmp_path / "temporary").iterdir()) == [own]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: content[:100] + b"x" + content[101:],
        lambda content: content[:-32],
    ],
    ids=["first half", "one byte missing", "zeros", "one byte changed", "without its digest"],
)
def test_an_incomplete_library_is_rebuilt(damage, source, tmp_path):
    build(source)
    (path,) = (tmp_path / "data" / "kernels").iterdir()
    content = path.read_bytes()
    path.unlink()  # this process has loaded it, so the damaged one must be another file
    path.write_bytes(damage(content))
    build(source)
    assert path.read_bytes()[-32:] == hashlib.sha256(path.read_bytes()[:-32]).digest()
    assert list((tmp_path / "data" / "kernels").iterdir()) == [path]


@pytest.mark.parametrize("reason", ["a file instead of the folder", "no home folder"])
def test_a_library_that_cannot_be_cached_is_still_used(reason, source, tmp_path, monkeypatch):
    if reason == "no home folder":
        monkeypatch.delenv("DESIGNSPACE_DATA")
        monkeypatch.setattr("pathlib.Path.home", _no_home)
    else:
        (tmp_path / "data").write_text("")
    build(source)


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_libraries_loaded_one_after_another_are_not_confused(source, tmp_path):
    build(source)
    other = tmp_path / "six.c"
    other.write_text("int six(void) { return 6; }\n")
    assert compiled.build("six", [other], ["-O1"]).six() == 6
    assert build(source)


def test_a_failure_of_the_compiler_is_logged(tmp_path, monkeypatch, caplog):
    source = tmp_path / "wrong.c"
    source.write_text("not C")
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert compiled.build("some", [source], ["-O1"]) is None
    assert "continuing without compiled some: " in caplog.text
    assert list((tmp_path / "kernels").iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert compiled.build("some", [source], []) is None
