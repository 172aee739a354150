"""Copies of the code for launches, so that editing the checkout or upgrading the package changes no queued trial."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from designspace.support import user_code
from designspace.support.errors import InputError, RunError

PACKAGE = Path(__file__).resolve().parents[1]

MAX_REPAIRS = 3
"""Number of repairs in a row after which another process must be damaging the copy."""


def snapshot(parent: Path, names: Iterable[str] = ()) -> Path:
    """Copy the package, as it is now, and return the folder below ``parent`` from which the copy can be imported.

    The user's own modules that ``names`` such as ``mine:Block`` need are copied too (see `user_code.files_of`).

    The name of the folder is the digest of the files. It holds exact copies of them and nothing else. An
    existing copy is verified before it is returned. If it differs (a full disk, an interrupted clean, an extra file),
    it is repaired file by file, so that no intact file is ever missing for tasks that run from it.

    Raises:
        InputError: Python cannot import from there.
        RunError: the copy cannot be read, written or repaired, or a file of the user's modules cannot be read.
    """
    check_path(parent)
    contents = {**_contents(PACKAGE), **user_code.files_of(names)}
    copy = parent / _digest(contents)[:12]
    try:
        for _ in range(MAX_REPAIRS):
            surplus = _surplus(copy, contents)
            _remove(surplus)
            missing = _missing(copy, contents)
            if not surplus and not missing:
                return copy
            if missing:
                _write(copy, {name: contents[name] for name in missing})
    except OSError as error:
        raise RunError(f"cannot write {copy}: {error.strerror or error}") from error
    raise RunError(f"{copy} was changed while it was checked; remove it when no launch of this run is active")


def check_path(parent: Path) -> None:
    """Raise unless Python can import from below ``parent``.

    Raises:
        InputError: the path contains the separator of paths.
    """
    if os.pathsep in str(parent.resolve()):
        raise InputError(f"{parent.resolve()}: a run folder's path must have no {os.pathsep!r} in it")


def environment(code: Path) -> dict[str, str]:
    """Return the variables that make a Python process import the package from a copy, in any working folder.

    Python writes no byte code: on a full disk it may be truncated, and later imports from the copy would fail.
    """
    existing = os.environ.get("PYTHONPATH", "")
    path = f"{code}{os.pathsep}{existing}" if existing else str(code)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _contents(package: Path) -> dict[Path, bytes]:
    """Return the contents of a package's files by their paths, which begin with the name of the package."""
    files = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {PACKAGE.name / path.relative_to(package): path.read_bytes() for path in files}


def _digest(contents: Mapping[Path, bytes]) -> str:
    """Return the SHA-256 of names and contents, in hex."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        # The package's own files without its name, as in the digests of earlier versions.
        own = name.parts[0] == PACKAGE.name
        shown = name.relative_to(PACKAGE.name) if own else Path("..") / name
        digest.update(f"{shown}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return digest.hexdigest()


def _surplus(copy: Path, contents: Mapping[Path, bytes]) -> list[Path]:
    """Return the paths in a copy that do not belong there: Python would import extra files, byte code and links."""
    folders = {parent for name in contents for parent in name.parents}

    def search(folder: Path) -> Iterator[Path]:
        for entry in os.scandir(copy / folder):
            name = folder / entry.name
            if entry.is_dir(follow_symlinks=False) and name in folders:
                yield from search(name)
            elif not (entry.is_file(follow_symlinks=False) and name in contents):
                yield copy / name

    if not _is_folder(copy):
        return [copy] if os.path.lexists(copy) else []
    return list(search(Path()))


def _missing(copy: Path, contents: Mapping[Path, bytes]) -> list[Path]:
    """Return the files that are missing in a copy or differ."""
    return [name for name, content in contents.items() if not _holds(copy / name, content)]


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a path is a regular file with this content; links and pipes are not opened."""
    try:
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def _remove(paths: Iterable[Path]) -> None:
    """Delete files, links (not their targets) and folders with their contents."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another launch is repairing the same copy
            if _is_folder(path):
                shutil.rmtree(path)
            else:
                path.unlink()


def _write(copy: Path, files: Mapping[Path, bytes]) -> None:
    """Write files of a copy. A new copy is created atomically; in an existing one, each file is replaced atomically."""
    temporary = copy.parent / f".{copy.name}.{os.urandom(4).hex()}.tmp"
    try:
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)
        if copy.exists():
            for name in files:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).replace(copy / name)
            return
        try:
            temporary.rename(copy)
        except OSError:
            if not copy.exists():  # otherwise another launch was faster; its copy is checked next
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
