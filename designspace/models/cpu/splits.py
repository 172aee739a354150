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
from designspace.models.cpu.memory import empty


class _Norm(ctypes.Structure):
    """`Learned` of `kernels/tiles.h`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "running_mean", "running_var", "batches")),
        *((name, ctypes.c_double) for name in ("eps", "momentum")),
        ("training", ctypes.c_int64),
        ("rows", ctypes.c_void_p),
    )


class AttentionStructure(ctypes.Structure):
    """`Attention` of `kernels/attention.h`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("width", "hidden", "splits", "groups")),
        *((name, ctypes.c_void_p) for name in ("squeeze", "squeeze_bias", "attend", "attend_bias")),
        ("norm", _Norm),
        *((name, ctypes.c_void_p) for name in ("means", "raw", "gate")),
    )


class _Gradients(ctypes.Structure):
    """`AttentionGradients` of `kernels/splits.c`."""

    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("squeeze", "squeeze_bias", "attend", "attend_bias", "weight", "bias")
    )


class _Activity(NamedTuple):
    """Tensors that an `Attention` computes, for ``N`` images."""

    means: Tensor
    """The input: (N, C)."""
    hidden: Tensor
    """The hidden layer before its batch-norm: (N, C')."""
    hidden_norm: Tensor
    """Mean, 1 / deviation, scale and shift of the batch-norm, if any: (4, C')."""
    gate: Tensor
    """The output: (N, R * C)."""


class Attention:
    """The small network of a `SplitAttention` or a `SqueezeExcitation`: (N, C) -> weights (N, R * C).

    Args:
        squeeze: the first 1x1 convolution, in groups.
        norm: its batch-norm, if any.
        attend: the second 1x1 convolution.
        splits: R; with one split the gate is a sigmoid, otherwise a softmax over the splits.
    """

    __slots__ = ("_sizes", "attend", "norm", "splits", "squeeze", "width")

    def __init__(self, squeeze: nn.Conv2d, norm: nn.BatchNorm2d | None, attend: nn.Conv2d, splits: int) -> None:
        self.squeeze, self.norm, self.attend, self.splits = squeeze, norm, attend, splits
        self.width = squeeze.in_channels
        self._sizes = (self.width, squeeze.out_channels, splits, squeeze.groups)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weight and bias of the convolutions, and then of the batch-norm, if any."""
        layers = (self.squeeze, self.attend) if self.norm is None else (self.squeeze, self.attend, self.norm)
        return tuple(layer._parameters[name] for layer in layers for name in ("weight", "bias"))  # type: ignore[misc]

    def new_activity(self, count: int) -> _Activity:
        """Return memory for what the network computes for ``count`` images."""
        width, hidden, splits, _ = self._sizes
        return _Activity(
            empty((count, width)), empty((count, hidden)), empty((4, hidden)), empty((count, splits * width))
        )

    def structure(self, activity: _Activity | None = None) -> AttentionStructure:
        """Return the network with its current tensors, which must outlive the result."""
        convs, norm_parameters = self.parameters[:4], self.parameters[4:]
        norm = _Norm()
        if self.norm is not None:
            buffers = self.norm._buffers
            statistics = [buffers[name] for name in ("running_mean", "running_var", "num_batches_tracked")]
            pointers = (tensor.data_ptr() for tensor in (*norm_parameters, *statistics))  # type: ignore[union-attr]
            norm = _Norm(*pointers, self.norm.eps, self.norm.momentum, int(self.norm.training))
        structure = AttentionStructure(*self._sizes, *(tensor.data_ptr() for tensor in convs), norm)
        if activity is not None:
            structure.means, structure.raw = activity.means.data_ptr(), activity.hidden.data_ptr()
            structure.norm.rows, structure.gate = activity.hidden_norm.data_ptr(), activity.gate.data_ptr()
        return structure


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

    There are one or two attentions. The first has R splits; the second has one, and multiplies the weights of all.
    """
    count, channels = raw.shape[:2]
    activities = tuple(attention.new_activity(count) for attention in attentions)
    weighted = Weighted(empty((count, channels)), empty((count, channels)), empty((count, 2, channels)), activities)
    call(
        "splits_weigh",
        *(raw, norm, _structures(attentions, activities), len(attentions)),
        *(weighted.means, weighted.mask_sums, weighted.weights, *sizes(raw, attentions[0].width)),
    )
    return weighted


class WeightGradients(NamedTuple):
    """Gradients of the weights of splits."""

    even: Tensor
    """Gradient that each pixel of a split gets from the split's mean: (N, R * C)."""
    norm_sums: Tensor
    """Sums of the splits' gradients that the map's batch-norm needs: (2, R * C), float64."""
    parameters: tuple[Tensor, ...]
    """Gradients of the attentions' parameters, in order."""


def weigh_backward(
    sums: Tensor, raw: Tensor, norm: Tensor, weighted: Weighted, attentions: Sequence[Attention]
) -> WeightGradients:
    """Run the backward pass of `weigh` from ``sums`` (N, 2, R * C): those of masks times the output's gradient."""
    gradients = [tuple(empty(parameter.shape) for parameter in a.parameters) for a in attentions]
    pointers = (_Gradients(*(tensor.data_ptr() for tensor in tensors)) for tensors in gradients)
    even, norm_sums = empty(weighted.weights.shape), empty((2, raw.shape[1]), torch.float64)
    call(
        "splits_weigh_backward",
        *(sums, weighted.mask_sums, norm, _structures(attentions, weighted.activities)),
        *((_Gradients * len(attentions))(*pointers), len(attentions), weighted.means, weighted.weights),
        *(even, norm_sums, *sizes(raw, attentions[0].width)),
    )
    return WeightGradients(even, norm_sums, tuple(tensor for tensors in gradients for tensor in tensors))


def sizes(raw: Tensor, width: int) -> tuple[int, int, int, int]:
    """Return the numbers of images, of an image's pixels, of splits and of a split's channels."""
    count, channels, height, breadth = raw.shape
    return count, height * breadth, channels // width, width


def _structures(attentions: Sequence[Attention], activities: Sequence[_Activity]) -> ctypes.Array[AttentionStructure]:
    """Return an array of the attentions."""
    structures = map(Attention.structure, attentions, activities)
    return (AttentionStructure * len(attentions))(*structures)
