"""Memory of the user's own modules, found by building them and running them on tensors without memory."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from designspace.models.allocations import Allocations
from designspace.models.blocks.custom import build
from designspace.models.tracing import without_initial_values
from designspace.networks.parameters import Value
from designspace.networks.user_class import MemoryTrace, UserClass
from designspace.support.errors import InputError

_BATCH = 2
"""Number of images of the run: a batch-norm cannot be trained with one value per channel."""
_UNIT = _BATCH * 4
"""Bytes of one value per image in float32."""


def trace_memory(
    user: UserClass, arguments: Mapping[str, Value], channels: int, size: int, *, training: bool
) -> MemoryTrace:
    """Return what a module of the user's allocates, in values per image.

    Args:
        user: its class.
        arguments: the arguments of its constructor.
        channels: channels of its input.
        size: side of its input, in pixels.
        training: whether to run a forward and a backward pass in training mode, or inference.

    Raises:
        InputError: the module cannot be built, or fails.
    """
    return _traced(user, tuple(arguments.items()), channels, size, training)


@functools.lru_cache(maxsize=1 << 18)
def _traced(
    user: UserClass, arguments: tuple[tuple[str, Value], ...], channels: int, size: int, training: bool
) -> MemoryTrace:
    """Return what a module allocates (see `trace_memory`)."""
    given = dict(arguments)
    has_gradient = "in_channels" not in given  # that of an image is not computed
    shape = (_BATCH, channels, size, size)
    with torch.random.fork_rng(devices=[]), without_initial_values():
        module = build(user, given)
    try:
        x = torch.empty(shape, device="meta", requires_grad=has_gradient)
        return _run(copy.deepcopy(module).to("meta"), x, training)
    except Exception:  # some functions need values, which tensors without memory lack
        with torch.random.fork_rng(devices=[]):
            real = build(user, given)
        try:
            return _run(real, torch.zeros(shape, requires_grad=has_gradient), training)
        except Exception as error:  # a custom module may raise anything
            raise InputError(
                f"{user.what}: {user.call_text(given)} fails for an input of shape {shape} in "
                f"{'training' if training else 'inference'}: {type(error).__name__}: {error}"
            ) from error


def _run(module: nn.Module, x: Tensor, training: bool) -> MemoryTrace:
    """Run a module and return what it allocates."""
    module.train(training)
    weights = list(module.parameters())
    recorded = Allocations([x, *weights, *module.buffers()])
    with torch.set_grad_enabled(training), torch.device(x.device), recorded:
        out = module(x)
    forward, out_size = recorded.peak(), out.numel() * out.element_size()
    if not training:
        return MemoryTrace(forward // _UNIT, 0, 0, out_size // _UNIT)
    retained = recorded.alive(without=[out])
    # The product gives the module a gradient that nothing else holds, and needs its output no more.
    last, gradient = out * 1, torch.ones_like(out)
    del out
    recorded.restart()
    inputs = [each for each in (x, *weights) if each.requires_grad]
    with torch.device(x.device), recorded:
        gradients = torch.autograd.grad(last, inputs, gradient, allow_unused=True)
    of_weights = gradients[1:] if x.requires_grad else gradients
    backward = recorded.peak(without=of_weights)
    return MemoryTrace(forward // _UNIT, backward // _UNIT, retained // _UNIT, out_size // _UNIT)
