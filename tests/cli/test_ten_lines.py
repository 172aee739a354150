"""The ten lines of Python in the README on Fashion-MNIST; one of two test files that need the real images."""

import os
import re
import subprocess
import sys

from test_commands import in_readme


def test_the_ten_lines_of_the_readme_run(tmp_path, fashion_mnist):
    [code] = in_readme("The library")
    assert len(code.strip().splitlines()) <= 12
    # One thread, since on a busy machine several would wait for each other in every layer.
    environment = {**os.environ, "DESIGNSPACE_DATA": str(fashion_mnist), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert 10 < float(re.fullmatch(r"best error: ([\d.]+)%\n", finished.stdout)[1]) < 30  # it has learned something
    assert (tmp_path / "edf.svg").read_text().startswith("<?xml")
