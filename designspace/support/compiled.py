"""Build small C libraries with the local compiler when they are first needed, and cache them.

Everything works without them, more slowly. Set ``DESIGNSPACE_KERNELS=0`` to disable them.

A library runs code as soon as it is loaded, and anybody can compute its file name. It is therefore loaded only if the
file and its folder belong to this user or to root and nobody else can write to them; otherwise it is rebuilt where this
holds. A library that was truncated by a full disk or a crash may still load, and crash later where a page is missing.
Each library therefore ends with the SHA-256 of the bytes before it, which loaders ignore.
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
    """Return the library of some C files, building it if it is not in the cache.

    Args:
        name: name of the library.
        sources: the C files; headers in the same folder are part of the cache key.
        flags: compiler flags.
        libraries: linker flags.

    Returns:
        The library, or None if it cannot be built. The reason is logged, unless there is no compiler.
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
                _make_folder(folder)
                return _load(folder / file) or _compile(folder / file, sources, flags, libraries, compiler)
            except (OSError, subprocess.SubprocessError) as error:
                reasons.append(str(error))
        # The library stays loaded after its file is deleted.
        with tempfile.TemporaryDirectory(prefix="designspace-") as temporary:
            return _compile(Path(temporary) / file, sources, flags, libraries, compiler)
    except (OSError, subprocess.SubprocessError) as error:
        reasons.append(str(error))
    log.warning("continuing without compiled %s: %s", name, "; ".join(dict.fromkeys(reasons)))
    return None


def _folders() -> list[Path]:
    """Return the folders that can hold libraries: the usual one, then one in the temporary folder."""
    temporary = Path(tempfile.gettempdir()) / f"designspace-{os.geteuid()}"
    try:
        return [default_root() / "kernels", temporary]
    except InputError:  # there is no home folder
        return [temporary]


def _make_folder(folder: Path) -> None:
    """Create a folder that only this user can write to, unless it exists.

    Raises:
        OSError: it belongs to another user, others can write to it, or it cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    info = folder.lstat()
    if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and info.st_mode & _OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(info.st_mode) & ~_OTHERS_WRITE)  # it was made under a group-writable umask
        info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or not _is_trusted(info):
        raise PermissionError(f"{folder} is not a folder that only you can write to")


def _is_trusted(info: os.stat_result) -> bool:
    """Return whether only this user and root can have written a file."""
    return info.st_uid in (0, os.geteuid()) and not info.st_mode & _OTHERS_WRITE


def _load(path: Path) -> ctypes.CDLL | None:
    """Load a library; return None if the file is missing, not trusted or damaged."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    library = None
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode) or not _is_trusted(info):
            log.warning("%s could have been written by other users and is rebuilt", path)
        elif not _is_intact(handle):
            log.warning("%s is damaged and is rebuilt", path)
        else:
            library = ctypes.CDLL(f"/proc/self/fd/{handle}")  # this file, even if its name now leads to another
    except OSError as error:
        log.warning("%s cannot be loaded and is rebuilt (%s)", path, error)
    if library is None:  # a loaded file stays open: the loader would confuse a second file of the same name with it
        os.close(handle)
    return library


def _is_intact(handle: int) -> bool:
    """Return whether an open file ends with the SHA-256 of the bytes before."""
    with open(handle, "rb", closefd=False) as file:
        content = file.read()
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


def _compile(
    path: Path, sources: Sequence[Path], flags: Sequence[str], libraries: Sequence[str], compiler: str
) -> ctypes.CDLL:
    """Build a library, move it to its path and load it.

    Raises:
        OSError, SubprocessError: the library cannot be built, written or loaded.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder) / path.name
        objects = [str(Path(folder) / f"{source.stem}.o") for source in sources]
        for source, target in zip(sources, objects, strict=True):
            _run(compiler, *flags, "-fPIC", "-c", str(source), "-o", target)
        _run(compiler, "-shared", *objects, "-o", str(new), *libraries)
        new.chmod(0o755)  # whatever the umask is
        with new.open("ab") as file:
            file.write(hashlib.sha256(new.read_bytes()).digest())
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        new.replace(path)  # atomic, since other processes may build the same file at the same time
    library = _load(path)
    if library is None:
        raise OSError(f"{path} cannot be loaded")
    return library


def _key(sources: Sequence[Path], flags: Sequence[str], compiler: str) -> str:
    """Return a hash of all that the built code depends on, since machines of several kinds may share a home folder.

    The compiler is located but not run: if the library is in the cache, nothing can then fail in one process and
    succeed in another.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in lines if line.startswith(("flags", "Feat"))), "")
    texts = [path.read_text() for path in (*sources, *sorted(sources[0].parent.glob("*.h")))]
    # The first part distinguishes these files from those of earlier versions, which did not end with a digest.
    parts = ("ends with its SHA-256", *texts, " ".join(flags), compiler, platform.machine(), processor)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _run(*command: str) -> None:
    """Run the compiler; raise an error with its messages if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()[:500]}")
