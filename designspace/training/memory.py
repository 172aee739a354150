"""How much memory a training needs at its highest, beyond what was there when it began."""

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
    """Begins to watch when it is made: the allocator's memory on a GPU, resident memory of the process on a CPU.

    On a CPU it needs Linux. The C library keeps what is freed, so it is asked to let go first; else a small network
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
            _CLEAR.write_text("5")  # the highest resident size starts anew (proc(5))
            self._before = _resident("VmRSS")

    def bytes(self) -> int | None:
        """Bytes at the highest since the beginning, less those at the beginning; None where that cannot be told."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device)) - self._before
        highest = _resident("VmHWM")
        return None if highest is None else max(0, highest - self._before)


@functools.cache
def _load_libraries() -> None:
    """Make torch load what it loads at the first step, so that a process's first training is not blamed for it."""
    layer = torch.nn.Conv2d(8, 8, 3)
    layer(torch.zeros(2, 8, 8, 8)).mean((2, 3)).log_softmax(1).sum().backward()
    SGD(layer.parameters(), lr=0.1, momentum=0.9).step()


def _resident(which: str) -> int | None:
    """A line of the process's memory status, in bytes."""
    found = re.search(rf"^{which}:\s+(\d+) kB", _STATUS.read_text(), re.M)
    return int(found[1]) * 1024 if found else None
