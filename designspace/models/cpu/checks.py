"""Checks that layers are unchanged and that nothing observes them, so that kernels may replace them.

A kernel replaces several modules at once. It would ignore hooks, replaced activations, parametrisations, pruned
weights, tracers and operation counters. So each forward pass first checks for all of these, which takes about
10 microseconds per block, and torch's own layers run if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from types import NoneType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module

from designspace.models.blocks import Block
from designspace.models.cpu.kernels import library
from designspace.models.drop import DropPath
from designspace.models.layers import ConvNorm, SqueezeExcitation
from designspace.models.split_attention import SplitAttention

_TORCH = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Sigmoid, nn.Softmax, nn.Identity, nn.Sequential)
_KINDS = (*_TORCH, DropPath, ConvNorm, SqueezeExcitation, SplitAttention, Block)
_FORWARDS = tuple((kind, kind.forward) for kind in _KINDS)
_CALL = nn.Module.__call__
_TENSORS = (nn.Parameter, Tensor)
_geometry = itemgetter(
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
)


def allows_kernels(x: Tensor) -> bool:
    """Return whether kernels may run in a forward pass from ``x`` (N, C, H, W).

    They may not under compilers, tracers, transforms and modes, which need torch's operators.
    """
    return (
        type(x) is Tensor
        and x.is_cpu
        and x.dtype is torch.float32
        and x.layout is torch.strided
        and x.dim() == 4
        and library() is not None
        and torch._C._get_tracing_state() is None
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and forward_ad._current_level < 0
        and not torch_module._has_any_global_hook()  # type: ignore[no-untyped-call]
        and nn.Module.__call__ is _CALL
        and all(kind.forward is forward for kind, forward in _FORWARDS)
    )


class ModuleSnapshot:
    """Classes and children of modules whose forward passes a kernel replaces, at the time of construction.

    Args:
        root: the module that runs the kernel. Its children must not change; its own hooks run anyway.
        replaced: the modules below it that the kernel replaces.
    """

    def __init__(self, root: nn.Module, replaced: Iterable[nn.Module]) -> None:
        self._root, self._children = root, _children(root)
        self._replaced = tuple((module, module.__dict__, type(module), _children(module)) for module in replaced)

    def is_unchanged(self) -> bool:
        """Return whether classes and children are the same, and no replaced module has hooks or its own ``forward``."""
        if _children(self._root) != self._children:
            return False
        for module, state, kind, children in self._replaced:
            if (
                type(module) is not kind
                or state["_forward_hooks"]
                or state["_forward_pre_hooks"]
                or state["_backward_hooks"]
                or state["_backward_pre_hooks"]
                or "forward" in state
                or tuple(state["_modules"].values()) != children
            ):
                return False
        return True


def _children(module: nn.Module) -> tuple[nn.Module | None, ...]:
    """Return the children of a module, in order."""
    return tuple(module._modules.values())


def _conv_is_ready(conv: dict[str, Any], geometry: Any, shape: tuple[int, ...], *, bias: bool) -> bool:
    """Return whether kernels can run a convolution, given as its dictionary, with its current tensors.

    Kernels do not check shapes and memory layouts, so these are compared here.
    """
    parameters = conv["_parameters"]
    weight = parameters.get("weight")
    return (
        type(weight) in _TENSORS
        and weight.dtype is torch.float32
        and weight.is_cpu
        and weight.layout is torch.strided
        and weight.shape == shape
        and (weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last))
        and (_is_row(parameters.get("bias"), shape[0]) if bias else parameters.get("bias") is None)
        and _geometry(conv) == geometry
    )


def _norm_is_ready(norm: dict[str, Any], width: int) -> bool:
    """Return whether kernels can run a batch-norm, given as its dictionary, with its current tensors."""
    parameters, buffers = norm["_parameters"], norm["_buffers"]
    count = buffers.get("num_batches_tracked")
    return (
        norm["momentum"] is not None
        and norm["track_running_stats"]
        and _is_row(parameters.get("weight"), width)
        and _is_row(parameters.get("bias"), width)
        and _is_row(buffers.get("running_mean"), width)
        and _is_row(buffers.get("running_var"), width)
        and count is not None
        and count.dtype is torch.int64
        and count.is_cpu
    )


def _is_row(tensor: Tensor | None, width: int) -> bool:
    """Return whether a tensor has a value per channel, contiguous in memory."""
    return (
        tensor is not None
        and type(tensor) in _TENSORS
        and tensor.dtype is torch.float32
        and tensor.is_cpu
        and tensor.dim() == 1
        and tensor.numel() == width
        and tensor.is_contiguous()
    )


def _weight_shape(conv: nn.Conv2d) -> tuple[int, ...]:
    """Return the shape that the weight of a convolution has."""
    return (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel_size)


class Layer:
    """A convolution and its batch-norm, with their geometry at the time of construction.

    The checks before each forward pass read the modules' dictionaries, which takes half as long as reading attributes.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm
        self._conv, self._norm = conv.__dict__, norm.__dict__
        self._geometry, self._shape = _geometry(self._conv), _weight_shape(conv)

    @staticmethod
    def of(conv: nn.Module | None, norm: nn.Module | None) -> Layer | None:
        """Return the two modules as a layer; None if kernels cannot run them."""
        if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d:
            return None
        if conv.padding_mode != "zeros" or not isinstance(conv.padding, tuple):
            return None
        layer = Layer(conv, norm)
        return layer if layer.is_ready(gradients=False) else None

    def is_ready(self, *, gradients: bool) -> bool:
        """Return whether kernels can run the layer in its current mode and with its current tensors.

        Kernels do not compute gradients in evaluation mode.
        """
        return (
            (not gradients or self._norm["training"])
            and _conv_is_ready(self._conv, self._geometry, self._shape, bias=False)
            and _norm_is_ready(self._norm, self._shape[0])
        )

    def output_shape(self, x: Tensor) -> tuple[int, int, int, int] | None:
        """Return the shape of the output for ``x`` (N, C, H, W); None if torch's layers must run.

        They raise errors for a wrong number of channels, and for single values, which have no variance.
        """
        count, channels, height, breadth = x.shape
        (kernel, kernel_breadth), stride, padding, dilation = self._geometry[2:6]
        height = (height + 2 * padding[0] - dilation[0] * (kernel - 1) - 1) // stride[0] + 1
        breadth = (breadth + 2 * padding[1] - dilation[1] * (kernel_breadth - 1) - 1) // stride[1] + 1
        if channels != self._geometry[0] or height < 1 or breadth < 1 or count * height * breadth < 2:
            return None
        return count, self._shape[0], height, breadth


