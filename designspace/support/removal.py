"""Listing and removal of files below an untrusted folder; symbolic links are never followed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from designspace.support.reading import reading

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def files_below(root: Path) -> Iterator[tuple[Path, int]]:
    """Yield each file or link below a folder with its size; nothing if ``root`` is itself a link or missing."""
    with reading(root):
        for folder, folders, files, handle in os.fwalk(root, follow_symlinks=False) if root.is_dir() else ():
            for name in (*files, *folders):
                with contextlib.suppress(FileNotFoundError):
                    info = os.stat(name, dir_fd=handle, follow_symlinks=False)
                    if not stat.S_ISDIR(info.st_mode):
                        yield Path(folder) / name, info.st_size


def remove(path: Path, root: Path) -> bool:
    """Remove a file or link below ``root``; return whether it existed.

    Raises:
        OSError: the path is a folder, a parent folder is a link, or the file cannot be removed.
    """
    *folders, name = path.relative_to(root).parts
    if ".." in (*folders, name):
        raise OSError(f"{path} is not below {root}")
    with contextlib.ExitStack() as stack:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, handle)
        try:
            for folder in folders:
                handle = os.open(folder, _FOLDER, dir_fd=handle)
                stack.callback(os.close, handle)
            os.unlink(name, dir_fd=handle)
        except FileNotFoundError:
            return False
    return True


def remove_empty_folders(root: Path) -> None:
    """Remove ``root`` and the folders below it, as far as they contain no files."""
    with reading(root):
        for _, folders, _, handle in os.fwalk(root, topdown=False, follow_symlinks=False) if root.is_dir() else ():
            for name in folders:
                with contextlib.suppress(OSError):  # it is not empty, or is a link
                    os.rmdir(name, dir_fd=handle)
    with contextlib.suppress(OSError):
        root.rmdir()
