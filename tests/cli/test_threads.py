"""Threads of torch that wait for each other sleep, unless the user says otherwise."""

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


def seen_by_torch(command, **variables):
    """Which variables about waiting stand in the environment when a command first imports torch."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    program = PROGRAM.replace("{command}", command)
    done = subprocess.run(
        [sys.executable, "-c", program], env={**plain, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("command", ["train", "verify", "export", "launch", "explore", "analyze"])
def test_before_torch_is_loaded(command):
    assert seen_by_torch(command) == str(WAITING)


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_set_counts(variable):
    assert seen_by_torch("train", **{variable: "7"}) == str({variable: "7"})
