"""Small C files, built with the machine's own compiler when first needed and kept in the folder of all that is fetched.

Everything works without them, more slowly. Set ``DESIGNSPACE_KERNELS=0`` to do without.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from designspace.support.folders import default_root

log = logging.getLogger(__name__)


def build(
    name: str, sources: Sequence[Path], flags: Sequence[str], libraries: Sequence[str] = ()
) -> ctypes.CDLL | None:
    """Give the library of some C files, built now if this machine has not built it yet.

    Args:
        name: of the library.
        sources: the files; the headers beside them belong to them.
        flags: for compiling.
        libraries: for linking.

    Returns:
        The library, or None where it cannot be built; why that is so goes to the log, unless there is no compiler.
    """
    if os.environ.get("DESIGNSPACE_KERNELS") == "0" or sys.platform != "linux":
        return None
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        return None
    try:
        path = default_root() / "kernels" / f"{name}-{_key(sources, flags, compiler)}.so"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                new = Path(folder) / path.name
                compiled = [str(Path(folder) / f"{source.stem}.o") for source in sources]
                for source, to in zip(sources, compiled, strict=True):
                    _run(compiler, *flags, "-fPIC", "-c", str(source), "-o", to)
                _run(compiler, "-shared", *compiled, "-o", str(new), *libraries)
                new.replace(path)  # whole or not at all: other processes build the same file at the same time
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("going on without compiled %s: %s", name, error)
        return None


def _key(sources: Sequence[Path], flags: Sequence[str], compiler: str) -> str:
    """What the built code depends on: a home folder may be shared by machines of several kinds.

    The compiler is not started, only found: where its code is in the cache, nothing is left that may fail in one
    process and not in another.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in lines if line.startswith(("flags", "Feat"))), "")
    texts = [path.read_text() for path in (*sources, *sorted(sources[0].parent.glob("*.h")))]
    parts = (*texts, " ".join(flags), compiler, platform.machine(), processor)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _run(*command: str) -> None:
    """Run the compiler; its complaints go into the error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
