"""Layers of the user's own modules, found by building them and running them on tensors without memory.

Most modules of one class have the same layers, with other numbers of channels. So a module runs once per stride, size
and set of layers, which gives the sides of the maps; for other widths it is only built.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from designspace.models.blocks.custom import build
from designspace.networks.complexity import Complexity, cost_of
from designspace.networks.layers import ONE, Layer, Part
from designspace.networks.parameters import Value
from designspace.networks.user_class import Trace, UserClass
from designspace.support.errors import InputError

_WIDTHS = ("in_width", "width", "in_channels", "num_classes", "head_width")
"""Arguments on which the sides of the maps do not depend."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A layer that a module runs."""

    kind: str
    weight: str | None
    """Name of the parameter that is its weight; None if it is computed, or if there is none."""
    inputs: int
    """Weights per output channel, with the bias."""
    has_bias: bool
    out_width: int
    pixels: int


def trace(user: UserClass, arguments: Mapping[str, Value], channels: int, size: int) -> Trace:
    """List the layers of a module of the user's.

    Convolutions and linear layers are counted wherever they are called (as modules or as functions), batch-norms by
    their calls, and all other parameters as scales. The operations of matrix products, of transposed convolutions and
    inside functions such as ``torch.nn.functional.multi_head_attention_forward`` are not counted.

    Args:
        user: its class.
        arguments: the arguments of its constructor.
        channels: channels of its input.
        size: side of its input, in pixels.

    Raises:
        InputError: the module cannot be built, or fails, or gives a map of another shape than it must.
    """
    return _traced(user, tuple(arguments.items()), channels, size)


@functools.lru_cache(maxsize=1 << 18)
def _traced(user: UserClass, arguments: tuple[tuple[str, Value], ...], channels: int, size: int) -> Trace:
    """List the layers of a module (see `trace`)."""
    given = dict(arguments)
    with torch.random.fork_rng(devices=[]), without_initial_values():
        module = build(user, given).eval()
    weights = dict(module.named_parameters())
    shapes = tuple((name, weight.dim()) for name, weight in weights.items())
    others = tuple((name, value) for name, value in arguments if name not in _WIDTHS)
    calls = _calls_of(user, others, shapes, size)
    if not calls or not all(call.weight in weights for call in calls):
        calls[:] = _run(user, module, given, channels, size)
    layers = [_layer(call, weights) for call in calls]
    total = sum(weight.numel() for weight in weights.values())
    counted = sum(inputs * out_width for kind, inputs, out_width, _ in layers if kind != "max_pool")
    return (*layers, ("scale", total - counted, 1, 1)) if total != counted else tuple(layers)


def count_module(module: nn.Module, in_channels: int, size: int) -> Complexity[int]:
    """Count the complexity of any torch module for one image, by the rules of `designspace.networks.complexity`.

    The module runs once without memory, in evaluation mode; what counts as a layer is told at `trace`.

    Args:
        module: the module; it is left as it is.
        in_channels: channels of the image.
        size: side of the image, in pixels.
    """
    empty = copy.deepcopy(module).to("meta").eval()
    recorder = _Recorder(empty)
    with torch.no_grad(), recorder:
        empty(torch.empty(1, in_channels, size, size, device="meta"))
    weights = dict(empty.named_parameters())
    counted = [_layer(call, weights) for call in recorder.calls]
    layers = [Layer(kind, inputs * ONE, width * ONE, pixels * ONE) for kind, inputs, width, pixels in counted]
    params = sum(weight.numel() for weight in weights.values())
    flops, activations = (int(cost_of(Part(layers), quantity)[0]) for quantity in ("flops", "activations"))
    return Complexity(flops, params, activations)


_INITIALISERS = ("kaiming_uniform_", "uniform_", "normal_", "trunc_normal_", "ones_", "zeros_", "constant_")


@contextlib.contextmanager
def without_initial_values() -> Iterator[None]:
    """Leave the memory of weights as it is, which saves most of the time of building a module."""
    saved = {name: getattr(nn.init, name) for name in _INITIALISERS}
    for name in saved:
        setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
    try:
        yield
    finally:
        for name, function in saved.items():
            setattr(nn.init, name, function)


@functools.cache
def _calls_of(
    user: UserClass, others: tuple[tuple[str, Value], ...], shapes: tuple[tuple[str, int], ...], size: int
) -> list[_Call]:
    """Return the list of calls of all modules with the same layers, which is filled when the first one runs."""
    return []


def _layer(call: _Call, weights: Mapping[str, Tensor]) -> tuple[str, int, int, int]:
    """Return a call with the numbers of channels of a module's weights."""
    if call.weight is None:
        return call.kind, call.inputs, call.out_width, call.pixels
    weight = weights[call.weight]
    if call.kind == "batch_norm":
        return call.kind, 1 + call.has_bias, len(weight), call.pixels
    return call.kind, weight[0].numel() + call.has_bias, len(weight), call.pixels


