import os
import subprocess
import sys

import pytest

from designspace.support.errors import RunError
from designspace.sweeps import snapshot


def test_the_copy_is_what_is_imported(tmp_path):
    place = snapshot.snapshot(tmp_path / "code")
    assert snapshot.snapshot(tmp_path / "code") == place  # the same code, the same copy
    assert [path.name for path in (tmp_path / "code").iterdir()] == [place.name]
    (place / "designspace" / "__init__.py").write_text("marked = True")
    checkout = snapshot.PACKAGE.parent
    command = [sys.executable, "-c", "import designspace; print(designspace.marked)"]
    # Not even from inside the checkout is that one taken.
    said = subprocess.run(
        command, cwd=checkout, env={**os.environ, **snapshot.environment(place)}, capture_output=True, text=True
    )
    assert said.stdout == "True\n", said.stderr


def test_other_code_is_another_copy(tmp_path, monkeypatch):
    first = snapshot.snapshot(tmp_path / "code")
    monkeypatch.setattr(snapshot, "PACKAGE", first / "designspace")
    assert snapshot.snapshot(tmp_path / "again").name == first.name
    with (first / "designspace" / "__init__.py").open("a") as file:
        file.write("# edited\n")
    assert snapshot.snapshot(tmp_path / "again").name != first.name


def test_a_full_disk_leaves_no_half_copy(full_disk):
    with pytest.raises(RunError, match="No space left"):
        snapshot.snapshot(full_disk / "code")
    assert list((full_disk / "code").iterdir()) == []
