"""Compiled kernels that make networks fast on CPUs: `fuse` makes a model use them instead of torch's layers."""

from designspace.models.cpu.kernels import keep_freed_memory
from designspace.models.cpu.modules import fuse, fused, unfuse
from designspace.models.cpu.recorded import RecordedModel

__all__ = ["RecordedModel", "fuse", "fused", "keep_freed_memory", "unfuse"]
