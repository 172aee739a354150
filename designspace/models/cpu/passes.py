"""A convolution by torch, with its batch-norm and the following operations in as few passes over memory as possible.

A training step of these networks moves more bytes than its convolutions need: batch-norm, ReLU, the addition of a
shortcut and split attention each read and write whole maps several times, and each writes new memory, which has to be
cleared first. `conv_norm` and `conv_splits` avoid this, and save less for the backward pass. The results are
torch's up to rounding. The callers check the layers (`designspace.models.cpu.checks`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from designspace.models.cpu.calls import call, first_derivative_only
from designspace.models.cpu.splits import Attention, Weighted, sizes, weigh, weigh_backward
from designspace.models.cpu.torch_convolutions import Geometry, convolve, convolve_backward, prepared

_PARTS = 64  # as in norm.c


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, relu: bool, shortcut: Tensor | None = None) -> Tensor:
    """Convolve, apply batch-norm, add a shortcut, apply a ReLU: (N, C, H, W) -> (N, C', H', W'), channels last.

    In training mode running statistics are updated as by `nn.BatchNorm2d`.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
    out: Tensor = _ConvNorm.apply(  # type: ignore[no-untyped-call]
        x, conv.weight, norm.weight, norm.bias, shortcut, conv, norm, relu
    )
    return out


def conv_splits(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, attentions: Sequence[Attention]) -> Tensor:
    """Convolve into splits, and return their weighted sum: (N, C, H, W) -> (N, C', H', W'), channels last.

    See `splits.weigh` for the attentions, which compute the weights.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    parameters = (parameter for attention in attentions for parameter in attention.parameters)
    out: Tensor = _ConvSplits.apply(  # type: ignore[no-untyped-call]
        x, conv.weight, norm.weight, norm.bias, conv, norm, attentions, *parameters
    )
    return out


def _compute_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Return mean, 1 / deviation, scale and shift of a batch-norm, (4, C), and update its running statistics."""
    rows, width = x.numel() // x.shape[1], x.shape[1]
    numbers = x.new_empty(4, width)
    scratch = x.new_empty(2 * _PARTS * width, dtype=torch.float64)
    statistics = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    options = (norm.eps, norm.momentum, int(norm.training))
    call("norm_statistics", x, rows, width, norm.weight, norm.bias, *statistics, *options, numbers, scratch)
    return numbers


_memory = threading.local()


def _gradient_buffer(like: Tensor) -> Tensor:
    """Return a map like another, channels last, in memory that the thread's next call reuses.

    It is for gradients that only the next operation reads: allocating new memory for each would take longer than
    filling it. `free_gradient_memory` frees it.
    """
    buffer = getattr(_memory, "buffer", None)
    if buffer is None or buffer.numel() < like.numel():
        buffer = _memory.buffer = like.new_empty(like.numel())
    count, width, height, breadth = like.shape
    gradient: Tensor = buffer[: like.numel()].view(count, height, breadth, width).permute(0, 3, 1, 2)
    return gradient


def free_gradient_memory() -> None:
    """Free the memory that this thread reuses for gradients."""
    _memory.__dict__.clear()


class _ConvNorm(torch.autograd.Function):
    """See `conv_norm`. Saves the input and the convolution's output, and the output only if a shortcut was added."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        conv_weight: Tensor,
        weight: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        relu: bool,
    ) -> Tensor:
        geometry, prepared_weight = Geometry.of(conv), prepared(conv_weight)
        maps = convolve(x, prepared_weight, geometry)
        rows, width = maps.numel() // maps.shape[1], maps.shape[1]
        numbers = _compute_norm(maps, norm)
        y = torch.empty_like(maps) if norm.training else maps
        call("norm_forward", maps, shortcut, numbers, y, rows, width, relu)
        kept = (conv_weight, prepared_weight)  # the first only so that torch notices if it is changed meanwhile
        ctx.save_for_backward(x, *kept, maps, None if shortcut is None else y, numbers)
        ctx.geometry, ctx.relu = geometry, relu
        return y

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, _, conv_weight, maps, y, numbers = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        rows, width = maps.numel() // maps.shape[1], maps.shape[1]
        dz = None if y is None else torch.empty_like(maps)
        gradient = _gradient_buffer(maps)
        norm_grads = x.new_empty(2, width)
        scratch = x.new_empty(2 * _PARTS * width, dtype=torch.float64)
        call("norm_backward", dy, maps, y, numbers, dz, gradient, *norm_grads, scratch, rows, width, ctx.relu)
        conv_grads = convolve_backward(gradient, x, conv_weight, ctx.geometry, ctx.needs_input_grad)
        return *conv_grads, *norm_grads, dz, None, None, None


class _ConvSplits(torch.autograd.Function):
    """See `conv_splits`. Saves the input, the convolution's output and small tensors: splits are never written."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        conv_weight: Tensor,
        weight: Tensor,
        bias: Tensor,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        attentions: Sequence[Attention],
        *parameters: Tensor,
    ) -> Tensor:
        geometry, prepared_weight = Geometry.of(conv), prepared(conv_weight)
        maps = convolve(x, prepared_weight, geometry)
        numbers = _compute_norm(maps, norm)
        weighted = weigh(maps, numbers, attentions)
        width = attentions[0].width
        out = torch.empty_like(maps[:, :width], memory_format=torch.channels_last)
        call("splits_combine", maps, numbers, weighted.weights, out, *sizes(maps, width))
        kept = (conv_weight, prepared_weight)  # as in _ConvNorm
        ctx.save_for_backward(x, *kept, maps, numbers, *parameters, *weighted.tensors())
        ctx.geometry, ctx.attentions = geometry, attentions
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, _, conv_weight, maps, numbers, *tensors = ctx.saved_tensors
        weighted = Weighted.of(tensors[len(ctx.needs_input_grad) - 7 :])
        dout = dout.contiguous(memory_format=torch.channels_last)
        map_sizes = sizes(maps, ctx.attentions[0].width)
        sums = torch.empty_like(weighted.mask_sums)
        call("splits_sums", dout, maps, numbers, sums, *map_sizes)
        grads = weigh_backward(sums, maps, numbers, weighted, ctx.attentions)
        gradient = _gradient_buffer(maps)
        norm_grads = x.new_empty(2, maps.shape[1])
        inputs = (dout, maps, numbers, weighted.weights, grads.even, grads.norm_sums)
        call("splits_backward", *inputs, gradient, *norm_grads, *map_sizes)
        conv_grads = convolve_backward(gradient, x, conv_weight, ctx.geometry, ctx.needs_input_grad)
        return *conv_grads, *norm_grads, None, None, None, *grads.parameters
