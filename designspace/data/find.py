"""The images that a model is tested on, by what a person calls them: a data set's name, or a folder."""

from __future__ import annotations

from pathlib import Path

from designspace.data import default_root, load, names
from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData
from designspace.support.errors import InputError, closest
from designspace.support.folders import expanded

IMAGENET = "imagenet"


def find_images(data: str, root: Path | None = None, images: int | None = None) -> ImageFolder | ImageData:
    """Find test images, or so many of them with each class in its share.

    Args:
        data: ``imagenet`` for the folder ``<root>/imagenet/val``, the name of a prepared data set, or else a folder of
            class folders.
        root: the folder of all data sets (see `default_root`).
        images: how many; None means all.

    Raises:
        InputError: there is nothing of that name, the folder is not laid out so, or it has not so many images.
        RunError: a prepared data set is missing or damaged.
    """
    root = default_root() if root is None else root
    if data != IMAGENET and data in names(root):  # packed or not, ImageNet is tested on as its images are
        return load(data, root, test_images=images)
    folder = root / IMAGENET / "val" if data == IMAGENET else expanded(data)
    if not data or not folder.exists():
        wanted = f"{folder} is no folder; " if data == IMAGENET else f"{data!r} is neither a folder nor a name; "
        known = list(dict.fromkeys([IMAGENET, *names(root)]))
        meant = "".join(f"did you mean {near}? " for near in closest(data, known)[:1] if data != IMAGENET)
        listed = ", ".join(known)
        raise InputError(
            f"{wanted}{meant}data is a folder of class folders, as <folder>/<class>/<image>, or one of: {listed}"
        )
    return ImageFolder.of(folder).subset(images)