class AttentionLayers:
    """The layers of an `Attention`, with their geometry at the time of construction: 1x1 convolutions with biases."""

    def __init__(self, squeeze: nn.Conv2d, norm: nn.BatchNorm2d | None, attend: nn.Conv2d) -> None:
        self._norm = None if norm is None else norm.__dict__
        self._hidden = squeeze.out_channels
        self._convs = tuple(
            (conv.__dict__, _geometry(conv.__dict__), _weight_shape(conv)) for conv in (squeeze, attend)
        )

    @staticmethod
    def of(squeeze: nn.Module, norm: nn.Module | None, attend: nn.Module) -> AttentionLayers | None:
        """Return the modules as layers; None if kernels cannot run them."""
        if (
            type(squeeze) is not nn.Conv2d
            or type(attend) is not nn.Conv2d
            or type(norm) not in (nn.BatchNorm2d, NoneType)
        ):
            return None
        is_pointwise = all(
            (*conv.kernel_size, *conv.stride, conv.padding) == (1, 1, 1, 1, (0, 0)) for conv in (squeeze, attend)
        )
        if not is_pointwise or squeeze.groups != attend.groups or squeeze.out_channels != attend.in_channels:
            return None
        layers = AttentionLayers(squeeze, cast(nn.BatchNorm2d | None, norm), attend)
        return layers if layers.is_ready(count=2) else None

    def is_ready(self, *, count: int) -> bool:
        """Return whether kernels can run the layers for ``count`` images; a single one has no variance."""
        norm = self._norm
        return all(_conv_is_ready(*conv, bias=True) for conv in self._convs) and (
            norm is None or (_norm_is_ready(norm, self._hidden) and (count > 1 or not norm["training"]))
        )
