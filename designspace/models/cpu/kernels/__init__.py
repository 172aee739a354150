"""The compiled part of the training step on CPUs: C files, built with the machine's C compiler when first needed.

`norm.c` has batch-norm with what follows it, `pointwise.c` and `spatial.c` 1x1 and 3x3 convolutions with theirs.

Everything works without it, in more passes over memory (`designspace.models.cpu.modules` says what is fused). Set
``DESIGNSPACE_KERNELS=0`` to do without.
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
LARGEST_KEPT_BYTES = 32 << 20
"""Larger pieces always go back at once; glibc allows no more."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_SOURCES = [Path(__file__).with_name(f"{name}.c") for name in ("norm", "pointwise", "spatial")]
# The OpenMP runtime is not linked: its symbols are found in the one that torch has loaded. A second runtime would have
# threads of its own, which wait in busy loops on the cores that torch's threads need.
_COMPILE: tuple[str, ...] = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
)
if platform.machine() in ("x86_64", "AMD64"):
    _COMPILE = (*_COMPILE, "-mprefer-vector-width=512")  # compilers shun the widest vectors, for older processors' sake
_KINDS = {"*": ctypes.c_void_p, "n": ctypes.c_int64, "d": ctypes.c_double}
_SIGNATURES = {
    "norm_statistics": "*nn***n",
    "norm_forward": "*****nnnn",
    "norm_backward": "************nnnn",
    "splits_pool": "****nnnnn",
    "splits_combine": "*****nnnnn",
    "splits_weight_gradient": "*****nnnnn",
    "splits_backward": "************nnnnn",
    "pointwise_forward": "***nn*nnnnnnnn*****ddn*n",
    "pointwise_backward": "*********nn***n*nnnnnnnnn",
    "spatial_forward": "***nnn*nnnnnnn*****ddn*n",
    "spatial_backward": "*********nnn***nnnnnnnn",
    "join_forward": "****n*nnn",
    "join_backward": "*********nnn",
}
"""The kernels' arguments: pointers, whole numbers and doubles. All give 0, or 1 if no memory was left."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """Give the compiled kernels, built now if this machine has not built them yet; None where that cannot be done."""
    built = build("kernels", _SOURCES, _COMPILE)
    if built is None:
        return None
    for name, kinds in _SIGNATURES.items():
        getattr(built, name).argtypes = [_KINDS[kind] for kind in kinds]
    return built


@functools.cache
def has_convolutions() -> bool:
    """Whether the kernels of convolutions are there and were found fast on processors of this kind (x86 with AVX2)."""
    kernels = library()
    return kernels is not None and bool(kernels.convolutions_are_fast())


def name() -> str:
    """What trains here, as a run notes it: ``compiled`` or ``torch``."""
    return "torch" if library() is None else "compiled"


def use(kernels: str) -> None:
    """Train with ``compiled`` kernels, if there is a compiler, or on ``torch``'s layers.

    From now on, in this process and those that it starts; nothing may be in training meanwhile.
    """
    if kernels != name():
        os.environ["DESIGNSPACE_KERNELS"] = "0" if kernels == "torch" else "1"
        library.cache_clear()
        has_convolutions.cache_clear()


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, up to `KEPT_BYTES`, for what is allocated next.

    A training step frees all its maps and allocates them anew. By default they go back to the operating system and come
    again page by page, each cleared first: up to a tenth of a step. Settings of one's own stay (``MALLOC_..._``,
    ``GLIBC_TUNABLES``, which workers have).
    """
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        with contextlib.suppress(AttributeError):  # another C library than glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
