"""A whole bottleneck block as one operation on CPUs: 1x1, 3x3, squeeze-and-excitation or split attention, and 1x1."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from designspace.models.cpu.calls import Operation, call, first_derivative_only
from designspace.models.cpu.convolutions import (
    Gradient,
    Gradients,
    Join,
    Map,
    Unit,
    norm_add_relu,
    norm_add_relu_backward,
    run,
    run_backward,
    strides,
)
from designspace.models.cpu.memory import new_map
from designspace.models.cpu.splits import Attention, AttentionStructure, Weighted, weigh, weigh_backward


class Parts(NamedTuple):
    """The layers of a bottleneck block."""

    units: tuple[Unit, ...]
    """The convolutions 1x1, 3x3 and 1x1, and a 1x1 for the shortcut if the shape changes."""
    attentions: tuple[Attention, ...] = ()
    """Split attention, squeeze-and-excitation, or one after the other, on the output of the 3x3 convolution."""

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters of all layers, in order."""
        parts: tuple[Unit | Attention, ...] = (*self.units, *self.attentions)
        return tuple(parameter for part in parts for parameter in part.parameters)


def bottleneck(x: Tensor, parts: Parts) -> Tensor:
    """Run a block: (N, C, H, W) -> (N, C', H', W'), channels last. All its layers must be ready to run."""
    x = x.contiguous(memory_format=torch.channels_last)
    if not torch.is_grad_enabled() and _can_infer(parts):
        return _infer(x, parts)
    function, arguments = bottleneck_operation(parts)
    out: Tensor = function.apply(x, *arguments)  # type: ignore[no-untyped-call]
    return out


def bottleneck_operation(parts: Parts) -> Operation:
    """Return the operation of `bottleneck` with gradients."""
    return Operation(_Bottleneck, (parts, *parts.parameters))


class _Layer(ctypes.Structure):
    """A unit as `kernels/inference.c` reads it."""

    _fields_ = (
        ("w", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("w_out", "w_in", "w_tap", "width")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "running_mean", "running_var")),
        ("eps", ctypes.c_double),
    )

    @staticmethod
    def of(unit: Unit) -> _Layer:
        """Return the unit with its current tensors, which must outlive it."""
        weight, *norm_parameters = unit.parameters
        weight_strides = (*strides(weight), 0)[:3]
        tensors = (*norm_parameters, *unit.statistics[:2])
        return _Layer(
            weight.data_ptr(), *weight_strides, unit.width, *(tensor.data_ptr() for tensor in tensors), unit.norm.eps
        )


def _can_infer(parts: Parts) -> bool:
    """Return whether a block is in evaluation mode, with its stride, if any, in the 3x3 and the shortcut."""
    units = parts.units
    return (
        units[0].stride == units[2].stride == 1
        and not any(unit.norm.training for unit in units)
        and not any(a.norm is not None and a.norm.training for a in parts.attentions)
    )


