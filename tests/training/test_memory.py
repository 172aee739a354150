from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from designspace.training import memory
from designspace.training.memory import PeakMemory

BEGIN = "import numpy as np, torch; from designspace.training.memory import PeakMemory; MIB = 1 << 20; device = 'cpu'\n"


def peak(code):
    """Run code in a separate process, where no other test's garbage is freed, and return the measured peak in MiB."""
    lines = f"{BEGIN}{code}\nprint(memory.bytes() / MIB)"
    finished = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return float(finished.stdout)


def test_the_peak_is_measured_even_if_the_memory_is_freed():
    measured = peak("memory = PeakMemory(torch.device(device)); block = np.ones(64 * MIB, np.uint8); del block")
    assert measured == pytest.approx(64, abs=8)


def test_memory_freed_before_does_not_count():
    """The C library keeps freed memory, which must not be counted for the next training."""
    measured = peak(
        "from designspace.models.cpu import keep_freed_memory; keep_freed_memory()  # keeps freed memory from now on\n"
        "blocks = [np.ones(MIB, np.uint8) for _ in range(128)]; del blocks\n"
        "memory = PeakMemory(torch.device(device)); block = np.ones(32 * MIB, np.uint8)"
    )
    assert measured == pytest.approx(32, abs=8)


def test_the_global_random_state_stays_the_same():
    memory._load_libraries.cache_clear()
    before = torch.get_rng_state()
    PeakMemory(torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())


def test_the_peak_is_none_if_it_cannot_be_measured(monkeypatch, tmp_path):
    monkeypatch.setattr("designspace.training.memory._CLEAR", tmp_path / "none" / "clear_refs")
    assert PeakMemory(torch.device("cpu")).bytes() is None
