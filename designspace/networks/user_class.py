"""Blocks, stems and heads in the user's own files: torch modules, described by their constructors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from designspace.networks.layers import ONE, SCALES, Column, Layer
from designspace.networks.parameters import Parameter, Value
from designspace.networks.tape import Map, Size, Tape, TracedUsage
from designspace.support.errors import InputError
from designspace.support.imported import import_object
from designspace.support.text import shown

Result = TypeVar("Result")

OPTIONS = ("drop_path", "drop_block", "dropout")
"""Parameters of a constructor that are not part of the network: they are set by the recipe, or by the caller."""
_TRACER = "designspace.models.tracing:trace"
"""Function that builds a module and lists its layers. It needs torch, which is imported for custom modules only."""
_MEMORY_TRACER = "designspace.models.memory_tracing:trace_memory"
"""Function that builds a module, runs it, and returns what it allocates."""

Trace = tuple[tuple[str, int, int, int], ...]
"""Layers of one module: kind, weights per output channel, output channels, pixels of the output."""


class MemoryTrace(NamedTuple):
    """What one module allocates beside its input, in values per image (see `designspace.networks.tape.TracedUsage`)."""

    forward: int
    backward: int
    retained: int
    out: int


@dataclass(frozen=True, slots=True, eq=False)
class UserClass:
    """A class of the user's, such as ``mine:Block``, and the parameters of its constructor."""

    what: str
    """The option that names it, such as ``space.block``."""
    name: str
    object: Any
    defaults: Mapping[str, Value | None]
    """Parameter -> default value, None if it has none."""

    def own_parameters(self, shared: Sequence[str]) -> tuple[Parameter, ...]:
        """Return the parameters other than shared ones and options, in the order of the constructor."""
        once = getattr(self.object, "network_parameters", ())
        return tuple(
            Parameter(name=name, default=default, once=name in once)
            for name, default in self.defaults.items()
            if name not in (*shared, *OPTIONS)
        )

    def call_text(self, arguments: Mapping[str, Any]) -> str:
        """Return a call of the constructor as text."""
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in arguments.items())})"

    def lists_layers(self) -> bool:
        """Return whether the class lists its layers itself."""
        return callable(getattr(self.object, "layers", None))


class CannotBuildError(InputError):
    """Error for networks of which a module cannot be built."""

    def __init__(self, message: str, rows: Column) -> None:
        super().__init__(message)
        self.rows = rows
        """Whether each network is one of them. Shape (n,), or (1,) for all."""


@functools.cache
def user_class(what: str, name: str, required: tuple[str, ...]) -> UserClass:
    """Import a class and return it with the parameters of its constructor.

    Args:
        what: the option that names it.
        name: module and name of the class.
        required: parameters that its constructor must take.

    Raises:
        InputError: it cannot be imported, is not a torch module, or its constructor does not take the parameters.
    """
    found = import_object(what, name)
    if not inspect.isclass(found) or not callable(getattr(found, "forward", None)):
        raise InputError(
            f"{what}: {name} must be a torch module (a class derived from torch.nn.Module), not {shown(found)}"
        )
    parameters = [
        parameter
        for parameter in list(inspect.signature(found.__init__).parameters.values())[1:]
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    defaults = {p.name: _default(what, name, p) for p in parameters if p.name not in required}
    missing = [p for p in required if p not in [parameter.name for parameter in parameters]]
    if missing:
        actual = ", ".join(parameter.name for parameter in parameters) or "nothing"
        raise InputError(
            f"{what}: the constructor of {name} must take {', '.join(required)} and any parameters of its own, but it "
            f"takes {actual}"
        )
    return UserClass(what, name, found, defaults)


def _default(what: str, name: str, parameter: inspect.Parameter) -> Value | None:
    """Return the default of a parameter of a constructor; None if it has none."""
    if parameter.default is parameter.empty:
        return None
    if isinstance(parameter.default, bool):
        return int(parameter.default)
    if not isinstance(parameter.default, int | float | str):
        raise InputError(
            f"{what}: the default of {parameter.name} of {name} must be a number or text, not "
            f"{shown(parameter.default)}, because networks are kept as text"
        )
    return parameter.default


def traced_layers(user: UserClass, arguments: Mapping[str, Column], channels: Column, size: Column) -> list[Layer]:
    """List the layers of modules that are built and run once per distinct shape, without memory for their weights.

    Args:
        user: the class.
        arguments: the arguments of its constructor, as columns.
        channels: channels of its input.
        size: side of its input, in pixels.

    Raises:
        CannotBuildError: building or running the module fails for some of the networks.
    """
    return _aligned(_of_shapes(import_object("tracer", _TRACER), user, arguments, channels, size))


def traced_maps(tape: Tape, user: UserClass, arguments: Mapping[str, Column], channels: Column, size: Column) -> Map:
    """Write what modules allocate that are built and run once per distinct shape, and return their output.

    Args:
        tape: the tape, which records inference or training.
        user: the class.
        arguments: the arguments of its constructor, as columns.
        channels: channels of its input.
        size: side of its input, in pixels.

    Raises:
        InputError: the tape is folded.
        CannotBuildError: building or running the module fails for some of the networks.
    """
    if tape.folded:
        raise InputError(
            f"{user.what}: the memory of {user.name} is known as torch runs it, not with norms folded into convolutions"
        )
    tracer = functools.partial(import_object("tracer", _MEMORY_TRACER), training=tape.training)
    traces = np.array(_of_shapes(tracer, user, arguments, channels, size), np.int64)
    tape.traced = TracedUsage(*traces.T)
    return Map(Size(tape.traced.out))


def _of_shapes(
    tracer: Callable[..., Result], user: UserClass, arguments: Mapping[str, Column], channels: Column, size: Column
) -> list[Result]:
    """Return what a tracer returns for each network; it is called once per distinct shape.

    Raises:
        CannotBuildError: it fails for some of the networks.
    """
    columns = np.broadcast_arrays(*map(np.atleast_1d, (channels, size, *arguments.values())))
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    traces: dict[tuple[Any, ...], Result] = {}
    errors: dict[tuple[Any, ...], InputError] = {}
    for row in dict.fromkeys(rows):
        try:
            traces[row] = tracer(user, dict(zip(arguments, row[2:], strict=True)), int(row[0]), int(row[1]))
        except InputError as error:
            errors[row] = error
    if errors:
        raise CannotBuildError(str(next(iter(errors.values()))), np.array([row in errors for row in rows]))
    return [traces[row] for row in rows]


def _aligned(traces: Sequence[Trace]) -> list[Layer]:
    """Return the layers of several modules as columns; a module with fewer layers of a kind gets empty ones."""
    layers = []
    for kind in ("conv", "max_pool", *SCALES):
        of_kind = [[layer[1:] for layer in trace if layer[0] == kind] for trace in traces]
        for index in range(max(map(len, of_kind), default=0)):
            numbers = np.array([each[index] if index < len(each) else (0, 0, 0) for each in of_kind])
            layers.append(Layer(kind, numbers[:, 0], numbers[:, 1], numbers[:, 2]))
    return layers or [Layer("scale", ONE, 0 * ONE, ONE)]
