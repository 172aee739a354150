"""A whole bottleneck block as one operation on CPUs: each map is written once, before its batch-norm.

The next convolution applies batch-norm and ReLU while it reads the map, and the convolution that writes the map sums
the statistics. So the block 1x1, 3x3, 1x1 with its shortcut moves about half the bytes that its single layers move.
Grouped 3x3 convolutions with narrow groups, for which torch's library is slow, have their own kernels
(`kernels/spatial.c`). The same kernels run single convolutions (`single_layer`). The gradients are exact. The callers
check the layers (`designspace.models.cpu.checks`), because kernels do not check shapes and memory layouts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from designspace.models.cpu.passes import call, first_derivative_only


def has_kernel(conv: nn.Conv2d) -> bool:
    """Return whether a convolution has a kernel: 1x1, or 3x3 with a padding of one pixel; strides of 1 or 2."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    is_square = conv.kernel_size == (kernel, kernel) and conv.stride == (stride, stride)
    is_padded = conv.padding == ((kernel - 1) // 2,) * 2
    is_pointwise = kernel == 1 and conv.groups == 1
    is_spatial = kernel == 3 and conv.dilation == (1, 1)
    return is_square and is_padded and stride in (1, 2) and (is_pointwise or is_spatial)


class Unit:
    """A convolution that has a kernel, and its batch-norm.

    Values that every step needs are read from the modules' dictionaries: a block of a small network takes a tenth of a
    millisecond, and ordinary attribute access would take as long.
    """

    __slots__ = ("conv", "groups", "is_spatial", "kernel", "norm", "stride", "width")

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm
        self.is_spatial = conv.kernel_size[0] == 3
        self.kernel = "spatial" if self.is_spatial else "pointwise"
        self.stride, self.width, self.groups = conv.stride[0], conv.out_channels, conv.groups

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """The convolution's weight, and the batch-norm's weight and bias."""
        norm_parameters = self.norm._parameters
        return self.conv._parameters["weight"], norm_parameters["weight"], norm_parameters["bias"]  # type: ignore[return-value]

    @property
    def statistics(self) -> tuple[Tensor, Tensor, Tensor]:
        """The batch-norm's running mean, running variance and number of batches."""
        buffers = self.norm._buffers
        return buffers["running_mean"], buffers["running_var"], buffers["num_batches_tracked"]  # type: ignore[return-value]


class _ConvOutput(NamedTuple):
    """The output of a unit's convolution, and the numbers of its batch-norm."""

    raw: Tensor
    """Before batch-norm: (N, C, H, W), channels last."""
    norm: Tensor
    """Mean, 1 / deviation, scale and shift of the batch-norm: (4, C)."""


def _new_map(count: int, width: int, height: int, breadth: int) -> Tensor:
    """Return an empty map (N, C, H, W), channels last even if sides of 1 make several layouts equivalent."""
    return torch.empty(count, height, breadth, width, dtype=torch.float32).permute(0, 3, 1, 2)


def _sizes(unit: Unit, x: Tensor, out: Tensor) -> list[int]:
    """Return the sizes of a convolution in the order of the kernel's arguments."""
    count, in_width, in_height, in_breadth = x.shape
    _, width, height, breadth = out.shape
    if unit.is_spatial:
        return [count, in_height, in_breadth, in_width, width, unit.groups, unit.stride]
    return [count * height * breadth, in_width, width, height, breadth, in_height, in_breadth, unit.stride]


def _strides(weight: Tensor) -> tuple[int, ...]:
    """Return the strides of a weight in memory: from one output, input and tap to the next."""
    outputs, inputs, _, taps = weight.stride()
    return (outputs, inputs, taps) if weight.shape[2] == 3 else (outputs, inputs)


def _run(x: Tensor, x_norm: Tensor | None, unit: Unit) -> _ConvOutput:
    """Convolve a map, after its batch-norm and ReLU if ``x_norm`` is given."""
    norm, stride = unit.norm, unit.stride
    count, _, height, breadth = x.shape
    raw = _new_map(count, unit.width, (height - 1) // stride + 1, (breadth - 1) // stride + 1)
    rows = torch.empty(4, unit.width, dtype=torch.float32)
    weight, *norm_parameters = unit.parameters
    norm_options = (norm.eps, norm.momentum, int(norm.training))
    call(
        f"{unit.kernel}_forward",
        *(
            x,
            x_norm,
            weight,
            *_strides(weight),
            raw,
            *_sizes(unit, x, raw),
            *norm_parameters,
            *unit.statistics,
            *norm_options,
            rows,
        ),
    )
    return _ConvOutput(raw, rows)


class _Gradients(NamedTuple):
    """Gradients from a unit's backward pass."""

    parameters: tuple[Tensor, Tensor, Tensor]
    """Gradients of `Unit.parameters`."""
    x: Tensor | None
    sums: Tensor | None
    """Sums of the input's gradient that its batch-norm needs, if it has one: (2, C), float64."""

    @property
    def normalised_input(self) -> tuple[Tensor, Tensor]:
        """The gradient of an input after its batch-norm, and its sums."""
        assert self.x is not None
        assert self.sums is not None
        return self.x, self.sums


def _run_backward(
    dz: Tensor,
    sums: Tensor,
    out: _ConvOutput,
    x: Tensor,
    x_norm: Tensor | None,
    unit: Unit,
    weight: Tensor,
    *,
    added: Tensor | None = None,
    into: Tensor | None = None,
    over: Tensor | None = None,
    needs_x: bool = True,
) -> _Gradients:
    """Run the backward pass of `_run`, from ``dz``, the gradient after the unit's batch-norm, and its sums.

    ``weight`` is the convolution's saved tensor, so that torch raises an error if it was changed in place meanwhile.
    ``added`` is added to the gradient of ``x``, or that gradient is added to ``into``. The kernel may write it over
    ``over`` (``dz`` or ``added``), if it has the right shape and a stride of 1: memory that was just read is faster.
    """
    weight_gradient = torch.empty_like(weight, requires_grad=False)
    scale_gradient = torch.empty(unit.width, dtype=torch.float32)
    shift_gradient = torch.empty(unit.width, dtype=torch.float32)
    if not needs_x:
        x_gradient = into
    elif into is None and over is not None and over.shape == x.shape and unit.stride == 1:
        x_gradient = over
    else:
        x_gradient = _new_map(*x.shape) if into is None else into
    x_sums = None if x_norm is None else torch.empty(2, x.shape[1], dtype=torch.float64)
    beyond = () if unit.is_spatial else (added, int(into is not None))
    call(
        f"{unit.kernel}_backward",
        *(
            dz,
            out.raw,
            out.norm,
            sums,
            scale_gradient,
            shift_gradient,
            x,
            x_norm,
            weight,
            *_strides(weight),
            weight_gradient,
            x_gradient,
        ),
        *(*beyond, x_sums, *_sizes(unit, x, out.raw)),
    )
    return _Gradients((weight_gradient, scale_gradient, shift_gradient), x_gradient, x_sums)


def _norm_add_relu(out: _ConvOutput, shortcut: Tensor | None, shortcut_norm: Tensor | None, *, relu: bool) -> Tensor:
    """Apply batch-norm, add the shortcut (after its own batch-norm if it has one), and apply a ReLU."""
    output = _new_map(*out.raw.shape)
    rows, width = out.raw.numel() // out.raw.shape[1], out.raw.shape[1]
    call("join_forward", out.raw, out.norm, shortcut, shortcut_norm, int(relu), output, rows, width)
    return output


def _norm_add_relu_backward(
    gradient: Tensor, output: Tensor | None, out: _ConvOutput, shortcut: Tensor | None, shortcut_norm: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient before the ReLU (which gave ``output``, if any), and its sums for both batch-norms."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    dz = _new_map(*out.raw.shape)
    rows, width = out.raw.numel() // out.raw.shape[1], out.raw.shape[1]
    sums = torch.empty(2, 2, width, dtype=torch.float64)
    other = None if shortcut_norm is None else sums[1]
    call(
        "join_backward",
        *(gradient, output, out.raw, out.norm, shortcut, shortcut_norm, dz, sums[0], other, rows, width),
    )
    return dz, sums[0], sums[1]


def bottleneck(x: Tensor, units: Sequence[Unit]) -> Tensor:
    """Run a block of the units 1x1, 3x3, 1x1, and a 1x1 for its shortcut if the shape changes.

    (N, C, H, W) -> (N, C', H', W'), channels last. All units must have kernels and be ready to run.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if not torch.is_grad_enabled() and _can_infer(units):
        return _infer(x, units)
    parameters = tuple(parameter for unit in units for parameter in unit.parameters)
    out: Tensor = _Bottleneck.apply(x, units, *parameters)  # type: ignore[no-untyped-call]
    return out


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
        strides = (*_strides(weight), 0)[:3]
        tensors = (*norm_parameters, *unit.statistics[:2])
        return _Layer(
            weight.data_ptr(), *strides, unit.width, *(tensor.data_ptr() for tensor in tensors), unit.norm.eps
        )


def _can_infer(units: Sequence[Unit]) -> bool:
    """Return whether a block is in evaluation mode, with its stride, if any, in the 3x3 and the shortcut."""
    return units[0].stride == units[2].stride == 1 and not any(unit.norm.training for unit in units)


def _infer(x: Tensor, units: Sequence[Unit]) -> Tensor:
    """Run a block in evaluation mode, without gradients: (N, C, H, W) -> (N, C', H', W'), channels last."""
    spatial = units[1]
    count, in_width, height, breadth = x.shape
    out = _new_map(count, units[2].width, (height - 1) // spatial.stride + 1, (breadth - 1) // spatial.stride + 1)
    layers = (_Layer * len(units))(*map(_Layer.of, units))
    sizes = (count, height, breadth, in_width, spatial.stride, spatial.groups)
    call("chain_inference", x, *sizes, ctypes.addressof(layers), len(units), out)
    return out


class _Bottleneck(torch.autograd.Function):
    """See `bottleneck`. Saves the input, the output and the convolutions' outputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, units: Sequence[Unit], *parameters: Tensor) -> Tensor:
        reduce, spatial, expand, *project = units
        first = _run(x, None, reduce)
        second = _run(*first, spatial)
        third = _run(*second, expand)
        shortcut = _run(x, None, project[0]) if project else None
        out = _norm_add_relu(third, *(shortcut or (x, None)), relu=True)
        ctx.save_for_backward(*parameters[::3], x, out, *first, *second, *third, *(shortcut or ()))
        ctx.units = units
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.units)
        reduce, spatial, expand, *project = zip(ctx.units, ctx.saved_tensors[:count], strict=True)
        x, out, *tensors = ctx.saved_tensors[count:]
        first, second, third, *shortcut = (_ConvOutput(*tensors[i : i + 2]) for i in range(0, len(tensors), 2))
        needs_x = ctx.needs_input_grad[0]
        dz, sums, shortcut_sums = _norm_add_relu_backward(
            gradient, out, third, *(shortcut[0] if shortcut else (x, None))
        )
        grads3 = _run_backward(dz, sums, third, *second, *expand)
        grads2 = _run_backward(*grads3.normalised_input, second, *first, *spatial, over=grads3.x)
        added = None if shortcut else dz
        grads1 = _run_backward(
            *grads2.normalised_input, first, x, None, *reduce, added=added, over=added, needs_x=needs_x
        )
        parameter_grads = [*grads1.parameters, *grads2.parameters, *grads3.parameters]
        if shortcut:
            shortcut_grads = _run_backward(
                dz, shortcut_sums, shortcut[0], x, None, *project[0], into=grads1.x, needs_x=needs_x
            )
            parameter_grads += shortcut_grads.parameters
        return grads1.x, None, *parameter_grads


def single_layer(x: Tensor, unit: Unit, relu: bool, shortcut: Tensor | None = None) -> Tensor:
    """Run one unit like `passes.conv_norm`: (N, C, H, W) -> (N, C', H', W'), channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
    out: Tensor = _SingleLayer.apply(x, unit, relu, shortcut, *unit.parameters)  # type: ignore[no-untyped-call]
    return out


class _SingleLayer(torch.autograd.Function):
    """See `single_layer`. Saves the input, the output and the convolution's output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: Unit, relu: bool, shortcut: Tensor | None, *parameters: Tensor) -> Tensor:
        maps = _run(x, None, unit)
        out = _norm_add_relu(maps, shortcut, None, relu=relu)
        ctx.save_for_backward(parameters[0], x, out if relu else None, *maps)
        ctx.unit, ctx.has_shortcut = unit, shortcut is not None
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, x, out, *maps = ctx.saved_tensors
        dz, sums, _ = _norm_add_relu_backward(gradient, out, _ConvOutput(*maps), None, None)
        grads = _run_backward(dz, sums, _ConvOutput(*maps), x, None, ctx.unit, weight, needs_x=ctx.needs_input_grad[0])
        return grads.x, None, None, dz if ctx.has_shortcut else None, *grads.parameters
