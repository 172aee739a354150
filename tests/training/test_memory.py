import numpy as np
import torch

from designspace.training.memory import PeakMemory

MIB = 1 << 20


def test_the_peak_counts_and_not_what_is_left():
    memory = PeakMemory(torch.device("cpu"))
    block = np.ones(64 * MIB, np.uint8)
    del block
    assert 60 * MIB < memory.bytes() < 90 * MIB


def test_what_was_freed_before_does_not_count():
    """The C library keeps freed memory for later, which is not the next training's need."""
    blocks = [np.ones(MIB // 2, np.uint8) for _ in range(128)]
    del blocks
    memory = PeakMemory(torch.device("cpu"))
    kept = np.ones(8 * MIB, np.uint8)
    assert 6 * MIB < memory.bytes() < 30 * MIB
    assert kept.size == 8 * MIB


def test_what_cannot_be_told_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr("designspace.training.memory._CLEAR", tmp_path / "none" / "clear_refs")
    assert PeakMemory(torch.device("cpu")).bytes() is None
