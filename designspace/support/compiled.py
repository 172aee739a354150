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

from designspace.support.errors import InputError, RunError
from designspace.support.files import write_bytes
from designspace.support.folders import default_root

log = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size


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
        file = f"{name}-{_key(sources, flags, compiler)}.so"
        with tempfile.TemporaryDirectory(prefix="designspace-") as folder:
            path = _kept(file)
            if path is None or not _is_whole(path):
                new = Path(folder) / file
                _compile(new, compiler, sources, flags, libraries)
                path = _keep(new, path)
            return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("going on without compiled %s: %s", name, error)
        return None


def _kept(file: str) -> Path | None:
    """Where a library is kept for other processes; None if there is no folder for it."""
    try:
        return default_root() / "kernels" / file
    except InputError as error:
        log.warning("compiled code is not kept: %s", error)
        return None


def _is_whole(path: Path) -> bool:
    """Whether a file is a library as `_keep` wrote it: it ends with the SHA-256 of what comes before.

    A library that a full disk or a crash cut off may load all the same, and crash where a page is missing.
    """
    if not path.is_file():
        return False
    content = path.read_bytes()
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


def _keep(new: Path, path: Path | None) -> Path:
    """Keep a new library, whole or not at all, and return where it is to be loaded from.

    Other processes build the same file at the same time. Where it cannot be kept it is loaded from where it is.
    """
    if path is None:
        return new
    content = new.read_bytes()
    try:
        write_bytes(path, content + hashlib.sha256(content).digest())
    except RunError as error:
        log.warning("%s; every process builds it anew", error)
        return new
    return path


def _compile(new: Path, compiler: str, sources: Sequence[Path], flags: Sequence[str], libraries: Sequence[str]) -> None:
    """Build a library from C files, with what lies between in its folder."""
    objects = [str(new.with_name(f"{source.stem}.o")) for source in sources]
    for source, to in zip(sources, objects, strict=True):
        _run(compiler, *flags, "-fPIC", "-c", str(source), "-o", to)
    _run(compiler, "-shared", *objects, "-o", str(new), *libraries)


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
