import os
import subprocess
import sys
from pathlib import Path

import pytest

from designspace.support.errors import InputError
from designspace.support.folders import default_root, expanded


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home folder: HOME is not set and the user id has no name."""

    def unknown(*_):
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("DESIGNSPACE_DATA", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("pwd.getpwnam", unknown)


def test_without_a_home_folder_the_error_names_the_variable_to_set(homeless, monkeypatch):
    with pytest.raises(InputError, match=r"no home folder \(HOME is not set\).*export DESIGNSPACE_DATA="):
        default_root()
    for path in ("~/images", "~nobody-of-that-name/images"):
        with pytest.raises(InputError, match="type the full path"):
            expanded(path)
    assert expanded("/images") == Path("/images")
    monkeypatch.setenv("DESIGNSPACE_DATA", "/data")
    assert default_root() == Path("/data")


COMMANDS = [
    "sample space=RegNetX n=1 run=r",
    "launch run=runs/none dry_run=true",
    "status run=runs/none",
    "analyze runs=[runs/none]",
    "prepare data=fashion_mnist",
    "train model=regnetx_200mf data=fashion_mnist dry_run=true",
    "verify model=regnetx_200mf data=~/images",
    "verify model=regnetx_200mf weights=true data=.",
    "explore experiment=quickstart n=1",
    "export model=regnetx_200mf weights=~/x.pth",
    "collect run=runs/none out=x",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_no_command_ends_in_a_traceback_without_a_home_folder(line, tmp_path):
    name, *arguments = line.split()
    program = (
        "import pwd, runpy, sys\n"
        "def unknown(*_): raise KeyError('uid not found')\n"
        "pwd.getpwuid = pwd.getpwnam = unknown\n"
        f"sys.argv = {[name, *arguments]!r}\n"
        f"runpy.run_module('designspace.{name}', run_name='__main__')\n"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "DESIGNSPACE_DATA")}
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in finished.stderr
    assert finished.returncode in (0, 1, 2)
