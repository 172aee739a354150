"""The compiled part of the training step on CPUs: `norm.c`, built with the machine's C compiler when first needed.

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
_SOURCE = Path(__file__).with_name("norm.c")
# The OpenMP runtime is not linked: its symbols are found in the one that torch has loaded. A second runtime would have
# threads of its own, which wait in busy loops on the cores that torch's threads need.
_COMPILE = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")


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
    _keep_freed_memory()
    return built


def _keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, up to `KEPT_BYTES`, for what is allocated next.

    A training step frees all its maps and allocates them anew. By default they go back to the operating system and come
    again page by page, each cleared first: up to a tenth of a step. Settings of one's own (``MALLOC_..._``) stay.
    """
    if not any(name.startswith("MALLOC_") for name in os.environ):
        with contextlib.suppress(AttributeError):  # another C library than glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def _built(compiler: str) -> Path:
    """The shared library, from the cache or built."""
    path = default_root() / "kernels" / f"norm-{_key(compiler)}.so"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        compiled, linked = Path(folder, "norm.o"), Path(folder, "norm.so")
        _run(compiler, *_COMPILE, "-c", str(_SOURCE), "-o", str(compiled))
        _run(compiler, "-shared", str(compiled), "-o", str(linked))
        linked.replace(path)  # whole or not at all: other workers build the same file at the same time
    return path


def _key(compiler: str) -> str:
    """What the built code depends on: the source, the flags, the compiler and the kind of processor.

    A home folder may be shared by machines of several kinds. The compiler is not started, only found: where its code
    is in the cache, nothing is left that may fail in one process and not in another.
    """
    processor = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Feat"))]
    parts = (_SOURCE.read_text(), " ".join(_COMPILE), compiler, platform.machine(), processor[0] if processor else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _run(*command: str) -> None:
    """Run the compiler; its complaints go into the error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
