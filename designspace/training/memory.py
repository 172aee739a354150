"""Measurement of the peak memory of a training, beyond the memory in use before it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
from pathlib import Path

import torch

from designspace.training.optimiser import SGD

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Measurement that starts on construction: the allocator's memory on a GPU, resident memory on a CPU.

    On a CPU it requires Linux. The C library keeps freed memory, so it is trimmed first; otherwise a small network
    after a large one would seem to need nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: int | None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        _load_libraries()
        self._before = None
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
            _CLEAR.write_text("5")  # resets the peak resident size (proc(5))
            self._before = _resident("VmRSS")

    def bytes(self) -> int | None:
        """Return the peak memory since construction beyond that at construction, or None if it cannot be measured."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device)) - self._before
        highest = _resident("VmHWM")
        return None if highest is None else max(0, highest - self._before)


@functools.cache
def _load_libraries() -> None:
    """Make torch load its libraries before the first step, so that they are not counted for the first training."""
    with torch.random.fork_rng(devices=[]):  # the layer draws weights, but a training must not change the global state
        layer = torch.nn.Conv2d(8, 8, 3)
    layer(torch.zeros(2, 8, 8, 8)).mean((2, 3)).log_softmax(1).sum().backward()
    SGD(layer.parameters(), lr=0.1, momentum=0.9).step()


def _resident(field: str) -> int | None:
    """Return a field of the process's memory status, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.M)
    return int(match[1]) * 1024 if match else None
