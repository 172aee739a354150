"""A convolution, its batch-norm and what follows in one go, on CPUs: torch's numbers, in half the memory traffic.

A training step of these networks moves more bytes than its convolutions need: batch-norm, ReLU, the addition of a
shortcut and split attention each read and write whole maps several times, and each writes fresh memory, which has to be
cleared first. `conv_norm` and `conv_split_attention` do it in as few passes as there can be, and keep less for the
backward pass. They only apply where `applies` says so: float32 maps on a CPU, in training mode or without gradients.
Everywhere else (GPUs, autocast, export, compilation, gradients in evaluation mode) torch's own layers run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from designspace.models.kernels import library
from designspace.models.norms import statistics_untouched

_BLOCKS = 64  # as in norm.c


def applies(x: Tensor, conv: nn.Module, norm: nn.Module) -> bool:
    """Whether `conv_norm` and `conv_split_attention` take these maps (N, C, H, W), convolution and batch-norm."""
    return (
        kernels_run(x)
        and x.dim() == 4
        and type(conv) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and conv.bias is None
        and conv.padding_mode == "zeros"
        and norm.affine
        and norm.momentum is not None
        and norm.running_mean is not None
        and (norm.training or not torch.is_grad_enabled())
        and x.dtype == conv.weight.dtype == norm.weight.dtype == torch.float32
        and conv.weight.is_cpu
        and norm.weight.is_cpu
        and len(x) * _pixels(x, conv) > 1  # a single value has no variance: torch's layer says so
        and not is_watched(conv)
        and not is_watched(norm)
    )


def kernels_run(x: Tensor) -> bool:
    """Whether kernels are there for maps like these, and plain execution goes on."""
    return type(x) is Tensor and x.device.type == "cpu" and library() is not None and not _is_traced()


def _pixels(x: Tensor, conv: nn.Conv2d) -> int:
    """Pixels of one map that the convolution gives."""
    count = 1
    for axis in (0, 1):
        covered = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
        count *= (x.shape[2 + axis] + 2 * int(conv.padding[axis]) - covered) // conv.stride[axis] + 1
    return count


def is_watched(layer: nn.Module) -> bool:
    """Whether somebody wants to see what goes through the layer itself."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


def _is_traced() -> bool:
    """Whether something else than plain execution goes on, which needs torch's own operators."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()
    )


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, relu: bool, shortcut: Tensor | None = None) -> Tensor:
    """Convolution, batch-norm, plus a shortcut, and a ReLU: (N, C, H, W) -> (N, C', H', W'), channels last.

    In training mode running statistics are kept up as `nn.BatchNorm2d` does; second derivatives are not to be had.
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
    assert norm.running_mean is not None, "see applies"
    assert norm.running_var is not None, "see applies"
    return norm.running_mean, norm.running_var


def _convolve(x: Tensor, weight: Tensor, conv: nn.Conv2d) -> Tensor:
    """The maps (N, C', H', W') that the convolution gives, channels last."""
    maps = functional.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    return maps.contiguous(memory_format=torch.channels_last)


def _convolve_backward(
    ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, conv: nn.Conv2d
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the convolution's input and weight."""
    wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, conv.stride, conv.padding, conv.dilation, False, [0, 0], conv.groups, wanted
    )
    return of_x, of_weight


_memory = threading.local()


def _passing(like: Tensor) -> Tensor:
    """A map like another, channels last, in memory that the thread's next call takes again.

    For gradients that the next step uses up: fresh memory for each would cost more than filling it.
    """
    held = getattr(_memory, "held", None)
    if held is None or held.numel() < like.numel():
        held = _memory.held = like.new_empty(like.numel())
    count, width, height, breadth = like.shape
    map_: Tensor = held[: like.numel()].view(count, height, breadth, width).permute(0, 3, 1, 2)
    return map_


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
        ctx.conv, ctx.relu = conv, relu
        return y

    @staticmethod
    @once_differentiable
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
        of_conv = _convolve_backward(ctx, gradient, x, conv_weight, ctx.conv)
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
        ctx.conv, ctx.attention = conv, attention
        return out

    @staticmethod
    @once_differentiable
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
        of_conv = _convolve_backward(ctx, gradient, x, conv_weight, ctx.conv)
        return *of_conv, *of_norm, None, None, None, None, *map(of_parameter.get, parameters)


def call(name: str, *arguments: Tensor | float | None) -> None:
    """Call a kernel: tensors as pointers to their data, all else as numbers; it gets torch's threads."""
    kernels = library()
    assert kernels is not None
    plain = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    if getattr(kernels, name)(*plain, torch.get_num_threads()):
        raise MemoryError(f"no memory is left for {name}")
