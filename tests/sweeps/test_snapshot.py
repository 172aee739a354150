import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from full_disks import no_file_larger_than

from designspace.support.errors import RunError
from designspace.sweeps import snapshot


@pytest.fixture
def copy(tmp_path):
    return snapshot.snapshot(tmp_path / "code")


def files(folder):
    """Return every file below a folder with its content; links and empty folders are included."""
    paths = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink() or not any(path.iterdir())]
    regular = {path for path in paths if path.is_file() and not path.is_symlink()}
    return {str(path.relative_to(folder)): path.read_bytes() if path in regular else None for path in paths}


def imported_from(copy, code="import designspace; print(designspace.__file__)", **variables):
    """Return the output of a Python process in the checkout that imports the package from a copy."""
    environment = {**os.environ, **snapshot.environment(copy), **variables}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=snapshot.PACKAGE.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_copy_is_imported(copy):
    assert snapshot.snapshot(copy.parent) == copy  # the same code gives the same copy
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert imported_from(copy) == str(copy / "designspace" / "__init__.py")


def test_different_code_gives_another_copy(copy, tmp_path, monkeypatch):
    checkout = Path(shutil.copytree(copy / "designspace", tmp_path / "checkout" / "designspace"))
    monkeypatch.setattr(snapshot, "PACKAGE", checkout)
    assert snapshot.snapshot(copy.parent) == copy
    with (checkout / "__init__.py").open("a") as file:
        file.write("# edited\n")
    assert snapshot.snapshot(copy.parent) != copy


def test_a_full_disk_leaves_no_partial_copy(tmp_path):
    with no_file_larger_than(16384), pytest.raises(RunError, match="File too large"):
        snapshot.snapshot(tmp_path / "code")
    assert list((tmp_path / "code").iterdir()) == []


def test_no_byte_code_is_written_into_a_copy(copy):
    before = files(copy)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    code = "from designspace.sweeps import worker; worker.load_modules(); print(worker.__file__)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **snapshot.environment(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.startswith(str(copy))
    assert files(copy) == before


def _truncate_byte_code(copy):
    """Truncate the byte code, as a full disk did in copies of earlier versions."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(copy)], check=True)
    for path in copy.rglob("*.pyc"):
        os.truncate(path, path.stat().st_size // 2)


def _replace_by_link(path, target):
    path.rename(target)
    path.symlink_to(target)


DAMAGE = {
    "a file is missing": lambda copy: (copy / "designspace/sweeps/messages.py").unlink(),
    "a folder is missing": lambda copy: shutil.rmtree(copy / "designspace/networks"),
    "a file is cut off": lambda copy: os.truncate(copy / "designspace/sweeps/messages.py", 100),
    "one byte differs": lambda copy: _change_first_byte(copy / "designspace/__init__.py"),
    "byte code is cut off": _truncate_byte_code,
    "an extra module": lambda copy: (copy / "sitecustomize.py").write_text("raise SystemExit('ran')"),
    "an extra package": lambda copy: shutil.copytree(copy / "designspace", copy / "numpy"),
    "a compiled module that would be preferred": lambda copy: (copy / "designspace/launch.so").write_bytes(b"x"),
    "a file is a link": lambda copy: _replace_by_link(copy / "designspace/launch.py", copy.parent.parent / "launch.py"),
    "a folder is a link": lambda copy: _replace_by_link(copy / "designspace/data", copy.parent.parent / "data"),
    "a file is a folder": lambda copy: (
        (copy / "designspace/launch.py").unlink(),
        (copy / "designspace/launch.py").mkdir(),
    ),
    "a folder is a file": lambda copy: (shutil.rmtree(copy / "designspace/data"), (copy / "designspace/data").touch()),
    "a file is a pipe": lambda copy: (
        (copy / "designspace/launch.py").unlink(),
        os.mkfifo(copy / "designspace/launch.py"),
    ),
    "it is a link": lambda copy: _replace_by_link(copy, copy.parent.parent / "elsewhere"),
    "it is a file": lambda copy: (shutil.rmtree(copy), copy.touch()),
    "it is empty": lambda copy: (shutil.rmtree(copy), copy.mkdir()),
}


def _change_first_byte(path):
    content = path.read_bytes()
    path.write_bytes(b"#" + content[1:])


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_copy_that_differs_is_repaired(damage, copy):
    whole = files(copy)
    damage(copy)
    assert snapshot.snapshot(copy.parent) == copy
    assert files(copy) == whole
    assert not copy.is_symlink()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert imported_from(copy) == str(copy / "designspace" / "__init__.py")


def test_targets_of_links_are_never_changed(copy, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years of work")
    (copy / "designspace" / "precious").symlink_to(tmp_path / "precious")
    shutil.rmtree(copy / "designspace" / "data")
    (copy / "designspace" / "data").symlink_to(tmp_path / "precious")
    snapshot.snapshot(copy.parent)
    assert files(tmp_path / "precious") == {"thesis.tex": b"years of work"}


def test_simultaneous_repairs_give_complete_copies_and_no_missing_files(copy):
    """While eight launches repair a copy at the same time, an intact file is never missing."""
    whole = files(copy)
    for name in ("sweeps/messages.py", "sweeps/worker.py", "launch.py"):
        (copy / "designspace" / name).write_text("damaged")
    (copy / "designspace" / "__pycache__").mkdir()
    results, absences, is_over = [], [], threading.Event()

    def look():
        while not is_over.is_set():
            if not (copy / "designspace" / "launch.py").is_file():
                absences.append(1)

    def repair():
        results.append(snapshot.snapshot(copy.parent))

    watcher = threading.Thread(target=look)
    launches = [threading.Thread(target=repair) for _ in range(8)]
    watcher.start()
    for thread in launches:
        thread.start()
    for thread in launches:
        thread.join()
    is_over.set()
    watcher.join()
    assert results == [copy] * 8
    assert absences == []
    assert files(copy) == whole


def test_a_repair_on_a_full_disk_is_an_error(copy, monkeypatch):
    (copy / "designspace" / "launch.py").write_text("damaged")

    def write(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(RunError, match="cannot write .*No space left on device"):
        snapshot.snapshot(copy.parent)
