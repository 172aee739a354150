"""The kinds of blocks of which stages consist: one file each, with the parameters and the layers.

The modules are in `designspace.models.blocks`, in files of the same names.
"""

from __future__ import annotations

from designspace.networks.blocks.bottleneck import BOTTLENECK, BOTTLENECK_LINEAR
from designspace.networks.blocks.convnext import CONVNEXT
from designspace.networks.blocks.custom import custom_block
from designspace.networks.blocks.kind import BlockKind
from designspace.networks.blocks.mbconv import MBCONV
from designspace.networks.blocks.plain import PLAIN
from designspace.networks.blocks.shufflenet import SHUFFLENET
from designspace.networks.parameters import Pairs
from designspace.support.errors import InputError
from designspace.support.imported import is_import_name, resolve

__all__ = ["BLOCKS", "BlockKind", "get", "realised_parameters"]

BLOCKS = {kind.name: kind for kind in (BOTTLENECK, BOTTLENECK_LINEAR, *PLAIN, MBCONV, CONVNEXT, SHUFFLENET)}
"""The built-in kinds by name."""


def get(name: str) -> BlockKind:
    """Return the kind of block of a name; a custom one, such as ``mine:Block``, is imported.

    Raises:
        InputError: the kind is unknown, or a custom one cannot be imported or is not a block.
    """
    return resolve("block", name, BLOCKS, custom_block)


def realised_parameters(block: str, pairs: Pairs, *, once: bool, where: str = "") -> Pairs:
    """Return the own parameters of a stage or network as they are kept: checked, and without defaults.

    Defaults are left out so that a parameter that is added to a built-in block later changes no id. Those of a custom
    block are all kept, because its file may change; nothing is imported.

    Raises:
        InputError: a built-in block has no such parameter, or a value is out of range.
    """
    if is_import_name(block):
        return pairs
    kind = BLOCKS[block]
    kept = []
    for name, value in pairs:
        parameter = kind.parameter(name)
        if parameter.once != once:
            owner = "a network has it once" if parameter.once else "each stage has its own"
            raise InputError(f"{where}: {name} of a {block} block is in the wrong place; {owner}")
        if parameter.check(where, value) != parameter.default:
            kept.append((name, value))
    return tuple(kept)
