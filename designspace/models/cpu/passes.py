"""A convolution by torch, then its batch-norm and what follows in as few passes over memory as there can be.

A training step of these networks moves more bytes than its convolutions need: batch-norm, ReLU, the addition of a
shortcut and split attention each read and write whole maps several times, and each writes fresh memory, which has to be
cleared first. `conv_norm` and `conv_split_attention` avoid that, and keep less for the backward pass. The numbers are
torch's up to rounding. The callers check that the layers are as made (`designspace.models.cpu.checks`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._C._functorch import is_legacy_batchedtensor
from torch.nn import functional

from designspace.models.cpu.kernels import library
from designspace.models.norms import statistics_untouched

_BLOCKS = 64  # as in norm.c

Backward = Callable[..., tuple[Tensor | None, ...]]


def first_derivative_only(backward: Backward) -> Backward:
    """Make a backward pass raise where torch would differentiate it again, or map it over several gradients.

    `torch.autograd.function.once_differentiable` raises only if the incoming gradient itself requires one. A gradient
    penalty on the output's sum does not have such a gradient, and would silently be constant.
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        is_mapped = torch._C._are_functorch_transforms_active() or any(map(is_legacy_batchedtensor, gradients))
        if torch.is_grad_enabled() or is_mapped:
            raise RuntimeError(
                "compiled kernels give first derivatives only, one gradient at a time; for create_graph=True or "
                "batched gradients, call designspace.models.unfuse(model) before the forward pass"
            )
        return backward(ctx, *gradients)

    return checked


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, relu: bool, shortcut: Tensor | None = None) -> Tensor:
    """Convolution, batch-norm, plus a shortcut, and a ReLU: (N, C, H, W) -> (N, C', H', W'), channels last.

    In training mode running statistics are updated as `nn.BatchNorm2d` does.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
    out: Tensor = _ConvNorm.apply(  # type: ignore[no-untyped-call]
        x, conv.weight, norm.weight, norm.bias, shortcut, conv, norm, relu
    )
    return out


def conv_split_attention(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, radix: int, attention: Attention) -> Tensor:
    """Convolve into ``radix`` splits, normalise them, weigh them by attention, sum: (N, C, H, W) -> (N, C', H', W')."""
    x = x.contiguous(memory_format=torch.channels_last)
    learned = tuple(parameter for layer in attention.layers for parameter in layer.parameters())
    out: Tensor = _ConvSplitAttention.apply(  # type: ignore[no-untyped-call]
        x, conv.weight, norm.weight, norm.bias, conv, norm, radix, attention, *learned
    )
    return out


class Attention(NamedTuple):
    """The small network that weighs splits."""

    weigh: Callable[[Tensor], Tensor]
    """From the pooled sum of the splits (N, C, 1, 1) to their weights (N, radix * C, 1, 1), radix-major."""
    layers: tuple[nn.Module, ...]
    """What it is made of."""


class _Statistics:
    """What a batch-norm subtracts and divides by, and what that makes of its weights. All (C,)."""

    def __init__(self, x: Tensor, norm: nn.BatchNorm2d) -> None:
        self.mean, variance = _batch_statistics(x, norm) if norm.training else _running_statistics(norm)
        self.rstd = (variance + norm.eps).rsqrt()
        self.scale = norm.weight.detach() * self.rstd
        self.shift = torch.addcmul(norm.bias.detach(), self.scale, self.mean, value=-1)

    def kept(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For the backward pass."""
        return self.mean, self.rstd, self.scale, self.shift


def _batch_statistics(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, which the running statistics take in. (C,) each."""
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
    """Mean and variance of each channel, as they were found so far. (C,) each."""
    assert norm.running_mean is not None, "see checks"
    assert norm.running_var is not None, "see checks"
    return norm.running_mean, norm.running_var


def _convolve(x: Tensor, weight: Tensor, conv: nn.Conv2d) -> Tensor:
    """The maps (N, C', H', W') that the convolution gives, channels last."""
    maps = functional.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    return maps.contiguous(memory_format=torch.channels_last)


def _convolve_backward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the convolution's input and weight."""
    wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
    stride, padding, dilation, groups = ctx.geometry
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, [0, 0], groups, wanted
    )
    return of_x, of_weight


def _geometry(conv: nn.Conv2d) -> tuple[Any, ...]:
    """What a convolution's backward pass must know of it, as it is in the forward pass."""
    return conv.stride, conv.padding, conv.dilation, conv.groups


_memory = threading.local()


def _passing(like: Tensor) -> Tensor:
    """A map like another, channels last, in memory that the thread's next call takes again.

    For gradients that the next step uses up: fresh memory for each would cost more than filling it. `release` frees it.
    """
    held = getattr(_memory, "held", None)
    if held is None or held.numel() < like.numel():
        held = _memory.held = like.new_empty(like.numel())
    count, width, height, breadth = like.shape
    map_: Tensor = held[: like.numel()].view(count, height, breadth, width).permute(0, 3, 1, 2)
    return map_


def release() -> None:
    """Free the memory that this thread keeps for gradients."""
    _memory.__dict__.clear()


class _ConvNorm(torch.autograd.Function):
    """See `conv_norm`. Keeps input and convolved maps, and the output only where a shortcut was added."""

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
        maps = _convolve(x, conv_weight, conv)
        rows, width = maps.numel() // maps.shape[1], maps.shape[1]
        found = _Statistics(maps, norm)
        y = torch.empty_like(maps) if norm.training else maps
        call("norm_forward", maps, shortcut, found.scale, found.shift, y, rows, width, relu)
        ctx.save_for_backward(x, conv_weight, maps, None if shortcut is None else y, *found.kept())
        ctx.geometry, ctx.relu = _geometry(conv), relu
        return y

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, conv_weight, maps, y, mean, rstd, scale, shift = ctx.saved_tensors
        found = (mean, rstd, scale, shift)
        dy = dy.contiguous(memory_format=torch.channels_last)
        rows, width = maps.numel() // maps.shape[1], maps.shape[1]
        past_relu = None if y is None else torch.empty_like(maps)
        gradient = _passing(maps)
        of_norm = x.new_empty(2, width)
        scratch = x.new_empty(2 * _BLOCKS * width, dtype=torch.float64)
        call("norm_backward", dy, maps, y, *found, past_relu, gradient, *of_norm, scratch, rows, width, ctx.relu)
        of_conv = _convolve_backward(ctx, gradient, x, conv_weight)
        return *of_conv, *of_norm, past_relu, None, None, None


class _ConvSplitAttention(torch.autograd.Function):
    """See `conv_split_attention`. Keeps input and convolved maps alone: no split is ever written."""

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
        maps = _convolve(x, conv_weight, conv)
        images, width, pixels = maps.shape[0], maps.shape[1] // radix, maps.shape[2] * maps.shape[3]
        found = _Statistics(maps, norm)
        pooled = x.new_empty(images, width, 1, 1)
        call("splits_pool", maps, found.scale, found.shift, pooled, images, pixels, radix, width)
        weights = attention.weigh(pooled).contiguous()  # (N, radix * C', 1, 1)
        out = torch.empty_like(maps[:, :width], memory_format=torch.channels_last)
        call("splits_combine", maps, found.scale, found.shift, weights, out, images, pixels, radix, width)
        ctx.save_for_backward(x, conv_weight, maps, pooled, *found.kept(), *parameters)
        ctx.geometry, ctx.attention = _geometry(conv), attention
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, conv_weight, maps, pooled, mean, rstd, scale, shift, *parameters = ctx.saved_tensors
        found = (mean, rstd, scale, shift)
        dout = dout.contiguous(memory_format=torch.channels_last)
        images, width, pixels = pooled.shape[0], pooled.shape[1], maps.shape[2] * maps.shape[3]
        radix = maps.shape[1] // width
        weights_gradient = x.new_empty(images, radix * width, 1, 1)
        call("splits_weight_gradient", dout, maps, scale, shift, weights_gradient, images, pixels, radix, width)
        # The attention runs once more, on its few numbers, rather than keeping a graph within the graph.
        layers = (module for layer in ctx.attention.layers for module in layer.modules())
        with torch.enable_grad(), statistics_untouched(layers):
            weights = ctx.attention.weigh(pooled.requires_grad_())
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        pooled_gradient, *gradients = torch.autograd.grad(weights, (pooled, *learning), weights_gradient)
        of_parameter = dict(zip(learning, gradients, strict=True))
        weights, even = weights.detach().contiguous(), pooled_gradient.contiguous().div_(pixels)
        gradient = _passing(maps)
        of_norm = x.new_empty(2, radix * width)
        scratch = x.new_empty(2 * (images + 1) * radix * width, dtype=torch.float64)
        shape = (images, pixels, radix, width)
        call("splits_backward", dout, maps, weights, even, *found, gradient, *of_norm, scratch, *shape)
        of_conv = _convolve_backward(ctx, gradient, x, conv_weight)
        return *of_conv, *of_norm, None, None, None, None, *map(of_parameter.get, parameters)


def call(name: str, *arguments: Tensor | float | None) -> None:
    """Call a kernel: tensors as pointers to their data, all else as numbers; it gets torch's threads."""
    kernels = library()
    assert kernels is not None
    plain = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    if getattr(kernels, name)(*plain, torch.get_num_threads()):
        raise MemoryError(f"no memory is left for {name}")
