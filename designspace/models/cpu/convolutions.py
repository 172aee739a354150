"""Convolutions with their batch-norms on CPUs: each map is written once, before its batch-norm.

The next convolution applies batch-norm and ReLU while it reads the map, and the convolution that writes the map sums
the statistics. So a block of several convolutions (`designspace.models.cpu.bottleneck`) moves about half the bytes that
its single layers move. Grouped 3x3 convolutions with narrow groups, for which torch's library is slow, have their own
kernels (`kernels/spatial.c`). The same kernels run single convolutions (`single_layer`). The gradients are exact. The
callers check the layers (`designspace.models.cpu.checks`), because kernels do not check shapes and memory layouts.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from designspace.models.cpu.calls import Operation, call, first_derivative_only
from designspace.models.cpu.memory import empty, empty_like, new_map


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

    __slots__ = ("conv", "groups", "in_width", "is_spatial", "kernel", "norm", "stride", "width")

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm
        self.is_spatial = conv.kernel_size[0] == 3
        self.kernel = "spatial" if self.is_spatial else "pointwise"
        self.in_width, self.width = conv.in_channels, conv.out_channels
        self.stride, self.groups = conv.stride[0], conv.groups

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


class Map(NamedTuple):
    """A map, and the operations with which the next convolution reads it."""

    raw: Tensor
    """(N, C, H, W), channels last; before its batch-norm if it has one."""
    norm: Tensor | None = None
    """Mean, 1 / deviation, scale and shift of the batch-norm, which a ReLU follows: (4, C)."""
    weights: Tensor | None = None
    """Weights of its splits, whose sum the next convolution reads: (N, C)."""


class Gradient(NamedTuple):
    """The gradient of a map after its batch-norm, or of the weighted sum of its splits."""

    dz: Tensor
    sums: Tensor
    """Sums that the batch-norm's backward pass needs: (2, C), float64."""
    even: Tensor | None = None
    """Gradient that each pixel of a split gets from the split's mean: (N, C)."""


class Join(NamedTuple):
    """The end of a block: batch-norm, the sum with the shortcut, and a ReLU."""

    out: Map
    """The map before its batch-norm."""
    shortcut: Map


class JoinGradients(NamedTuple):
    """The gradient before the ReLU of a join, with the sums for its batch-norm and that of its shortcut."""

    out: Gradient
    shortcut: Gradient

    @staticmethod
    def empty(dz: Tensor) -> JoinGradients:
        """Return the gradients whose values a kernel writes to ``dz`` and to their sums."""
        sums, shortcut_sums = (empty((2, dz.shape[1]), torch.float64) for _ in range(2))
        return JoinGradients(Gradient(dz, sums), Gradient(dz, shortcut_sums))

    def structure(self, join: Join) -> ctypes.Array[ctypes.c_void_p]:
        """Return the addresses that are a ``Join`` in `kernels/pointwise.c`. The tensors must outlive it."""
        (y, y_norm, _), (shortcut, shortcut_norm, _) = join
        second = None if shortcut_norm is None else self.shortcut.sums
        tensors = (y, y_norm, shortcut, shortcut_norm, self.out.sums, second)
        return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


def _sizes(unit: Unit, x: Tensor, out: Tensor) -> list[int]:
    """Return the sizes of a convolution in the order of the kernel's arguments."""
    count, _, in_height, in_breadth = x.shape
    _, width, height, breadth = out.shape
    if unit.is_spatial:
        return [count, in_height, in_breadth, unit.in_width, width, unit.groups, unit.stride]
    return [count * height * breadth, unit.in_width, width, height, breadth, in_height, in_breadth, unit.stride]


def strides(weight: Tensor) -> tuple[int, ...]:
    """Return the strides of a weight in memory: from one output, input and tap to the next."""
    outputs, inputs, _, taps = weight.stride()
    return (outputs, inputs, taps) if weight.shape[2] == 3 else (outputs, inputs)


