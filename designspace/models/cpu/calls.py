"""Calls of kernels with tensors, and the restriction of backward passes to first derivatives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from designspace.models.cpu.kernels import library

Backward = Callable[..., tuple[Tensor | None, ...]]


def call(name: str, *arguments: Any) -> None:
    """Call a kernel with pointers to tensors' data, pointers to structures, numbers, and torch's number of threads."""
    kernels = library()
    assert kernels is not None
    c_arguments = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    if getattr(kernels, name)(*c_arguments, torch.get_num_threads()):
        raise MemoryError(f"out of memory in {name}")


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
