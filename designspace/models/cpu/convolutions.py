"""A whole bottleneck block in one go, on CPUs: each map is written once, before its batch-norm, and never normalised.

Batch-norm and ReLU are applied by whatever reads a map: the next convolution, on the way into its registers; the
statistics are summed by the convolution that writes it. So the block 1x1, 3x3, 1x1 with its shortcut moves about half
the bytes that its layers move one after the other, and grouped 3x3 convolutions with narrow groups, which torch's
library is slow at, have kernels of their own (`kernels/spatial.c`). The same kernels serve single convolutions
(`single`). The gradients are those of the definition. The callers check that the layers are as made
(`designspace.models.cpu.checks`), since kernels read memory as they are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from designspace.models.cpu.passes import call, first_derivative_only


def has_kernel(conv: nn.Conv2d) -> bool:
    """Whether there is a kernel for a convolution: 1x1, or 3x3 with a border of one pixel; strides of 1 or 2."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    square = conv.kernel_size == (kernel, kernel) and conv.stride == (stride, stride)
    padded = conv.padding == ((kernel - 1) // 2,) * 2
    plain = kernel == 1 and conv.groups == 1
    return square and padded and stride in (1, 2) and (plain or (kernel == 3 and conv.dilation == (1, 1)))


class Unit:
    """A convolution that has a kernel, and its batch-norm.

    What is asked of modules in every step is asked of their dictionaries: a block of a small network takes a tenth of a
    millisecond, and looking attributes up in the usual way would take as long.
    """

    __slots__ = ("conv", "groups", "is_spatial", "kernel", "norm", "stride", "width")

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm
        self.is_spatial = conv.kernel_size[0] == 3
        self.kernel = "spatial" if self.is_spatial else "pointwise"
        self.stride, self.width, self.groups = conv.stride[0], conv.out_channels, conv.groups

    @property
    def learned(self) -> tuple[Tensor, Tensor, Tensor]:
        """What it learns: the convolution's weight, the batch-norm's weight and bias."""
        of_norm = self.norm._parameters
        return self.conv._parameters["weight"], of_norm["weight"], of_norm["bias"]  # type: ignore[return-value]

    @property
    def statistics(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the batch-norm keeps: running mean, running variance, number of batches."""
        kept = self.norm._buffers
        return kept["running_mean"], kept["running_var"], kept["num_batches_tracked"]  # type: ignore[return-value]


class _Map(NamedTuple):
    """A map as a unit leaves it."""

    raw: Tensor
    """Before batch-norm: (N, C, H, W), channels last."""
    norm: Tensor
    """Mean, 1 / deviation, scale and shift of the batch-norm: (4, C)."""


def _new_map(count: int, width: int, height: int, breadth: int) -> Tensor:
    """An empty map (N, C, H, W), channels last, also where sides of 1 make several layouts the same."""
    return torch.empty(count, height, breadth, width, dtype=torch.float32).permute(0, 3, 1, 2)


def _sizes(unit: Unit, x: Tensor, out: Tensor) -> list[int]:
    """The numbers that a kernel wants of a convolution's shape."""
    count, in_width, in_height, in_breadth = x.shape
    _, width, height, breadth = out.shape
    if unit.is_spatial:
        return [count, in_height, in_breadth, in_width, width, unit.groups, unit.stride]
    return [count * height * breadth, in_width, width, height, breadth, in_height, in_breadth, unit.stride]


def _strides(weight: Tensor) -> tuple[int, ...]:
    """Steps of a weight in memory: from one output, input and tap to the next."""
    outputs, inputs, _, taps = weight.stride()
    return (outputs, inputs, taps) if weight.shape[2] == 3 else (outputs, inputs)


def _run(x: Tensor, x_norm: Tensor | None, unit: Unit) -> _Map:
    """Convolve a map, behind its batch-norm and ReLU if ``x_norm`` is given."""
    norm, stride = unit.norm, unit.stride
    count, _, height, breadth = x.shape
    raw = _new_map(count, unit.width, (height - 1) // stride + 1, (breadth - 1) // stride + 1)
    rows = torch.empty(4, unit.width, dtype=torch.float32)
    weight, *of_norm = unit.learned
    learning = (norm.eps, norm.momentum, int(norm.training))
    call(
        f"{unit.kernel}_forward",
        *(
            x,
            x_norm,
            weight,
            *_strides(weight),
            raw,
            *_sizes(unit, x, raw),
            *of_norm,
            *unit.statistics,
            *learning,
            rows,
        ),
    )
    return _Map(raw, rows)


class _Gradients(NamedTuple):
    """What comes out of a unit's backward pass."""

    learned: tuple[Tensor, Tensor, Tensor]
    """Of `Unit.learned`."""
    x: Tensor | None
    sums: Tensor | None
    """Of the gradient behind the input's batch-norm, for that one, if there is one: (2, C), float64."""

    @property
    def passed(self) -> tuple[Tensor, Tensor]:
        """The gradient of an input behind a batch-norm, and its sums."""
        assert self.x is not None
        assert self.sums is not None
        return self.x, self.sums


def _run_backward(
    dz: Tensor,
    sums: Tensor,
    out: _Map,
    x: Tensor,
    x_norm: Tensor | None,
    unit: Unit,
    weight: Tensor,
    *,
    added: Tensor | None = None,
    into: Tensor | None = None,
    needs_x: bool = True,
) -> _Gradients:
    """The backward pass of `_run`, from ``dz``, the gradient behind the unit's batch-norm, and its sums.

    ``weight`` is the convolution's, as it was saved: torch then complains if somebody changed it in place meanwhile.
    The gradient of ``x`` gets ``added`` added, or is itself added to ``into``.
    """
    of_weight = torch.empty_like(weight, requires_grad=False)
    of_scale = torch.empty(unit.width, dtype=torch.float32)
    of_shift = torch.empty(unit.width, dtype=torch.float32)
    of_x = into if into is not None else _new_map(*x.shape) if needs_x else None
    x_sums = None if x_norm is None else torch.empty(2, x.shape[1], dtype=torch.float64)
    beyond = () if unit.is_spatial else (added, int(into is not None))
    call(
        f"{unit.kernel}_backward",
        *(dz, out.raw, out.norm, sums, of_scale, of_shift, x, x_norm, weight, *_strides(weight), of_weight, of_x),
        *(*beyond, x_sums, *_sizes(unit, x, out.raw)),
    )
    return _Gradients((of_weight, of_scale, of_shift), of_x, x_sums)


def _join(out: _Map, shortcut: Tensor | None, shortcut_norm: Tensor | None, *, relu: bool) -> Tensor:
    """Batch-norm, plus the shortcut (behind its own batch-norm if it has one), and a ReLU."""
    joined = _new_map(*out.raw.shape)
    rows, width = out.raw.numel() // out.raw.shape[1], out.raw.shape[1]
    call("join_forward", out.raw, out.norm, shortcut, shortcut_norm, int(relu), joined, rows, width)
    return joined


def _join_backward(
    gradient: Tensor, joined: Tensor | None, out: _Map, shortcut: Tensor | None, shortcut_norm: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient past the ReLU (if ``joined``, its output, is given); its sums for the two batch-norms."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    dz = _new_map(*out.raw.shape)
    rows, width = out.raw.numel() // out.raw.shape[1], out.raw.shape[1]
    sums = torch.empty(2, 2, width, dtype=torch.float64)
    other = None if shortcut_norm is None else sums[1]
    call(
        "join_backward",
        *(gradient, joined, out.raw, out.norm, shortcut, shortcut_norm, dz, sums[0], other, rows, width),
    )
    return dz, sums[0], sums[1]


def bottleneck(x: Tensor, units: Sequence[Unit]) -> Tensor:
    """Run a block of the units 1x1, 3x3, 1x1, and a 1x1 for its shortcut if the shape changes.

    (N, C, H, W) -> (N, C', H', W'), channels last. All units have kernels, and apply.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    learned = tuple(parameter for unit in units for parameter in unit.learned)
    out: Tensor = _Bottleneck.apply(x, units, *learned)  # type: ignore[no-untyped-call]
    return out


class _Bottleneck(torch.autograd.Function):
    """See `bottleneck`. Keeps input, output, and the convolved maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, units: Sequence[Unit], *learned: Tensor) -> Tensor:
        reduce, spatial, expand, *project = units
        first = _run(x, None, reduce)
        second = _run(*first, spatial)
        third = _run(*second, expand)
        side = _run(x, None, project[0]) if project else None
        out = _join(third, *(side or (x, None)), relu=True)
        ctx.save_for_backward(*learned[::3], x, out, *first, *second, *third, *(side or ()))
        ctx.units = units
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.units)
        reduce, spatial, expand, *project = zip(ctx.units, ctx.saved_tensors[:count], strict=True)
        x, out, *tensors = ctx.saved_tensors[count:]
        first, second, third, *side = (_Map(*tensors[i : i + 2]) for i in range(0, len(tensors), 2))
        needs_x = ctx.needs_input_grad[0]
        dz, sums, side_sums = _join_backward(gradient, out, third, *(side[0] if side else (x, None)))
        of_third = _run_backward(dz, sums, third, *second, *expand)
        of_second = _run_backward(*of_third.passed, second, *first, *spatial)
        added = None if side else dz
        of_first = _run_backward(*of_second.passed, first, x, None, *reduce, added=added, needs_x=needs_x)
        learned = [*of_first.learned, *of_second.learned, *of_third.learned]
        if side:
            of_side = _run_backward(dz, side_sums, side[0], x, None, *project[0], into=of_first.x, needs_x=needs_x)
            learned += of_side.learned
        return of_first.x, None, *learned


def single(x: Tensor, unit: Unit, relu: bool, shortcut: Tensor | None = None) -> Tensor:
    """Do with one unit what `passes.conv_norm` does: (N, C, H, W) -> (N, C', H', W'), channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
    out: Tensor = _Single.apply(x, unit, relu, shortcut, *unit.learned)  # type: ignore[no-untyped-call]
    return out


class _Single(torch.autograd.Function):
    """See `single`. Keeps input, output, and the convolved maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: Unit, relu: bool, shortcut: Tensor | None, *learned: Tensor) -> Tensor:
        maps = _run(x, None, unit)
        out = _join(maps, shortcut, None, relu=relu)
        ctx.save_for_backward(learned[0], x, out if relu else None, *maps)
        ctx.unit, ctx.has_shortcut = unit, shortcut is not None
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, x, out, *maps = ctx.saved_tensors
        dz, sums, _ = _join_backward(gradient, out, _Map(*maps), None, None)
        of = _run_backward(dz, sums, _Map(*maps), x, None, ctx.unit, weight, needs_x=ctx.needs_input_grad[0])
        return of.x, None, None, dz if ctx.has_shortcut else None, *of.learned
