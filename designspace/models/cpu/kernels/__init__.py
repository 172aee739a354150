"""Compiled kernels for CPUs: C files that the machine's C compiler builds when they are first needed.

`norm.c` has batch-norm with the operations after it; `pointwise.c` and `spatial.c` have 1x1 and 3x3 convolutions with
their batch-norms; `splits.c` has split attention and squeeze-and-excitation; `inference.c` runs a whole block in
evaluation mode.

Everything works without the kernels, but with more passes over memory (see `designspace.models.cpu.modules`). Set
``DESIGNSPACE_KERNELS=0`` to disable them.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
from pathlib import Path

from designspace.support.compiled import build

KEPT_BYTES = 1 << 30
"""Freed memory that is kept for later allocations, in bytes."""
LARGEST_KEPT_BYTES = 32 << 20
"""Largest block that is kept, in bytes; glibc allows no more, and returns larger ones at once."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_SOURCES = [Path(__file__).with_name(f"{name}.c") for name in ("norm", "pointwise", "spatial", "splits", "inference")]
# The OpenMP runtime is not linked: its symbols are found in the one that torch has loaded. A second runtime would have
# its own threads, which wait in busy loops on the cores that torch's threads need.
_COMPILE: tuple[str, ...] = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
)
if platform.machine() in ("x86_64", "AMD64"):
    _COMPILE = (*_COMPILE, "-mprefer-vector-width=512")  # by default compilers avoid the widest vectors
_KINDS = {"*": ctypes.c_void_p, "n": ctypes.c_int64, "d": ctypes.c_double}
_SIGNATURES = {
    "norm_statistics": "*nn*****ddn**n",
    "norm_forward": "****nnnn",
    "norm_backward": "*********nnnn",
    "splits_weigh": "***n***nnnnn",
    "splits_weigh_backward": "*****n****nnnnn",
    "splits_combine": "****nnnnn",
    "splits_sums": "****nnnnn",
    "splits_backward": "*********nnnnn",
    "pointwise_forward": "***n*nn*nnnnnnnn*****ddn*n",
    "pointwise_backward": "*********n*nn***n***nnnnnnnnn",
    "spatial_forward": "***nnn*nnnnnnn*****ddn*n",
    "spatial_backward": "******n*****nnn***nnnnnnnn",
    "join_forward": "****n*nnn",
    "join_backward": "*********nnn",
    "chain_inference": "*nnnnnn*n*n*n",
}
"""The kernels' arguments: pointers, integers and doubles. All kernels return 0, or 1 if they run out of memory."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, and build them first if necessary; None if they cannot be built."""
    built = build("kernels", _SOURCES, _COMPILE)
    if built is None:
        return None
    for name, kinds in _SIGNATURES.items():
        getattr(built, name).argtypes = [_KINDS[kind] for kind in kinds]
    return built


@functools.cache
def has_convolutions() -> bool:
    """Return whether the convolution kernels exist and are fast on this kind of processor (x86 with AVX2)."""
    kernels = library()
    return kernels is not None and bool(kernels.convolutions_are_fast())


def name() -> str:
    """Return the kind of kernels that this process uses, as runs record it: ``compiled`` or ``torch``."""
    return "torch" if library() is None else "compiled"


def use(kernels: str) -> None:
    """Train with ``compiled`` kernels, if there is a compiler, or with ``torch``'s layers.

    This holds from now on, in this process and those that it starts. Nothing may be training during the call.
    """
    if kernels != name():
        os.environ["DESIGNSPACE_KERNELS"] = "0" if kernels == "torch" else "1"
        library.cache_clear()
        has_convolutions.cache_clear()


def keep_freed_memory() -> None:
    """Make the C library keep freed memory, up to `KEPT_BYTES`, for later allocations.

    A training step frees all its maps and allocates them anew. By default the memory goes back to the operating system,
    which clears it again page by page: up to a tenth of a step. Settings in the environment (``MALLOC_..._``,
    ``GLIBC_TUNABLES``, which workers have) take precedence.
    """
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        with contextlib.suppress(AttributeError):  # another C library than glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
