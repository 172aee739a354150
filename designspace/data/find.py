"""Finding the images to test a model on, by the name of a data set or by a folder."""

from __future__ import annotations

from pathlib import Path

from designspace.data import default_root, load, names
from designspace.data.image_folder import ImageFolder
from designspace.data.images import ImageData
from designspace.support.errors import InputError, closest
from designspace.support.folders import expanded
from designspace.support.imported import is_import_name

IMAGENET = "imagenet"


def find_images(data: str, root: Path | None = None, images: int | None = None) -> ImageFolder | ImageData:
    """Find the test images of a data set or folder, or a subset with the same shares of the classes.

    Args:
        data: ``imagenet`` for the folder ``<root>/imagenet/val``, the name of a prepared data set or of a
            function such as ``mine:load``, or else a folder of class folders.
        root: the folder of all data sets (see `default_root`).
        images: the number of images; None for all.

    Raises:
        InputError: there is nothing of that name, the folder has another layout, or it has fewer images.
        RunError: a prepared data set is missing or damaged.
    """
    root = default_root() if root is None else root
    is_name = is_import_name(data) and not expanded(data).exists()
    # ImageNet is tested on its original images even if it is packed.
    if is_name or (data != IMAGENET and data in names(root)):
        return load(data, root, test_images=images)
    folder = root / IMAGENET / "val" if data == IMAGENET else expanded(data)
    if not data or not folder.exists():
        problem = f"{folder} is not a folder; " if data == IMAGENET else f"{data!r} is neither a folder nor a name; "
        known = list(dict.fromkeys([IMAGENET, *names(root)]))
        suggestion = "".join(f"did you mean {near}? " for near in closest(data, known)[:1] if data != IMAGENET)
        choices = ", ".join(known)
        raise InputError(
            f"{problem}{suggestion}data must be a folder of class folders, as <folder>/<class>/<image>, or one of: "
            f"{choices}"
        )
    return ImageFolder.of(folder).subset(images)
