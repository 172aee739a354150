"""Whether layers are still as they were made, and torch runs them plainly: only then may kernels take their place.

A kernel replaces several modules at once. Hooks, replaced activations, parametrisations, pruned weights, tracers and
counters of operations would be passed over. So all of them are looked for before each forward pass, which takes some
10 microseconds per block, and torch's own layers run where one is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module

from designspace.models.blocks import Block
from designspace.models.cpu.kernels import library
from designspace.models.drop import DropPath
from designspace.models.layers import ConvNorm
from designspace.models.split_attention import SplitAttention

_TORCH = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Sigmoid, nn.Softmax, nn.Identity, nn.Sequential)
_FORWARDS = tuple((kind, kind.forward) for kind in (*_TORCH, DropPath, ConvNorm, SplitAttention, Block))
_CALL = nn.Module.__call__
_TENSORS = (nn.Parameter, Tensor)
_geometry = itemgetter(
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
)


def runs_plainly(x: Tensor) -> bool:
    """Whether a forward pass from these maps (N, C, H, W) is one that kernels may take part in.

    Compilers, tracers, transforms and modes that see or change torch's operators need those operators.
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


class Untouched:
    """Modules as they are now, whose own forward passes a kernel replaces.

    Args:
        root: what runs the kernel. Its children must stay; its own hooks run anyway.
        replaced: the modules below it that the kernel replaces.
    """

    def __init__(self, root: nn.Module, replaced: Iterable[nn.Module]) -> None:
        self._root, self._children = root, _children(root)
        self._replaced = tuple((module, module.__dict__, type(module), _children(module)) for module in replaced)

    def still(self) -> bool:
        """Whether all have the same classes and children, and nobody watches or overrides those replaced."""
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
    """The children of a module, in order."""
    return tuple(module._modules.values())


class Layer:
    """A convolution and its batch-norm as they are now.

    What is asked before each forward pass is asked of the modules' dictionaries, which takes half the time.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm
        self._conv, self._norm = conv.__dict__, norm.__dict__
        self._geometry = _geometry(self._conv)
        self._shape = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel_size)

    @staticmethod
    def of(conv: nn.Module | None, norm: nn.Module | None) -> Layer | None:
        """The two as a layer; None unless kernels can take them over."""
        if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d:
            return None
        if conv.padding_mode != "zeros" or not isinstance(conv.padding, tuple):
            return None
        layer = Layer(conv, norm)
        return layer if layer.is_ready(gradients=False) else None

    def is_ready(self, *, gradients: bool) -> bool:
        """Whether the layer can run in its mode, with the tensors that it has now.

        Kernels believe what they are told of shapes and places, so these are compared with what they were. In
        evaluation mode there is no kernel for gradients.
        """
        conv, norm = self._conv, self._norm
        of_conv, of_norm, buffers = conv["_parameters"], norm["_parameters"], norm["_buffers"]
        weight, count = of_conv.get("weight"), buffers.get("num_batches_tracked")
        return (
            (not gradients or norm["training"])
            and type(weight) in _TENSORS
            and weight.dtype is torch.float32
            and weight.is_cpu
            and weight.layout is torch.strided
            and weight.shape == self._shape
            and (weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last))
            and of_conv.get("bias") is None
            and _geometry(conv) == self._geometry
            and norm["momentum"] is not None
            and norm["track_running_stats"]
            and self._is_row(of_norm.get("weight"))
            and self._is_row(of_norm.get("bias"))
            and self._is_row(buffers.get("running_mean"))
            and self._is_row(buffers.get("running_var"))
            and count is not None
            and count.dtype is torch.int64
            and count.is_cpu
        )

    def _is_row(self, tensor: Tensor | None) -> bool:
        """Whether a tensor has a value for each channel, one after the other in memory."""
        return (
            tensor is not None
            and type(tensor) in _TENSORS
            and tensor.dtype is torch.float32
            and tensor.is_cpu
            and tensor.dim() == 1
            and tensor.numel() == self._shape[0]
            and tensor.is_contiguous()
        )

    def output_shape(self, x: Tensor) -> tuple[int, int, int, int] | None:
        """The shape that ``x`` (N, C, H, W) is mapped to; None if that is left to torch's layers.

        They complain of maps with other channels, and of single values, which have no variance.
        """
        count, channels, height, breadth = x.shape
        (kernel, kernel_breadth), stride, padding, dilation = self._geometry[2:6]
        height = (height + 2 * padding[0] - dilation[0] * (kernel - 1) - 1) // stride[0] + 1
        breadth = (breadth + 2 * padding[1] - dilation[1] * (kernel_breadth - 1) - 1) // stride[1] + 1
        if channels != self._geometry[0] or height < 1 or breadth < 1 or count * height * breadth < 2:
            return None
        return count, self._shape[0], height, breadth
