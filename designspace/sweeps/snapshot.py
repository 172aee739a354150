"""A copy of the code for a launch, so that editing the checkout or upgrading the package changes no queued trial."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from designspace.support.errors import InputError, RunError

PACKAGE = Path(__file__).resolve().parents[1]

ATTEMPTS = 3
"""How often a copy is repaired in a row before another process must be what damages it."""


def snapshot(parent: Path) -> Path:
    """Return the folder below ``parent`` to import a copy of the package, as it is now, from.

    The folder is named by the digest of the package and holds its files, byte by byte, and nothing else. A copy that
    exists is compared before it is returned. Where it differs (a full disk, an interrupted clean, a stranger's file),
    it is repaired file by file, so that tasks that run from it miss none of its files at any moment.

    Raises:
        InputError: Python could not import from there.
        RunError: the copy cannot be read, written or repaired.
    """
    check_path(parent)
    contents = _contents(PACKAGE)
    copy = parent / _digest(contents)[:12]
    try:
        for _ in range(ATTEMPTS):
            surplus = _surplus(copy, contents)
            _remove(surplus)
            missing = _missing(copy, contents)
            if not surplus and not missing:
                return copy
            if missing:
                _write(copy, {name: contents[name] for name in missing})
    except OSError as error:
        raise RunError(f"cannot write {copy}: {error.strerror or error}") from error
    raise RunError(f"{copy} was changed while it was checked; remove it once no launch of this run is at work")


def check_path(parent: Path) -> None:
    """Raise unless Python can import from below ``parent``.

    Raises:
        InputError: the path has a sign in it that separates paths.
    """
    if os.pathsep in str(parent.resolve()):
        raise InputError(f"{parent.resolve()}: a run folder's path must have no {os.pathsep!r} in it")


def environment(code: Path) -> dict[str, str]:
    """Variables that make a Python process import the package from a copy, whatever its working folder is.

    It writes no byte code: on a full disk that may be cut off, and whoever imports from the copy then would fail.
    """
    before = os.environ.get("PYTHONPATH", "")
    path = f"{code}{os.pathsep}{before}" if before else str(code)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _contents(package: Path) -> dict[Path, bytes]:
    """The files of a package by their paths, which begin with the package's name."""
    files = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {PACKAGE.name / path.relative_to(package): path.read_bytes() for path in files}


def _digest(contents: Mapping[Path, bytes]) -> str:
    """The SHA-256 of names and contents, in hex."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name.relative_to(PACKAGE.name)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _surplus(copy: Path, contents: Mapping[Path, bytes]) -> list[Path]:
    """What is in a copy and does not belong there: Python would import other files, byte code and links as well."""
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
    """Which files a copy lacks or has with another content."""
    return [name for name, content in contents.items() if not _holds(copy / name, content)]


def _holds(path: Path, content: bytes) -> bool:
    """Whether a path is a file with a content; neither a link nor a pipe is opened."""
    try:
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def _remove(paths: Iterable[Path]) -> None:
    """Delete files, links (not what they point to) and folders with all that is in them."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another launch repairs the same copy
            if _is_folder(path):
                shutil.rmtree(path)
            else:
                path.unlink()


def _write(copy: Path, files: Mapping[Path, bytes]) -> None:
    """Write files of a copy: a new copy appears whole or not at all, and so does each file of one that exists."""
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
            if not copy.exists():  # else another launch was faster; its copy is looked at next
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
