"""The compiled part of the training step on CPUs: C files, built with the machine's C compiler when first needed.

`norm.c` has batch-norm with what follows it, `pointwise.c` and `spatial.c` 1x1 and 3x3 convolutions with theirs.

Everything works without it, in more passes over memory (`designspace.models.fused` says what is fused). Set
``DESIGNSPACE_KERNELS=0`` to do without.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from designspace.support.folders import default_root

log = logging.getLogger(__name__)

KEPT_BYTES = 1 << 30
LARGEST_KEPT_BYTES = 32 << 20
"""Larger pieces always go back at once; glibc allows no more."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_FOLDER = Path(__file__).parent
_SOURCES = ("norm", "pointwise", "spatial")
# The OpenMP runtime is not linked: its symbols are found in the one that torch has loaded. A second runtime would have
# threads of its own, which wait in busy loops on the cores that torch's threads need.
_COMPILE: tuple[str, ...] = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
    "-fPIC",
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
    if os.environ.get("DESIGNSPACE_KERNELS") == "0" or sys.platform != "linux":
        return None
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        return None
    try:
        built = ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("training without compiled kernels, with other rounding than with them: %s", error)
        return None
    for name, kinds in _SIGNATURES.items():
        getattr(built, name).argtypes = [_KINDS[kind] for kind in kinds]
    _keep_freed_memory()
    return built


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


def _keep_freed_memory() -> None:
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


def _built(compiler: str) -> Path:
    """The shared library, from the cache or built."""
    path = default_root() / "kernels" / f"kernels-{_key(compiler)}.so"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        linked = Path(folder, "kernels.so")
        compiled = [str(Path(folder, f"{name}.o")) for name in _SOURCES]
        for name, to in zip(_SOURCES, compiled, strict=True):
            _run(compiler, *_COMPILE, "-c", str(_FOLDER / f"{name}.c"), "-o", to)
        _run(compiler, "-shared", *compiled, "-o", str(linked))
        linked.replace(path)  # whole or not at all: other workers build the same file at the same time
    return path


def _key(compiler: str) -> str:
    """What the built code depends on: the source, the flags, the compiler and the kind of processor.

    A home folder may be shared by machines of several kinds. The compiler is not started, only found: where its code
    is in the cache, nothing is left that may fail in one process and not in another.
    """
    processor = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Feat"))]
    sources = "\0".join(path.read_text() for path in sorted(_FOLDER.glob("*.[ch]")))
    parts = (sources, " ".join(_COMPILE), compiler, platform.machine(), processor[0] if processor else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _run(*command: str) -> None:
    """Run the compiler; its complaints go into the error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
