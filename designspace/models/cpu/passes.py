"""A convolution by torch, with its batch-norm and the following operations in as few passes over memory as possible.

A training step of these networks moves more bytes than its convolutions need: batch-norm, ReLU, the addition of a
shortcut and split attention each read and write whole maps several times, and each writes new memory, which has to be
cleared first. `conv_norm` and `conv_split_attention` avoid this, and save less for the backward pass. The results are
torch's up to rounding. The callers check the layers (`designspace.models.cpu.checks`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._C._functorch import is_legacy_batchedtensor

from designspace.models.cpu.kernels import library
from designspace.models.cpu.torch_convolutions import Geometry, convolve, convolve_backward, prepared
from designspace.models.norms import no_statistics_updates

_BLOCKS = 64  # as in norm.c

Backward = Callable[..., tuple[Tensor | None, ...]]


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


def conv_split_attention(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, radix: int, attention: Attention) -> Tensor:
    """Return the attention-weighted sum of ``radix`` normalised splits: (N, C, H, W) -> (N, C', H', W')."""
    x = x.contiguous(memory_format=torch.channels_last)
    parameters = tuple(parameter for layer in attention.layers for parameter in layer.parameters())
    out: Tensor = _ConvSplitAttention.apply(  # type: ignore[no-untyped-call]
        x, conv.weight, norm.weight, norm.bias, conv, norm, radix, attention, *parameters
    )
    return out


class Attention(NamedTuple):
    """The small network that computes the weights of splits."""

    compute_weights: Callable[[Tensor], Tensor]
    """Maps the pooled sum of the splits (N, C, 1, 1) to their weights (N, radix * C, 1, 1), radix-major."""
    layers: tuple[nn.Module, ...]
    """Modules that have the parameters and statistics."""


class _Statistics:
    """Mean and 1 / deviation of a batch-norm, and the resulting scale and shift. All (C,)."""

    def __init__(self, x: Tensor, norm: nn.BatchNorm2d) -> None:
        self.mean, variance = _batch_statistics(x, norm) if norm.training else _running_statistics(norm)
        self.rstd = (variance + norm.eps).rsqrt()
        self.scale = norm.weight.detach() * self.rstd
        self.shift = torch.addcmul(norm.bias.detach(), self.scale, self.mean, value=-1)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the tensors that the backward pass needs."""
        return self.mean, self.rstd, self.scale, self.shift


def _batch_statistics(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, (C,) each, and update the running statistics."""
    rows, width = x.numel() // x.shape[1], x.shape[1]
    mean, variance = x.new_empty(width), x.new_empty(width)
    scratch = x.new_empty(2 * _BLOCKS * width, dtype=torch.float64)
    call("norm_statistics", x, rows, width, mean, variance, scratch)
    if norm.track_running_stats and norm.num_batches_tracked is not None and norm.momentum is not None:
        norm.num_batches_tracked.add_(1)
        running_mean, running_var = _running_statistics(norm)
        running_mean.lerp_(mean, norm.momentum)
        running_var.lerp_(variance * (rows / (rows - 1)), norm.momentum)
    return mean, variance


def _running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return running mean and variance of each channel, (C,) each."""
    assert norm.running_mean is not None, "see checks"
    assert norm.running_var is not None, "see checks"
    return norm.running_mean, norm.running_var


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
        statistics = _Statistics(maps, norm)
        y = torch.empty_like(maps) if norm.training else maps
        call("norm_forward", maps, shortcut, statistics.scale, statistics.shift, y, rows, width, relu)
        kept = (conv_weight, prepared_weight)  # the first only so that torch notices if it is changed meanwhile
        ctx.save_for_backward(x, *kept, maps, None if shortcut is None else y, *statistics.tensors())
        ctx.geometry, ctx.relu = geometry, relu
        return y

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, _, conv_weight, maps, y, *statistics = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        rows, width = maps.numel() // maps.shape[1], maps.shape[1]
        dz = None if y is None else torch.empty_like(maps)
        gradient = _gradient_buffer(maps)
        norm_grads = x.new_empty(2, width)
        scratch = x.new_empty(2 * _BLOCKS * width, dtype=torch.float64)
        call("norm_backward", dy, maps, y, *statistics, dz, gradient, *norm_grads, scratch, rows, width, ctx.relu)
        conv_grads = convolve_backward(gradient, x, conv_weight, ctx.geometry, ctx.needs_input_grad)
        return *conv_grads, *norm_grads, dz, None, None, None


class _ConvSplitAttention(torch.autograd.Function):
    """See `conv_split_attention`. Saves only the input and the convolution's output: splits are never written."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        conv_weight: Tensor,
        weight: Tensor,
        bias: Tensor,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        radix: int,
        attention: Attention,
        *parameters: Tensor,
    ) -> Tensor:
        geometry, prepared_weight = Geometry.of(conv), prepared(conv_weight)
        maps = convolve(x, prepared_weight, geometry)
        images, width, pixels = maps.shape[0], maps.shape[1] // radix, maps.shape[2] * maps.shape[3]
        statistics = _Statistics(maps, norm)
        scale, shift = statistics.scale, statistics.shift
        pooled = x.new_empty(images, width, 1, 1)
        call("splits_pool", maps, scale, shift, pooled, images, pixels, radix, width)
        weights = attention.compute_weights(pooled).contiguous()  # (N, radix * C', 1, 1)
        out = torch.empty_like(maps[:, :width], memory_format=torch.channels_last)
        call("splits_combine", maps, scale, shift, weights, out, images, pixels, radix, width)
        kept = (conv_weight, prepared_weight)  # as in _ConvNorm
        ctx.save_for_backward(x, *kept, maps, pooled, *statistics.tensors(), *parameters)
        ctx.geometry, ctx.attention = geometry, attention
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, _, conv_weight, maps, pooled, mean, rstd, scale, shift, *parameters = ctx.saved_tensors
        dout = dout.contiguous(memory_format=torch.channels_last)
        images, width, pixels = pooled.shape[0], pooled.shape[1], maps.shape[2] * maps.shape[3]
        radix = maps.shape[1] // width
        weights_gradient = x.new_empty(images, radix * width, 1, 1)
        call("splits_weight_gradient", dout, maps, scale, shift, weights_gradient, images, pixels, radix, width)
        # The attention, which has few numbers, is recomputed, so that no autograd graph of it has to be saved.
        layers = (module for layer in ctx.attention.layers for module in layer.modules())
        with torch.enable_grad(), no_statistics_updates(layers):
            weights = ctx.attention.compute_weights(pooled.requires_grad_())
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        pooled_gradient, *gradients = torch.autograd.grad(weights, (pooled, *trainable), weights_gradient)
        gradient_of = dict(zip(trainable, gradients, strict=True))
        weights, pixel_gradient = weights.detach().contiguous(), pooled_gradient.contiguous().div_(pixels)
        gradient = _gradient_buffer(maps)
        norm_grads = x.new_empty(2, radix * width)
        scratch = x.new_empty(2 * (images + 1) * radix * width, dtype=torch.float64)
        statistics, shape = (mean, rstd, scale, shift), (images, pixels, radix, width)
        inputs = (dout, maps, weights, pixel_gradient, *statistics)
        call("splits_backward", *inputs, gradient, *norm_grads, scratch, *shape)
        conv_grads = convolve_backward(gradient, x, conv_weight, ctx.geometry, ctx.needs_input_grad)
        return *conv_grads, *norm_grads, None, None, None, None, *map(gradient_of.get, parameters)


def call(name: str, *arguments: Tensor | float | None) -> None:
    """Call a kernel with pointers to tensors' data, numbers, and torch's number of threads."""
    kernels = library()
    assert kernels is not None
    c_arguments = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    if getattr(kernels, name)(*c_arguments, torch.get_num_threads()):
        raise MemoryError(f"out of memory in {name}")
