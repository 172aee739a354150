"""Calls of kernels with tensors, their recording, and the restriction of backward passes to first derivatives."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from designspace.models.cpu.kernels import library

Backward = Callable[..., tuple[Tensor | None, ...]]


class Operation(NamedTuple):
    """A differentiable operation by kernels."""

    function: type[torch.autograd.Function]
    arguments: tuple[Any, ...]
    """The function's arguments after the input. Its backward pass returns a gradient for each, or None."""


class Call(NamedTuple):
    """A call of a kernel that was recorded."""

    name: str
    function: Callable[..., int]
    arguments: tuple[Any, ...]
    """Addresses of tensors, structures and numbers."""


class _Recording(threading.local):
    """The calls that this thread records, if any."""

    calls: list[Call] | None = None


_recording = _Recording()


@contextlib.contextmanager
def recording(calls: list[Call]) -> Iterator[None]:
    """Append this thread's calls of kernels to a list while a block runs."""
    before, _recording.calls = _recording.calls, calls
    try:
        yield
    finally:
        _recording.calls = before


def repeat(calls: Sequence[Call]) -> None:
    """Call kernels again with the same arguments. All tensors must still have the same addresses."""
    for name, function, arguments in calls:
        if function(*arguments):
            raise MemoryError(f"out of memory in {name}")


def call(name: str, *arguments: Any) -> None:
    """Call a kernel with pointers to tensors' data, pointers to structures, numbers, and torch's number of threads."""
    kernels = library()
    assert kernels is not None
    c_arguments = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    this = Call(name, getattr(kernels, name), (*c_arguments, torch.get_num_threads()))
    repeat((this,))
    if _recording.calls is not None:
        _recording.calls.append(this)


def first_derivative_only(backward: Backward) -> Backward:
    """Make a backward pass raise an error if torch differentiates it again, or maps it over several gradients.

    `torch.autograd.function.once_differentiable` raises only if the incoming gradient itself requires a gradient. That
    of the output's sum does not, so a gradient penalty on it would silently be constant.
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        is_mapped = torch._C._are_functorch_transforms_active() or any(map(is_legacy_batchedtensor, gradients))
        if torch.is_grad_enabled() or is_mapped:
            raise RuntimeError(
                "compiled kernels compute first derivatives only, one gradient at a time; for create_graph=True or "
                "batched gradients, call designspace.models.unfuse(model) before the forward pass"
            )
        return backward(ctx, *gradients)

    return checked
