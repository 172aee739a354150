"""Which tensors are alive while modules run, and how many bytes they have: what `designspace.networks.memory` counts.

It works with tensors without memory (the meta device), so that a large network takes a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_FIRST_RESULT = (
    *("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit"),
    *("convolution_backward", "native_batch_norm_backward", "native_layer_norm_backward"),
)
"""Operations whose other results are statistics of channels, or gradients of weights."""


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode that records which tensors are alive after each operation.

    Statistics of batch-norms and gradients of weights are left out as far as they are results of their operations; give
    other gradients of weights to `peak`. So is the scratch memory inside an operation.

    >>> x = torch.zeros(2, 8, device="meta")
    >>> with Allocations([x]) as allocations:
    ...     y = x.relu().exp()
    >>> allocations.peak(), allocations.alive()
    (128, 64)
    """

    def __init__(self, ignored: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ignored = {storage._cdata: storage for storage in (tensor.untyped_storage() for tensor in ignored)}
        self._alive: dict[int, _Storage] = {}
        """Address -> storage that is alive."""
        self._changes: list[_Change] = []
        self._accumulated: _Storage | None = None
        """Gradient to which the last operation may have added another one."""

    def watch(self, tensor: Tensor) -> None:
        """Count a tensor while it is alive."""
        self._changes.append(_Change())
        self._add(tensor, self._changes[-1])

    def _add(self, tensor: Tensor, change: _Change) -> None:
        """Count a tensor as the result of an operation."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._ignored and storage._cdata not in self._alive:
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            self._alive[storage._cdata] = _Storage(reference, storage.nbytes())
            change.made.append(self._alive[storage._cdata])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and record what it makes, and what was freed before."""
        change = _Change(self._freed())
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        results = [out[0]] if name in _FIRST_RESULT else tree_leaves(out)
        for result in results:
            if isinstance(result, Tensor):
                self._add(result, change)
        self._changes.append(change)
        if name == "add" and torch._C._current_graph_task_id() != -1:
            self._accumulated = self._storage(args[0])
        return out

    def _freed(self) -> list[_Storage]:
        """Return the storages that were freed since the last operation.

        Torch adds a gradient to another one in place if nothing else refers to that, but not under a mode. If the other
        one has been freed, the sum would have been in its memory.
        """
        freed = {key: each for key, each in self._alive.items() if each.reference.expired()}  # type: ignore[no-untyped-call]
        for key in freed:
            del self._alive[key]
        storages, accumulated, self._accumulated = list(freed.values()), self._accumulated, None
        if accumulated in storages:
            storages.remove(accumulated)
            self._changes[-1].freed.append(accumulated)
        return storages

    def _storage(self, tensor: Tensor) -> _Storage | None:
        """Return the storage of a tensor; None if it is not counted."""
        return self._alive.get(tensor.untyped_storage()._cdata)

    def restart(self) -> None:
        """Forget all earlier operations."""
        self._freed()
        self._changes = [_Change(made=list(self._alive.values()))]

    def alive(self, without: Iterable[Tensor | None] = ()) -> int:
        """Return the bytes that are alive now, without those of some tensors."""
        self._freed()
        ignored = self._storages(without)
        return sum(each.bytes for each in self._alive.values() if each not in ignored)

    def peak(self, without: Iterable[Tensor | None] = ()) -> int:
        """Return the most bytes that were alive after an operation, without those of some tensors that still are."""
        change = _Change(self._freed())
        self._changes.append(change)
        ignored = self._storages(without)
        peak = total = 0
        for change in self._changes:
            total -= sum(each.bytes for each in change.freed)
            total += sum(each.bytes for each in change.made if each not in ignored)
            peak = max(peak, total)
        return peak

    def _storages(self, tensors: Iterable[Tensor | None]) -> set[_Storage | None]:
        """Return the storages of tensors."""
        return {self._storage(tensor) for tensor in tensors if tensor is not None}


@dataclass(frozen=True, slots=True, eq=False)
class _Storage:
    """The memory of one or several tensors."""

    reference: StorageWeakRef
    bytes: int


@dataclass(frozen=True, slots=True)
class _Change:
    """What changes with an operation."""

    freed: list[_Storage] = field(default_factory=list)
    """Storages that were freed since the last operation."""
    made: list[_Storage] = field(default_factory=list)
    """Storages of its results."""
