"""Weights of a map's splits, which depend on their means: split attention and squeeze-and-excitation.

A map (N, R * C, H, W) has R splits of C channels, in that order; squeeze-and-excitation has one. Squeeze-and-excitation
after split attention multiplies the weights by a factor that all splits share, so both together are one weight per
image and channel. The kernels are in `kernels/splits.c`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from designspace.models.cpu.calls import call


class _Structure(ctypes.Structure):
    """`Attention` as `kernels/attention.h` reads it."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("width", "hidden", "splits", "groups")),
        *((name, ctypes.c_void_p) for name in ("squeeze", "squeeze_bias", "attend", "attend_bias")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "running_mean", "running_var", "batches")),
        *((name, ctypes.c_double) for name in ("eps", "momentum")),
        ("training", ctypes.c_int64),
    )


class Attention:
    """The small network of a `SplitAttention` or a `SqueezeExcitation`: (N, C) -> weights (N, R * C).

    Args:
        squeeze: the first 1x1 convolution, in groups.
        norm: its batch-norm, if any.
        attend: the second 1x1 convolution.
        splits: R; with one split the gate is a sigmoid, otherwise a softmax over the splits.
    """

    __slots__ = ("attend", "norm", "splits", "squeeze", "width")

    def __init__(self, squeeze: nn.Conv2d, norm: nn.BatchNorm2d | None, attend: nn.Conv2d, splits: int) -> None:
        self.squeeze, self.norm, self.attend, self.splits = squeeze, norm, attend, splits
        self.width = squeeze.in_channels

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weight and bias of each layer, in order."""
        layers = (self.squeeze, self.attend) if self.norm is None else (self.squeeze, self.norm, self.attend)
        return tuple(layer._parameters[name] for layer in layers for name in ("weight", "bias"))  # type: ignore[misc]

    def structure(self) -> _Structure:
        """Return the network with its current tensors, which must outlive it."""
        squeeze, *norm, attend = (tuple(p.data_ptr() for p in self.parameters[i : i + 2]) for i in self._layer_starts)
        sizes = (self.width, self.squeeze.out_channels, self.splits, self.squeeze.groups)
        if self.norm is None:
            return _Structure(*sizes, *squeeze, *attend)
        buffers = self.norm._buffers
        statistics = (buffers[name] for name in ("running_mean", "running_var", "num_batches_tracked"))
        pointers = (*norm[0], *(tensor.data_ptr() for tensor in statistics))  # type: ignore[union-attr]
        options = (self.norm.eps, self.norm.momentum, int(self.norm.training))
        return _Structure(*sizes, *squeeze, *attend, *pointers, *options)

    @property
    def _layer_starts(self) -> range:
        return range(0, 4 if self.norm is None else 6, 2)


class _Activity(NamedTuple):
    """Tensors of an `Attention` that its backward pass needs."""

    means: Tensor
    """The input: (N, C)."""
    hidden: Tensor
    """The hidden layer before its batch-norm: (N, C')."""
    hidden_norm: Tensor
    """Mean, 1 / deviation, scale and shift of the batch-norm, if any: (4, C')."""
    gate: Tensor
    """The output: (N, R * C)."""


class Weighted(NamedTuple):
    """Weights of splits, and what their backward pass needs."""

    weights: Tensor
    """(N, R * C)."""
    means: Tensor
    """Means of the splits: (N, R * C)."""
    mask_sums: Tensor
    """Sums over pixels of masks, and of masks * (x - mean): (N, 2, R * C)."""
    activities: tuple[_Activity, ...]

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all tensors, as `Weighted.of` takes them."""
        return (*self[:3], *(tensor for activity in self.activities for tensor in activity))

    @staticmethod
    def of(tensors: Sequence[Tensor]) -> Weighted:
        """Restore the result from its tensors."""
        weights, means, mask_sums, *others = tensors
        activities = (_Activity(*others[i : i + 4]) for i in range(0, len(others), 4))
        return Weighted(weights, means, mask_sums, tuple(activities))


def weigh(raw: Tensor, norm: Tensor, attentions: Sequence[Attention]) -> Weighted:
    """Return the weights of splits of a map ``raw`` (N, R * C, H, W) before its batch-norm ``norm`` (4, R * C).

    The first of the attentions has R splits; each later one has one, and multiplies the weights of all splits.
    """
    count, channels, height, breadth = raw.shape
    width = attentions[0].width
    means, mask_sums = _empty(count, channels), _empty(count, 2, channels)
    call("splits_pool", raw, norm, means, mask_sums, count, height * breadth, channels // width, width)
    activities: list[_Activity] = []
    weights: Tensor | None = None
    for attention in attentions:
        pooled = _sum_of_splits(means if weights is None else means * weights, width)
        activities.append(_forward(attention, pooled))
        gate = activities[-1].gate
        weights = gate if weights is None else _times(weights, gate)
    assert weights is not None
    return Weighted(weights, means, mask_sums, tuple(activities))


class WeightGradients(NamedTuple):
    """Gradients of the weights of splits."""

    even: Tensor
    """Gradient that each pixel of a split gets from the split's mean: (N, R * C)."""
    norm_sums: Tensor
    """Sums of the splits' gradients that the map's batch-norm needs: (2, R * C), float64."""
    parameters: tuple[Tensor, ...]
    """Gradients of the attentions' parameters, in order."""


def weigh_backward(
    sums: Tensor, norm: Tensor, weighted: Weighted, attentions: Sequence[Attention], pixels: int
) -> WeightGradients:
    """Run the backward pass of `weigh` from ``sums`` (N, 2, R * C): those of masks times the output's gradient."""
    weights, means = weighted.weights, weighted.means
    count, channels = weights.shape
    width = attentions[0].width
    gradient = _empty(count, channels)
    call("splits_weights_gradient", sums, norm, gradient, count, channels)
    even = torch.zeros_like(weights)
    gradients: list[Tensor] = []
    for number in reversed(range(len(attentions))):
        activity = weighted.activities[number]
        before = weighted.activities[0].gate if number else None
        gate_gradient = gradient if before is None else _sum_of_splits(gradient * before, width)
        means_gradient, parameter_gradients = _backward(attentions[number], activity, gate_gradient)
        gradients[:0] = parameter_gradients
        if before is None:
            even += _to_splits(means_gradient, channels)
        else:
            even += _times(before, means_gradient)
            gradient = _times(gradient, activity.gate) + _times(means, means_gradient)
    norm_sums = torch.empty(2, channels, dtype=torch.float64)
    call("splits_norm_sums", sums, weighted.mask_sums, weights, even, norm_sums, count, pixels, channels)
    return WeightGradients(even, norm_sums, tuple(gradients))


def _empty(*shape: int) -> Tensor:
    """Return a float32 tensor that is not initialised."""
    return torch.empty(shape, dtype=torch.float32)


def _sum_of_splits(x: Tensor, width: int) -> Tensor:
    """Sum splits: (N, R * C) -> (N, C)."""
    return x if x.shape[1] == width else x.view(len(x), -1, width).sum(1)


def _to_splits(x: Tensor, channels: int) -> Tensor:
    """Repeat for each split: (N, C) -> (N, R * C)."""
    return x if x.shape[1] == channels else x.repeat(1, channels // x.shape[1])


def _times(x: Tensor, factors: Tensor) -> Tensor:
    """Multiply all splits by the same factors: (N, R * C), (N, C) -> (N, R * C)."""
    return x * _to_splits(factors, x.shape[1])


def _forward(attention: Attention, means: Tensor) -> _Activity:
    """Compute weights: (N, C) -> (N, R * C)."""
    count, hidden = len(means), attention.squeeze.out_channels
    activity = _Activity(means, _empty(count, hidden), _empty(4, hidden), _empty(count, attention.attend.out_channels))
    call("attention_forward", ctypes.byref(attention.structure()), *activity, count)
    return activity


def _backward(attention: Attention, activity: _Activity, gradient: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the gradients of the means (N, C) and of the parameters."""
    gradients = tuple(_empty(*parameter.shape) for parameter in attention.parameters)
    squeeze, attend = gradients[:2], gradients[-2:]
    norm = (None, None) if attention.norm is None else gradients[2:4]
    means_gradient = torch.empty_like(activity.means)
    structure = ctypes.byref(attention.structure())
    call(
        "attention_backward",
        *(structure, *activity, gradient, *squeeze, *norm, *attend, means_gradient, len(gradient)),
    )
    return means_gradient, gradients
