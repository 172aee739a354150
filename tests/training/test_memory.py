from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from designspace.training.memory import PeakMemory

BEGIN = "import numpy as np, torch; from designspace.training.memory import PeakMemory; MIB = 1 << 20; device = 'cpu'\n"


def peak(code):
    """What the lines measure, in MiB, in a process of their own: other tests' garbage would go in the middle of it."""
    lines = f"{BEGIN}{code}\nprint(memory.bytes() / MIB)"
    finished = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return float(finished.stdout)


def test_the_peak_counts_and_not_what_is_left():
    found = peak("memory = PeakMemory(torch.device(device)); block = np.ones(64 * MIB, np.uint8); del block")
    assert found == pytest.approx(64, abs=8)


def test_what_was_freed_before_does_not_count():
    """The C library keeps freed memory for later, which is not the next training's need."""
    found = peak(
        "from designspace.models.cpu import keep_freed_memory; keep_freed_memory()  # from now on much is kept\n"
        "blocks = [np.ones(MIB, np.uint8) for _ in range(128)]; del blocks\n"
        "memory = PeakMemory(torch.device(device)); block = np.ones(32 * MIB, np.uint8)"
    )
    assert found == pytest.approx(32, abs=8)


def test_what_cannot_be_told_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr("designspace.training.memory._CLEAR", tmp_path / "none" / "clear_refs")
    assert PeakMemory(torch.device("cpu")).bytes() is None
