"""Batch-norm with what follows it in one go, on CPUs: the numbers of torch's own layers, in half the memory traffic.

A training step of these networks moves more bytes than its convolutions need: batch-norm, ReLU, the addition of a
shortcut and split attention each read and write whole maps several times. `norm_act` and `split_attention` do it in as
few passes as there can be, and keep less for the backward pass. They only apply where `applies` says so: float32 maps
on a CPU, channels last, in training mode or without gradients. Everywhere else (GPUs, autocast, export, compilation,
second derivatives through a network in evaluation mode) torch's own layers run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from designspace.models.kernels import library
from designspace.models.norms import statistics_untouched

_BLOCKS = 64  # as in norm.c


def applies(x: Tensor, norm: nn.Module) -> bool:
    """Whether `norm_act` and `split_attention` take these maps (N, C, H, W) and this batch-norm."""
    return (
        not _is_traced()
        and x.device.type == "cpu"
        and type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.momentum is not None
        and norm.running_mean is not None
        and (norm.training or not torch.is_grad_enabled())
        and type(x) is Tensor
        and x.dtype == norm.weight.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > x.shape[1]  # a single value has no variance: torch's layer says so
        and not _is_watched(norm)
        and library() is not None
    )


def _is_watched(norm: nn.Module) -> bool:
    """Whether somebody wants to see what goes through the layer itself."""
    return bool(norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks or norm._backward_pre_hooks)


def _is_traced() -> bool:
    """Whether something else than plain execution goes on, which needs torch's own operators."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()
    )


def norm_act(x: Tensor, norm: nn.BatchNorm2d, relu: bool, shortcut: Tensor | None = None) -> Tensor:
    """Batch-norm, plus a shortcut, and a ReLU: (N, C, H, W) -> the same shape, channels last.

    In training mode running statistics are kept up as `nn.BatchNorm2d` does; second derivatives are not to be had.
    """
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
    out: Tensor = _NormAct.apply(  # type: ignore[no-untyped-call]
        x, norm.weight, norm.bias, shortcut, norm, relu
    )
    return out


def split_attention(x: Tensor, norm: nn.BatchNorm2d, radix: int, attention: Attention) -> Tensor:
    """Normalise the splits (N, radix * C, H, W), weigh them by attention and sum them: -> (N, C, H, W)."""
    learned = tuple(parameter for layer in attention.layers for parameter in layer.parameters())
    out: Tensor = _SplitAttention.apply(  # type: ignore[no-untyped-call]
        x, norm.weight, norm.bias, norm, radix, attention, *learned
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
    _call("norm_statistics", x, rows, width, mean, variance, scratch)
    if norm.track_running_stats and norm.num_batches_tracked is not None and norm.momentum is not None:
        norm.num_batches_tracked.add_(1)
        running_mean, running_var = _running_statistics(norm)
        running_mean.lerp_(mean, norm.momentum)
        running_var.lerp_(variance * (rows / (rows - 1)), norm.momentum)
    return mean, variance


def _running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel, as they were found so far. (C,) each."""
    assert norm.running_mean is not None, "see applies"
    assert norm.running_var is not None, "see applies"
    return norm.running_mean, norm.running_var


class _NormAct(torch.autograd.Function):
    """See `norm_act`. Keeps its input, and its output only where a shortcut was added."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shortcut: Tensor | None, norm: nn.BatchNorm2d, relu: bool
    ) -> Tensor:
        rows, width = x.numel() // x.shape[1], x.shape[1]
        found = _Statistics(x, norm)
        y = torch.empty_like(x, memory_format=torch.channels_last)
        _call("norm_forward", x, shortcut, found.scale, found.shift, y, rows, width, relu)
        ctx.save_for_backward(x, None if shortcut is None else y, *found.kept())
        ctx.relu = relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, y, mean, rstd, scale, shift = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        rows, width = x.numel() // x.shape[1], x.shape[1]
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        past_relu = None if y is None else torch.empty_like(x, memory_format=torch.channels_last)
        of_weights = x.new_empty(2, width)
        scratch = x.new_empty(2 * _BLOCKS * width, dtype=torch.float64)
        found = (mean, rstd, scale, shift)
        _call("norm_backward", dy, x, y, *found, past_relu, dx, *of_weights, scratch, rows, width, ctx.relu)
        return dx, *of_weights, past_relu, None, None


class _SplitAttention(torch.autograd.Function):
    """See `split_attention`. Keeps the convolution's output alone: no split is ever written."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        radix: int,
        attention: Attention,
        *parameters: Tensor,
    ) -> Tensor:
        images, width, pixels = x.shape[0], x.shape[1] // radix, x.shape[2] * x.shape[3]
        found = _Statistics(x, norm)
        pooled = x.new_empty(images, width, 1, 1)
        _call("splits_pool", x, found.scale, found.shift, pooled, images, pixels, radix, width)
        weights = attention.weigh(pooled).contiguous()  # (N, radix * C, 1, 1)
        out = torch.empty_like(x[:, :width], memory_format=torch.channels_last)
        _call("splits_combine", x, found.scale, found.shift, weights, out, images, pixels, radix, width)
        ctx.save_for_backward(x, pooled, *found.kept(), *parameters)
        ctx.attention = attention
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, pooled, mean, rstd, scale, shift, *parameters = ctx.saved_tensors
        found = (mean, rstd, scale, shift)
        dout = dout.contiguous(memory_format=torch.channels_last)
        images, width, pixels = pooled.shape[0], pooled.shape[1], x.shape[2] * x.shape[3]
        radix = x.shape[1] // width
        weights_gradient = x.new_empty(images, radix * width, 1, 1)
        _call("splits_weight_gradient", dout, x, scale, shift, weights_gradient, images, pixels, radix, width)
        # The attention runs once more, on its few numbers, rather than keeping a graph within the graph.
        layers = (module for layer in ctx.attention.layers for module in layer.modules())
        with torch.enable_grad(), statistics_untouched(layers):
            weights = ctx.attention.weigh(pooled.requires_grad_())
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        pooled_gradient, *gradients = torch.autograd.grad(weights, (pooled, *learning), weights_gradient)
        of_parameter = dict(zip(learning, gradients, strict=True))
        weights, even = weights.detach().contiguous(), pooled_gradient.contiguous().div_(pixels)
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        of_weights = x.new_empty(2, radix * width)
        scratch = x.new_empty(2 * (images + 1) * radix * width, dtype=torch.float64)
        shape = (images, pixels, radix, width)
        _call("splits_backward", dout, x, weights, even, *found, dx, *of_weights, scratch, *shape)
        return dx, *of_weights, None, None, None, *map(of_parameter.get, parameters)


def _call(name: str, *arguments: Tensor | int | None) -> None:
    """Call a kernel: tensors as pointers to their data, all else as 64-bit whole numbers; it gets torch's threads."""
    kernels = library()
    assert kernels is not None
    converted: list[Any] = []
    for value in arguments:
        if isinstance(value, Tensor):
            converted.append(ctypes.c_void_p(value.data_ptr()))
        else:
            converted.append(None if value is None else ctypes.c_int64(value))
    if getattr(kernels, name)(*converted, ctypes.c_int64(torch.get_num_threads())):
        raise MemoryError(f"no memory is left for {name}")
