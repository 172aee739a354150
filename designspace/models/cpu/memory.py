"""Memory of the tensors that kernels write: new memory for each, or that of a recording, which is used repeatedly."""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class Pool:
    """Memory for the tensors of a recording (see `designspace.models.cpu.recorded`).

    The memory of a tensor that no longer exists is used for later tensors, as the C library does, but for nothing else.
    So repeating the recorded calls overwrites only what the same calls have written before. A view does not keep the
    memory of its tensor.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype, strides: Sequence[int] | None = None) -> Tensor:
        """Return a tensor that is not initialised, without gaps in memory; contiguous by default."""
        size = math.prod(shape) * dtype.itemsize
        fitting = [block for block in self._free if size <= block.numel() <= 2 * size]
        if fitting:
            block = min(fitting, key=Tensor.numel)
            self._free = [free for free in self._free if free is not block]
        else:
            block = torch.empty(size, dtype=torch.uint8)
        values = block[:size].view(dtype)
        tensor = values.view(*shape) if strides is None else values.as_strided(shape, strides)
        weakref.finalize(tensor, self._release, block).atexit = False
        return tensor

    def _release(self, block: Tensor) -> None:
        """Make a block available for other tensors."""
        self._free.append(block)


class _Current(threading.local):
    """The pool of this thread's recording, if any."""

    pool: Pool | None = None


_current = _Current()


@contextlib.contextmanager
def allocating_from(pool: Pool) -> Iterator[None]:
    """Take the memory of new tensors from a pool while a block runs, in this thread."""
    before, _current.pool = _current.pool, pool
    try:
        yield
    finally:
        _current.pool = before


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a contiguous tensor that is not initialised."""
    if _current.pool is None:
        return torch.empty(shape, dtype=dtype)
    return _current.pool.empty(shape, dtype)


def empty_like(tensor: Tensor) -> Tensor:
    """Return a tensor that is not initialised, with the shape and the strides of a weight."""
    if _current.pool is None:
        return torch.empty_like(tensor, requires_grad=False)
    return _current.pool.empty(tensor.shape, tensor.dtype, tensor.stride())


def new_map(count: int, width: int, height: int, breadth: int) -> Tensor:
    """Return a map (N, C, H, W) that is not initialised, channels last."""
    shape = (count, width, height, breadth)
    if _current.pool is None:
        return torch.empty(shape, dtype=torch.float32, memory_format=torch.channels_last)
    return _current.pool.empty(shape, torch.float32, (width * height * breadth, 1, width * breadth, width))
