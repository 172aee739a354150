"""What makes networks fast on CPUs: compiled kernels that run instead of torch's layers where `fuse` was called."""

from designspace.models.cpu.kernels import keep_freed_memory
from designspace.models.cpu.modules import fuse, fused, unfuse

__all__ = ["fuse", "fused", "keep_freed_memory", "unfuse"]