def _infer(x: Tensor, parts: Parts) -> Tensor:
    """Run a block in evaluation mode, without gradients: (N, C, H, W) -> (N, C', H', W'), channels last."""
    units = parts.units
    spatial = units[1]
    count, in_width, height, breadth = x.shape
    out = new_map(count, units[2].width, (height - 1) // spatial.stride + 1, (breadth - 1) // spatial.stride + 1)
    layers = (_Layer * len(units))(*map(_Layer.of, units))
    sizes = (count, height, breadth, in_width, spatial.stride, spatial.groups)
    attentions = (AttentionStructure * len(parts.attentions))(*map(Attention.structure, parts.attentions))
    call("chain_inference", x, *sizes, layers, len(units), attentions, len(attentions), out)
    return out


class _Bottleneck(torch.autograd.Function):
    """See `bottleneck`. Saves the input, the output, the convolutions' outputs and the weights of splits.

    In a recording, a backward pass also computes the gradients of the end of the block before it: a tile of the
    input's gradient is still in the cache then.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: Parts, *parameters: Tensor) -> Tensor:
        reduce, spatial, expand, *project = parts.units
        first = run(Map(x), reduce)
        second = run(first, spatial)
        weighted: tuple[Tensor, ...] = ()
        if parts.attentions:
            assert second.norm is not None
            weighted = weigh(second.raw, second.norm, parts.attentions).tensors()
            second = second._replace(weights=weighted[0])
        third = run(second, expand)
        maps = [first, second, third, *(run(Map(x), unit) for unit in project)]
        out = norm_add_relu(third, maps[3] if project else Map(x), relu=True)
        tensors = (tensor for raw, norm, _ in maps for tensor in (raw, norm))
        ctx.save_for_backward(*parameters, x, out, *tensors, *weighted)
        ctx.parts = parts
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        units, attentions = ctx.parts
        saved = _Saved.of(ctx)
        first, second, third, *shortcut = saved.maps
        reduce, spatial, expand, *project = zip(units, saved.parameters[::3], strict=False)
        weighted = Weighted.of(saved.weighted) if attentions else None
        if weighted is not None:
            second = second._replace(weights=weighted.weights)
        dz, shortcut_dz = getattr(ctx, "joined", None) or norm_add_relu_backward(dout, saved.out, *saved.join)
        grads3 = run_backward(dz, third, second, *expand)
        gradient, attention_grads = _through_splits(grads3, second, weighted, attentions)
        grads2 = run_backward(gradient, second, first, *spatial, over=grads3.x)
        # The kernel that completes the gradient of x may run the join before it backward, too, if it visits all pixels.
        before = getattr(ctx, "before", None)
        can_join = before is not None and (units[3] if shortcut else units[0]).stride == 1
        join = _Saved.of(before).join if can_join else None
        x, needs_x = Map(saved.x), ctx.needs_input_grad[0]
        if shortcut:
            grads1 = run_backward(grads2.of_norm, first, x, *reduce, needs_x=needs_x)
            last = run_backward(shortcut_dz, shortcut[0], x, *project[0], into=grads1.x, needs_x=needs_x, join=join)
        else:
            over = dz.dz
            last = run_backward(grads2.of_norm, first, x, *reduce, added=over, over=over, needs_x=needs_x, join=join)
            grads1 = last
        if before is not None:
            before.joined = last.join
        parameter_grads = [*grads1.parameters, *grads2.parameters, *grads3.parameters]
        if shortcut:
            parameter_grads += last.parameters
        return last.x, None, *parameter_grads, *attention_grads


class _Saved(NamedTuple):
    """Tensors that the forward pass of a block has saved."""

    parameters: tuple[Tensor, ...]
    x: Tensor
    out: Tensor
    maps: list[Map]
    """Outputs of the units before their batch-norms."""
    weighted: Sequence[Tensor]
    """Tensors of `Weighted`, if the block has attention."""

    @staticmethod
    def of(ctx: Any) -> _Saved:
        """Return the tensors of a context."""
        count = len(ctx.parts.units)
        parameters = ctx.saved_tensors[: len(ctx.needs_input_grad) - 2]
        x, out, *tensors = ctx.saved_tensors[len(parameters) :]
        maps = [Map(*tensors[i : i + 2]) for i in range(0, 2 * count, 2)]
        return _Saved(parameters, x, out, maps, tensors[2 * count :])

    @property
    def join(self) -> Join:
        """The end of the block."""
        return Join(self.maps[2], self.maps[3] if self.maps[3:] else Map(self.x))


def _through_splits(
    grads: Gradients, x: Map, weighted: Weighted | None, attentions: Sequence[Attention]
) -> tuple[Gradient, tuple[Tensor, ...]]:
    """Return the gradient that the 3x3 convolution gets from the next one, and those of the attentions' parameters."""
    gradient = grads.of_norm
    if weighted is None:
        return gradient, ()
    assert x.norm is not None
    weight_grads = weigh_backward(gradient.sums, x.raw, x.norm, weighted, attentions)
    return Gradient(gradient.dz, weight_grads.norm_sums, weight_grads.even), weight_grads.parameters
