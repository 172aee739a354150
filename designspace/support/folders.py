"""Folders on this machine for downloaded data sets and weights."""

from __future__ import annotations

import os
from pathlib import Path

from designspace.support.errors import InputError


def default_root() -> Path:
    """Return the folder of downloads: ``$DESIGNSPACE_DATA``, or ``~/.cache/designspace`` if that is not set.

    Raises:
        InputError: ``$DESIGNSPACE_DATA`` is not set, and this user has no home folder.
    """
    folder = os.environ.get("DESIGNSPACE_DATA")
    if folder:
        return expanded(folder)
    try:
        return Path.home() / ".cache" / "designspace"
    except RuntimeError as error:
        raise InputError(
            "this user has no home folder (HOME is not set) in which to keep data sets, weights and compiled kernels; "
            "choose another folder: export DESIGNSPACE_DATA=/path/to/a/folder"
        ) from error


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` or ``~user`` at its beginning replaced by the home folder.

    Raises:
        InputError: that home folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path}: the home folder that ~ stands for is not known (is HOME set?); type the full path"
        ) from error
