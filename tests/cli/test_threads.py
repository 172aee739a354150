"""Threads of torch sleep while they wait for each other, unless the user configures something else."""

import os
import subprocess
import sys

import pytest

from designspace.cli import WAITING

PROGRAM = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "torch":
            print({key: value for key, value in os.environ.items() if key.startswith(("OMP_W", "GOMP_", "KMP_"))})
            sys.exit()

sys.meta_path.insert(0, Watch())
import designspace.{command}
import torch
"""


def variables_at_import(command, **variables):
    """Return the environment variables about waiting threads when a command first imports torch."""
    cleaned = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    program = PROGRAM.replace("{command}", command)
    finished = subprocess.run(
        [sys.executable, "-c", program], env={**cleaned, **variables}, capture_output=True, text=True, check=True
    )
    return finished.stdout.strip()


@pytest.mark.parametrize("command", ["train", "verify", "export", "launch", "explore", "analyze"])
def test_the_variables_are_set_before_torch_is_imported(command):
    assert variables_at_import(command) == str(WAITING)


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_variables_of_the_user_take_precedence(variable):
    assert variables_at_import("train", **{variable: "7"}) == str({variable: "7"})
