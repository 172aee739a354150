"""Listing of a folder of class folders: its images, and the files that are left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from designspace.support.errors import RunError
from designspace.support.text import as_utf8, first_few

CAN_READ_AVIF = find_spec("PIL._avif") is not None
"""Whether this Pillow was built with a decoder for AVIF."""
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"),
    *((".avif",) if CAN_READ_AVIF else ()),
)
"""File name extensions of images, in lower or upper case."""
_SYSTEM_FILES = {
    "__macosx",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
"""Files and folders that operating systems create, in lower case. Neither they nor .DS_Store are listed or counted."""
_LONGEST_SUFFIX = 12

BESIDE_CLASSES = "images beside the class folders"
HIDDEN = "hidden files"
LINKS_ABOVE = "links to a folder above"
LINKS_TO_NOTHING = "links to nothing"
NO_SUFFIX = "files without a suffix"
SPECIAL = "pipes, sockets or devices"


class Listing:
    """The images of a folder of class folders. Links are followed; names that begin with a dot are left out.

    Raises:
        RunError: a folder cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.images: dict[str, list[str]] = {}
        """The paths of the images of each class, in order; the classes are in no particular order."""
        walk = _Walk()
        self.left_out = walk.left_out
        """Number of files of each kind that are not images; a kind is a suffix such as ``.heic``, or a description."""
        self._inodes: dict[str, list[int]] = {}
        """The inodes of `images`."""
        top = os.path.realpath(path)
        for entry in _entries(path):
            if not _is_folder(entry):
                if walk.is_image(entry):
                    self.left_out[BESIDE_CLASSES] += 1
            elif not _is_hidden(entry.name):
                if _is_at_or_above(os.path.realpath(entry.path), top):
                    self.left_out[LINKS_ABOVE] += 1
                else:
                    images = list(walk.images(entry.path))
                    self.images[entry.name] = [image.path for image in images]
                    self._inodes[entry.name] = [_inode(image) for image in images]

    def shared_files(self) -> list[tuple[str, str]]:
        """Return pairs of paths in the folders of different classes that are the same file, because of links."""
        paths = [path for paths in self.images.values() for path in paths]
        owner = np.repeat(np.arange(len(self.images)), [len(paths) for paths in self.images.values()])
        inodes = np.array([inode for inodes in self._inodes.values() for inode in inodes], np.uint64)
        order = np.argsort(inodes, kind="stable")
        same = (np.diff(inodes[order]) == 0) & (np.diff(owner[order]) != 0)
        pairs = [(paths[order[i]], paths[order[i + 1]]) for i in np.flatnonzero(same)]
        # Inodes are unique only within one file system.
        return [(first, second) for first, second in pairs if Path(first).samefile(second)]


def images_below(folder: Path) -> tuple[list[str], Counter[str]]:
    """Return the paths of all images in a folder and below it, in order, and the number of other files of each kind.

    Raises:
        RunError: a folder cannot be read.
    """
    walk = _Walk()
    return [entry.path for entry in walk.images(str(folder))], walk.left_out


class _Walk:
    """A walk through folders that finds images, and counts the other files by their kind."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()

    def images(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """Yield the images in a folder and below it in order, visiting each folder once."""
        visited = set()
        pending = [folder]
        while pending:
            folder = pending.pop()
            real = os.path.realpath(folder)
            if real in visited:
                continue
            visited.add(real)
            folders = []
            for entry in _entries(folder):
                if not _is_folder(entry):
                    if self.is_image(entry):
                        yield entry
                elif entry.is_symlink() and _is_at_or_above(os.path.realpath(entry.path), real):
                    self.left_out[LINKS_ABOVE] += 1  # the class would contain the images of all classes
                elif not _is_hidden(entry.name):
                    folders.append(entry.path)
            pending += reversed(folders)

    def is_image(self, entry: os.DirEntry[str]) -> bool:
        """Return whether a file is an image by its name; count any other file in `left_out`."""
        name = entry.name.lower()
        if name in _SYSTEM_FILES or name == ".ds_store" or name.startswith("._"):
            return False
        kind = _kind(entry)
        if kind:
            self.left_out[kind] += 1
        return not kind


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """Return the kinds of files that are left out as text, the most frequent ones first.

    >>> describe_left_out({".txt": 1, ".heic": 1200, "hidden files": 2})
    '1,200 .heic, 2 hidden files, 1 .txt'
    """
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return first_few([f"{count:,} {kind}" for kind, count in ordered], 20)


def describe_shared(pairs: Sequence[tuple[str, str]]) -> str:
    """Return as text which images are in the folders of two classes."""
    first, second = pairs[0]
    count, example = (f"{len(pairs):,} images are", ", for example") if len(pairs) > 1 else ("an image is", "")
    return (
        f"{count} in the folders of two classes, by links, so one of the labels is wrong: "
        f"{as_utf8(first)} and {as_utf8(second)}{example}"
    )


def _kind(entry: os.DirEntry[str]) -> str:
    """Return the kind of a file that is not an image, or an empty text for an image."""
    try:
        is_file = entry.is_file()
        if not is_file and entry.is_symlink():
            entry.stat()  # raises an error if the target of the link is missing
    except OSError:
        return LINKS_TO_NOTHING
    if not is_file:
        return SPECIAL
    if entry.name.startswith("."):
        return HIDDEN
    suffix = as_utf8(os.path.splitext(entry.name)[1].lower())  # noqa: PTH122
    if suffix in EXTENSIONS:
        return ""
    return suffix if 1 < len(suffix) <= _LONGEST_SUFFIX and suffix.isprintable() else NO_SUFFIX


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise RunError(f"cannot list the folder {as_utf8(str(folder))}: {error.strerror or error}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _inode(entry: os.DirEntry[str]) -> int:
    """Return the inode of an entry; only for a link does this require a system call."""
    return entry.stat().st_ino if entry.is_symlink() else entry.inode()


def _is_at_or_above(folder: str, other: str) -> bool:
    """Return whether a folder equals another one or contains it; both paths are free of links."""
    return other == folder or other.startswith(folder.rstrip("/") + "/")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_FILES
