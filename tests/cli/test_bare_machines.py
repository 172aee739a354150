"""The commands on machines that lack what Linux with developers' tools has: /proc, a C compiler, OpenMP."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from sweep_runs import make_run

TOOLS = ("sh", "env", "git", "uname", "mount")
COMPILER = """\
#!/bin/sh
for word; do
  [ "$word" != -fopenmp ] || { echo "clang: error: unsupported option '-fopenmp'" >&2; exit 1; }
done
exec {cc} "$@"
"""


@pytest.fixture
def machine(tmp_path, data_root):
    """Return a function that runs shell lines with few programs on the path, and with extra environment variables."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in TOOLS:
        (programs / name).symlink_to(shutil.which(name))
    environment = {
        "PATH": str(programs),
        "HOME": str(tmp_path),
        "DESIGNSPACE_DATA": str(data_root),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def run(*lines, before=(), **variables):
        return subprocess.run(
            [*before, shutil.which("sh"), "-ec", "\n".join(lines)],
            cwd=tmp_path,
            env={**environment, **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    return run


def study(folder):
    """Return the lines of a small study: launch, status, analyze, export."""
    make_run(folder / "run", n=3, epochs=1)
    command = f"{sys.executable} -m designspace"
    return [
        f"{command}.launch run=run",
        f"{command}.status run=run",
        f"{command}.analyze runs=run",
        f"{command}.export run=run rank=1 to=best",
    ]


def assert_complete(folder, finished):
    assert finished.returncode == 0, finished.stdout
    assert "Traceback" not in finished.stdout
    assert list(pd.read_csv(folder / "run/results.csv")["status"]) == ["done"] * 3
    assert (folder / "run/report.html").is_file()
    assert (folder / "best/weights.safetensors").is_file()


def test_a_study_without_proc_and_without_a_compiler(machine, tmp_path):
    unshare = [shutil.which("unshare"), "--map-root-user", "--mount"]
    hidden = ["mount -t tmpfs none /proc", "test ! -e /proc/self"]
    assert_complete(tmp_path, machine(*hidden, *study(tmp_path), before=unshare))


def test_a_study_with_a_compiler_without_openmp(machine, tmp_path):
    compiler = tmp_path / "bin" / "cc"
    compiler.write_text(COMPILER.replace("{cc}", shutil.which("cc")))
    compiler.chmod(0o755)
    finished = machine(*study(tmp_path))
    assert_complete(tmp_path, finished)
    said = finished.stdout + "".join(path.read_text() for path in (tmp_path / "run").rglob("*.log"))
    assert "continuing without compiled" in said
    assert "unsupported option '-fopenmp'" in said