def _run(user: UserClass, module: nn.Module, arguments: Mapping[str, Value], channels: int, size: int) -> list[_Call]:
    """Run a module on an image without memory, or with it if the module needs numbers, and return its calls."""
    try:
        x = torch.empty(1, channels, size, size, device="meta")
        return _recorded(user, copy.deepcopy(module).to("meta"), arguments, x)
    except InputError:
        raise
    except Exception:  # some functions need values, which tensors without memory lack
        with torch.random.fork_rng(devices=[]):
            real = build(user, dict(arguments)).eval()
        try:
            return _recorded(user, real, arguments, torch.zeros(1, channels, size, size))
        except InputError:
            raise
        except Exception as error:  # a custom module may raise anything
            raise InputError(
                f"{user.what}: {user.call_text(arguments)} fails for an input of shape "
                f"(1, {channels}, {size}, {size}): {type(error).__name__}: {error}"
            ) from error


def _recorded(user: UserClass, module: nn.Module, arguments: Mapping[str, Value], x: Tensor) -> list[_Call]:
    """Run a module, check the shape of its output, and return its calls."""
    recorder = _Recorder(module)
    with torch.no_grad(), torch.device(x.device), recorder:
        out = module(x)
    _check_shape(user, module, arguments, x, out)
    return recorder.calls


def _check_shape(user: UserClass, module: nn.Module, arguments: Mapping[str, Value], x: Tensor, out: Any) -> None:
    """Raise unless the output of a block, stem or head has the shape that it must have."""
    actual = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if "num_classes" in arguments:
        expected: tuple[int, ...] = (1, int(arguments["num_classes"]))
        fits = isinstance(actual, tuple) and actual[:2] == expected
    else:
        stride = arguments["stride"] if "stride" in arguments else user.object.stride  # noqa: SIM401 (heads have none)
        side = -(-x.shape[2] // int(stride))
        expected = (1, int(arguments["width"]), side, side)
        fits = actual == expected
    if not fits:
        raise InputError(
            f"{user.what}: {user.call_text(arguments)} maps {tuple(x.shape)} to {actual}, but it must give {expected}"
        )


class _Recorder(TorchFunctionMode):
    """A mode that records the layers that a module runs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self._names = {id(weight): name for name, weight in module.named_parameters()}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, and record it if it is a layer."""
        named = kwargs or {}
        out = self._without_values(func, args, named)
        if out is None:
            out = func(*args, **named)
        if func in _CONVS:
            self._add_conv(func, out, *_arguments(("input", "weight", "bias"), args, named))
        elif func in _NORMS:
            self._add_norm(out, *_arguments(_NORMS[func], args, named))
        elif func in _MAX_POOLS:
            self.calls.append(_Call("max_pool", None, 0, False, out.shape[1], out.shape[2] * out.shape[3]))
        return out

    def _without_values(self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Return the result of frequent functions of tensors without memory; None for others and for wrong shapes.

        torch computes these shapes in Python, and imports its compiler for that, which takes seconds.
        """
        x = args[0] if args else named.get("input")
        if not isinstance(x, Tensor) or not x.is_meta:
            return None
        if func in _NORMS:
            weight = _arguments(_NORMS[func], args, named)[-2]
            return x.new_empty(x.shape) if weight is None or len(weight) == x.shape[1] else None
        if func is nn.functional.linear:
            weight = _arguments(("input", "weight"), args, named)[1]
            return x.new_empty((*x.shape[:-1], len(weight))) if weight.shape[1] == x.shape[-1] else None
        if func is torch.conv2d:
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            _, weight, _, stride, padding, dilation, groups = _arguments(names, args, named)
            fits = x.dim() == 4 and x.shape[1] == weight.shape[1] * (groups or 1)
            if fits and not isinstance(padding, str):
                sides = (x.shape[2:], weight.shape[2:], *map(_pair, (stride or 1, padding or 0, dilation or 1)))
                shape = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(*sides, strict=True)]
                return x.new_empty((x.shape[0], len(weight), *shape))
        return None

    def _add_conv(self, func: Callable[..., Any], out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """Record a convolution, or a linear layer, which is applied to each pixel."""
        is_linear = func is nn.functional.linear
        pixels = out.numel() // out.shape[-1] if is_linear else out[0, 0].numel()
        has_bias = bias is not None
        name = self._names.get(id(weight))
        self.calls.append(_Call("conv", name, weight[0].numel() + has_bias, has_bias, len(weight), pixels))

    def _add_norm(self, out: Tensor, *arguments: Tensor | None) -> None:
        """Record a batch-norm, whose last two arguments are its weight and its bias."""
        weight, bias = arguments[-2:]
        name = None if weight is None else self._names.get(id(weight))
        pixels = out[0, 0].numel() if out.dim() > 2 else 1
        self.calls.append(_Call("batch_norm", name, 2 if name else 0, bias is not None, out.shape[1], pixels))


def _pair(value: Any) -> tuple[int, int]:
    """Return a number of both sides as a pair."""
    if isinstance(value, int):
        return value, value
    return (int(value[0]), int(value[-1]))


# A mode sees a function of `torch.nn.functional` instead of those of `torch` that it calls.
_CONVS = (torch.conv1d, torch.conv2d, torch.conv3d, nn.functional.linear)
_NORMS: dict[Callable[..., Any], tuple[str, ...]] = {
    torch.batch_norm: ("input", "weight", "bias"),
    nn.functional.batch_norm: ("input", "running_mean", "running_var", "weight", "bias"),
}
"""Batch-norms, and the names of their first arguments."""
_MAX_POOLS = (torch.max_pool2d, nn.functional.max_pool2d)


def _arguments(names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the arguments of a call by their names, None if they are not given."""
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]
