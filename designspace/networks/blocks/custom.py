"""Blocks in the user's own files, such as ``mine:ShuffleBlock``."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from designspace.networks.blocks.kind import SHARED, BlockKind
from designspace.networks.layers import ONE, Column, Layer
from designspace.networks.parameters import Parameter
from designspace.networks.tape import Map, Tape
from designspace.networks.user_class import UserClass, traced_layers, traced_maps, user_class
from designspace.support.errors import InputError
from designspace.support.text import shown

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns

REQUIRED = ("in_width", "width", "stride")
"""Parameters that the constructor of every block takes."""
_USABLE = ("bottleneck_ratio", "group_width", "se_ratio", "radix")
"""Those of `SHARED` that a constructor may take."""
_OTHER_NAMES = "d w b g c depth cardinality w_0 w_a w_m avd_first id flops params activations draws name block stem"
_RESERVED = (
    *SHARED,
    *REQUIRED,
    *_OTHER_NAMES.split(),
    "weight_bytes",
    "peak_memory",
    "int8_memory",
    "training_memory",
    "head",
    "stages",
    "strides",
    "regime",
    "law",
    "resolution",
)
"""Names that columns and options have for other things."""


@functools.cache
def custom_block(name: str) -> BlockKind:
    """Import a block, and return its kind.

    Its class is a torch module (N, in_width, H, W) -> (N, width, H', W') with H' = H / stride, rounded up. Its
    constructor takes ``in_width, width, stride``, any of ``bottleneck_ratio, group_width, se_ratio, radix``, and
    parameters of its own, whose defaults are numbers or texts. The attribute ``network_parameters`` lists own
    parameters that a network has once; each stage has its own value of the others. A class method ``layers(block)``
    may list the layers as those of built-in blocks do (`designspace.networks.columns.BlockColumns`); without it, they
    are found by building the modules.

    Raises:
        InputError: it cannot be imported, or is not such a class.
    """
    user = user_class("space.block", name, REQUIRED)
    parameters = user.own_parameters(_USABLE)
    for parameter in parameters:
        _check_name(name, parameter)
    uses = frozenset(parameter for parameter in _USABLE if parameter in user.defaults)
    layers = functools.partial(_listed if user.lists_layers() else _traced, user, parameters, uses)
    return BlockKind(
        name=name,
        layers=layers,
        maps=functools.partial(_maps, user=user, parameters=parameters, uses=uses),
        parameters=parameters,
        uses=uses,
        is_traced=not user.lists_layers(),
    )


def _check_name(block: str, parameter: Parameter) -> None:
    """Raise if the columns of a parameter would have names that mean something else."""
    name = parameter.name
    if name in _RESERVED or name[-1].isdigit() or name.startswith(("stem_", "head_", "_")):
        raise InputError(
            f"space.block: the parameter {name} of {block} needs another name: it must not end with a digit, begin "
            f"with _, stem_ or head_, or be one of {', '.join(_RESERVED)}"
        )


def _arguments(block: BlockColumns, parameters: Iterable[Parameter], uses: Iterable[str]) -> dict[str, Column]:
    """Return the arguments of the constructor, as columns."""
    names = [*uses, *(parameter.name for parameter in parameters)]
    arguments = {"in_width": block.in_width, "width": block.width, "stride": block.stride * ONE}
    return arguments | {name: block[name] for name in names}


def traced_block_layers(name: str, block: BlockColumns) -> list[Layer]:
    """List the layers of a custom block by building its modules, also if its class lists them itself.

    Raises:
        InputError: it cannot be imported or built.
    """
    kind = custom_block(name)
    return _traced(user_class("space.block", name, REQUIRED), kind.parameters, kind.uses, block)


def _traced(
    user: UserClass, parameters: tuple[Parameter, ...], uses: frozenset[str], block: BlockColumns
) -> list[Layer]:
    """List the layers by building the modules."""
    return traced_layers(user, _arguments(block, parameters, sorted(uses)), block.in_width, block.in_size)


def _maps(
    tape: Tape, block: BlockColumns, *, user: UserClass, parameters: tuple[Parameter, ...], uses: frozenset[str]
) -> Map:
    """Write what the modules allocate."""
    return traced_maps(tape, user, _arguments(block, parameters, sorted(uses)), block.in_width, block.in_size)


def _listed(
    user: UserClass, parameters: tuple[Parameter, ...], uses: frozenset[str], block: BlockColumns
) -> Iterator[Layer]:
    """Yield the layers that the class lists."""
    try:
        listed: list[Any] = list(user.object.layers(block))
    except Exception as error:  # a custom method may raise anything
        raise InputError(f"{user.what}: {user.name}.layers raised {type(error).__name__}: {error}") from error
    for layer in listed:
        if not isinstance(layer, Layer):
            raise InputError(
                f"{user.what}: {user.name}.layers must give designspace.networks.layers.Layer, not {shown(layer)}"
            )
        yield layer
