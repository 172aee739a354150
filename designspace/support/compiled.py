"""Small C files, built with the machine's own compiler when first needed and kept in the folder of all that is fetched.

Everything works without them, more slowly. Set ``DESIGNSPACE_KERNELS=0`` to do without.

A library runs as soon as it is loaded, and anybody can compute its name. So it is loaded only if it and its folder
belong to this user or to root and nobody else may write them; elsewhere it is built anew, where that is so. A library
that a full disk or a crash cut off may load all the same, and crash where a page is missing. So a library ends with the
SHA-256 of what comes before, which loaders ignore.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from designspace.support.errors import InputError
from designspace.support.folders import default_root

log = logging.getLogger(__name__)

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
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
    reasons = []
    try:
        file = f"{name}-{_key(sources, flags, compiler)}.so"
        for folder in _folders():
            try:
                _prepare(folder)
                return _loaded(folder / file) or _built(folder / file, sources, flags, libraries, compiler)
            except (OSError, subprocess.SubprocessError) as error:
                reasons.append(str(error))
        with tempfile.TemporaryDirectory(prefix="designspace-") as own:  # it stays loaded when its file is gone
            return _built(Path(own) / file, sources, flags, libraries, compiler)
    except (OSError, subprocess.SubprocessError) as error:
        reasons.append(str(error))
    log.warning("going on without compiled %s: %s", name, "; ".join(dict.fromkeys(reasons)))
    return None


def _folders() -> list[Path]:
    """Where libraries may be kept, the usual folder first, then one of this user's own on this machine."""
    own = Path(tempfile.gettempdir()) / f"designspace-{os.geteuid()}"
    try:
        return [default_root() / "kernels", own]
    except InputError:  # there is no home folder
        return [own]


def _prepare(folder: Path) -> None:
    """Make a folder that only this user may write, unless there is one.

    Raises:
        OSError: it belongs to somebody else, others may write it, or it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & _OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)  # made under a umask that lets a group write
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or not _is_ours(found):
        raise PermissionError(f"{folder} is not a folder that only you can write")


def _is_ours(found: os.stat_result) -> bool:
    """Whether nobody but this user and root can have written something."""
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & _OTHERS_WRITE


def _loaded(path: Path) -> ctypes.CDLL | None:
    """Load a library; None if there is none here that may be trusted, or it is damaged."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    library = None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(found):
            log.warning("%s could have been written by others, and is built anew", path)
        elif not _is_whole(handle):
            log.warning("%s is damaged, and is built anew", path)
        else:
            library = ctypes.CDLL(f"/proc/self/fd/{handle}")  # this very file, whatever becomes of its name
    except OSError as error:
        log.warning("%s cannot be loaded, and is built anew (%s)", path, error)
    if library is None:  # otherwise it stays open: the loader takes a second file of the same name for the first
        os.close(handle)
    return library


def _is_whole(handle: int) -> bool:
    """Whether an open file ends with the SHA-256 of what comes before."""
    with open(handle, "rb", closefd=False) as file:
        content = file.read()
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


def _built(
    path: Path, sources: Sequence[Path], flags: Sequence[str], libraries: Sequence[str], compiler: str
) -> ctypes.CDLL:
    """Build a library, put it into its place and load it.

    Raises:
        OSError, SubprocessError: it cannot be built, written or loaded.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder) / path.name
        compiled = [str(Path(folder) / f"{source.stem}.o") for source in sources]
        for source, to in zip(sources, compiled, strict=True):
            _run(compiler, *flags, "-fPIC", "-c", str(source), "-o", to)
        _run(compiler, "-shared", *compiled, "-o", str(new), *libraries)
        new.chmod(0o755)  # the umask may let others write
        with new.open("ab") as file:
            file.write(hashlib.sha256(new.read_bytes()).digest())
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        new.replace(path)  # whole or not at all: other processes build the same file at the same time
    loaded = _loaded(path)
    if loaded is None:
        raise OSError(f"{path} cannot be loaded")
    return loaded


def _key(sources: Sequence[Path], flags: Sequence[str], compiler: str) -> str:
    """What the built code depends on: a home folder may be shared by machines of several kinds.

    The compiler is not started, only found: where its code is in the cache, nothing is left that may fail in one
    process and not in another.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in lines if line.startswith(("flags", "Feat"))), "")
    texts = [path.read_text() for path in (*sources, *sorted(sources[0].parent.glob("*.h")))]
    # The first part sets these files apart from those of earlier versions, which had no digest at their end.
    parts = ("ends with its SHA-256", *texts, " ".join(flags), compiler, platform.machine(), processor)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _run(*command: str) -> None:
    """Run the compiler; its complaints go into the error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
