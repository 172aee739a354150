"""Options of a block that its network does not define."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """Options of a block that its `Network` does not define. None of them changes a weight's name or shape."""

    drop_path: float = 0.0
    """Rate of `DropPath` on the transform."""
    drop_block: float = 0.0
    """Rate of `DropBlock` after every batch-norm of the transform except those of attention."""
    dilation: int = 1
    """Product of the earlier strides that were replaced by dilation."""
    keep_resolution: bool = False
    """Whether the block's stride is replaced by dilation."""
