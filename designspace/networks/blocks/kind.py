"""What the library knows of a kind of block without torch: its parameters and its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from designspace.networks.layers import Layer
from designspace.networks.parameters import Parameter, Value
from designspace.networks.tape import Map, Tape
from designspace.support.errors import InputError
from designspace.support.text import shown

if TYPE_CHECKING:
    from designspace.networks.columns import BlockColumns

SHARED = ("bottleneck_ratio", "group_width", "se_ratio", "radix", "shortcut", "downsampling")
"""Parameters that are fields of `Stage` and `Network`, because many blocks have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKind:
    """A kind of block: its parameters, and its layers as columns."""

    name: str
    layers: Callable[[BlockColumns], Iterable[Layer]]
    """Function that lists the layers with weights of a block, with its shortcut."""
    maps: Callable[[Tape, BlockColumns], Map]
    """Function that writes the maps that a block makes, in their order, and returns the output."""
    parameters: tuple[Parameter, ...] = ()
    """The parameters that only this kind has."""
    uses: frozenset[str] = frozenset()
    """Those of `SHARED` that it has."""
    width_multiple: int = 1
    """A divisor of all widths."""
    is_traced: bool = False
    """Whether its layers are found by building modules, which takes about a millisecond per shape."""

    def parameter(self, name: str) -> Parameter:
        """Return a parameter of its own.

        Raises:
            InputError: it has no such parameter.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        names = ", ".join(parameter.name for parameter in self.parameters) or "none"
        raise InputError(f"a {self.name} block has no parameter {shown(name)}; its own parameters: {names}")

    def default(self, name: str) -> Value:
        """Return the default of a parameter of its own.

        Raises:
            InputError: it has no such parameter, or the parameter has no default.
        """
        default = self.parameter(name).default
        if default is None:
            raise InputError(f"{self.name} needs {name}, which has no default: space.{name}=[...]")
        return default
