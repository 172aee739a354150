"""Where on this machine things are kept that were fetched: data sets and weights."""

from __future__ import annotations

import os
from pathlib import Path

from designspace.support.errors import InputError


def default_root() -> Path:
    """Return the folder of all that is fetched: ``$DESIGNSPACE_DATA``, or ``~/.cache/designspace`` if that is not set.

    Raises:
        InputError: ``$DESIGNSPACE_DATA`` is not set, and this user has no home folder.
    """
    given = os.environ.get("DESIGNSPACE_DATA")
    if given:
        return expanded(given)
    try:
        return Path.home() / ".cache" / "designspace"
    except RuntimeError as error:
        raise InputError(
            "this user has no home folder (HOME is not set), where data sets, weights and compiled kernels would be "
            "kept; name another: export DESIGNSPACE_DATA=/path/to/a/folder"
        ) from error


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` at its beginning replaced by the home folder that it stands for.

    Raises:
        InputError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: there is no home folder for the ~ (is HOME set?); type the whole path") from error
