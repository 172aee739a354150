"""Batch-norm with statistics over all GPUs' parts of a batch, by torch's ``SyncBatchNorm``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def shared_norms(module: nn.Module) -> Iterator[None]:
    """Make every batch-norm of a module compute its statistics over all GPUs, while a block runs.

    Weights, statistics and their names are unchanged. Torch's default process group must be set up.
    """
    norms = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d)
    ]
    for parent, name, norm in norms:
        setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(norm))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for parent, name, norm in norms:
            setattr(parent, name, norm)  # has the same tensors as its replacement