def run(x: Map, unit: Unit) -> Map:
    """Convolve a map, after its batch-norm and ReLU if it has one, and the sum of its splits if it has weights."""
    norm, stride = unit.norm, unit.stride
    count, _, height, breadth = x.raw.shape
    raw = new_map(count, unit.width, (height - 1) // stride + 1, (breadth - 1) // stride + 1)
    rows = empty((4, unit.width))
    weight, *norm_parameters = unit.parameters
    norm_options = (norm.eps, norm.momentum, int(norm.training))
    splits = () if unit.is_spatial else (x.weights, x.raw.shape[1] // unit.in_width)
    call(
        f"{unit.kernel}_forward",
        *(x.raw, x.norm, *splits, weight, *strides(weight), raw, *_sizes(unit, x.raw, raw)),
        *(*norm_parameters, *unit.statistics, *norm_options, rows),
    )
    return Map(raw, rows)


class Gradients(NamedTuple):
    """Gradients from a unit's backward pass."""

    parameters: tuple[Tensor, Tensor, Tensor]
    """Gradients of `Unit.parameters`."""
    x: Tensor | None
    """Gradient of the input, after its batch-norm and splits if it has them."""
    sums: Tensor | None
    """Sums of it that the input's batch-norm needs, if it has one: (2, C), float64. If the input has splits, those of
    each image, with each split's mask: (N, 2, C)."""
    join: JoinGradients | None = None
    """Gradients of the join before the convolution, if it was given; then ``x`` is the gradient before its ReLU."""

    @property
    def of_norm(self) -> Gradient:
        """The gradient of an input that has a batch-norm."""
        assert self.x is not None
        assert self.sums is not None
        return Gradient(self.x, self.sums)


def run_backward(
    gradient: Gradient,
    out: Map,
    x: Map,
    unit: Unit,
    weight: Tensor,
    *,
    added: Tensor | None = None,
    into: Tensor | None = None,
    over: Tensor | None = None,
    needs_x: bool = True,
    join: Join | None = None,
) -> Gradients:
    """Run the backward pass of `run`, and that of the ``join`` whose output is ``x``, if it is given.

    With a ``join``, the convolution must be 1x1 with a stride of 1, and ``needs_x`` must be true.
    ``weight`` is the convolution's saved tensor, so that torch raises an error if it was changed in place meanwhile.
    ``added`` is added to the gradient of ``x``, or that gradient is added to ``into``. The kernel may write it over
    ``over`` (``dz`` or ``added``), if it has the right shape and a stride of 1: memory that was just read is faster.
    """
    weight_gradient, scale_gradient, shift_gradient = empty_like(weight), empty((unit.width,)), empty((unit.width,))
    count, channels = x.raw.shape[:2]
    x_gradient = _memory_for_gradient(x, unit, over) if needs_x and into is None else into
    x_sums = None if x.norm is None or x.weights is not None else empty((2, channels), torch.float64)
    mask_sums = None if x.weights is None else empty((count, 2, channels))
    own: tuple[Any, ...] = ()
    of_input: tuple[Any, ...] = ()
    results: tuple[Any, ...] = (x_sums,)
    joined, structure = None, None
    if join is not None:
        assert x_gradient is not None
        joined = JoinGradients.empty(x_gradient)
        structure = joined.structure(join)
    if unit.is_spatial:
        own = (out.weights, gradient.even, unit.width // gradient.dz.shape[1])
    else:
        of_input = (x.weights, channels // unit.in_width)
        results = (added, int(into is not None), x_sums, mask_sums, structure)
    call(
        f"{unit.kernel}_backward",
        *(
            gradient.dz,
            out.raw,
            out.norm,
            gradient.sums,
            *own,
            scale_gradient,
            shift_gradient,
            x.raw,
            x.norm,
            *of_input,
        ),
        *(weight, *strides(weight), weight_gradient, x_gradient, *results, *_sizes(unit, x.raw, out.raw)),
    )
    sums = x_sums if mask_sums is None else mask_sums
    return Gradients((weight_gradient, scale_gradient, shift_gradient), x_gradient, sums, joined)


def _memory_for_gradient(x: Map, unit: Unit, over: Tensor | None) -> Tensor:
    """Return memory for the gradient of a convolution's input: ``over`` if it has the right shape and a stride of 1."""
    count, _, height, breadth = x.raw.shape
    shape = (count, unit.in_width, height, breadth)
    return over if over is not None and over.shape == shape and unit.stride == 1 else new_map(*shape)


def norm_add_relu(out: Map, shortcut: Map | None, *, relu: bool) -> Tensor:
    """Apply batch-norm, add the shortcut (after its own batch-norm if it has one), and apply a ReLU."""
    output = new_map(*out.raw.shape)
    call("join_forward", out.raw, out.norm, *(shortcut or (None, None))[:2], int(relu), output, *_rows(out.raw))
    return output


def norm_add_relu_backward(dout: Tensor, output: Tensor | None, out: Map, shortcut: Map | None) -> JoinGradients:
    """Return the gradient before the ReLU (which gave ``output``, if any), with its sums for both batch-norms."""
    dout = dout.contiguous(memory_format=torch.channels_last)
    gradients = JoinGradients.empty(new_map(*out.raw.shape))
    dz, sums, _ = gradients.out
    raw, norm, _ = shortcut or (None, None, None)
    second = None if norm is None else gradients.shortcut.sums
    call("join_backward", dout, output, out.raw, out.norm, raw, norm, dz, sums, second, *_rows(out.raw))
    return gradients


def _rows(x: Tensor) -> tuple[int, int]:
    """Return the number of pixels and of channels of a map."""
    count, width, height, breadth = x.shape
    return count * height * breadth, width


def single_layer(x: Tensor, unit: Unit, relu: bool, shortcut: Tensor | None = None) -> Tensor:
    """Run one unit like `passes.conv_norm`: (N, C, H, W) -> (N, C', H', W'), channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
    function, arguments = single_layer_operation(unit, relu, shortcut)
    out: Tensor = function.apply(x, *arguments)  # type: ignore[no-untyped-call]
    return out


def single_layer_operation(unit: Unit, relu: bool, shortcut: Tensor | None = None) -> Operation:
    """Return the operation of `single_layer`."""
    return Operation(_SingleLayer, (unit, relu, shortcut, *unit.parameters))


class _SingleLayer(torch.autograd.Function):
    """See `single_layer`. Saves the input, the output and the convolution's output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: Unit, relu: bool, shortcut: Tensor | None, *parameters: Tensor) -> Tensor:
        maps = run(Map(x), unit)
        out = norm_add_relu(maps, None if shortcut is None else Map(shortcut), relu=relu)
        ctx.save_for_backward(parameters[0], x, out if relu else None, maps.raw, maps.norm)
        ctx.unit, ctx.has_shortcut = unit, shortcut is not None
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, x, out, *tensors = ctx.saved_tensors
        maps = Map(*tensors)
        dz, _ = norm_add_relu_backward(gradient, out, maps, None)
        grads = run_backward(dz, maps, Map(x), ctx.unit, weight, needs_x=ctx.needs_input_grad[0])
        return grads.x, None, None, dz.dz if ctx.has_shortcut else None, *grads.parameters
