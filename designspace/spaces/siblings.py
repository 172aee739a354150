"""Run folders in the same parent folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from designspace.spaces.population import POPULATION_FILE


def sibling_populations(folder: Path) -> list[Path]:
    """Return the folders beside this one that hold a population, sorted by name.

    Folders that cannot be read are skipped, and the list is empty if the parent folder cannot be listed.
    """
    try:
        folders = sorted((folder.parent if folder.name not in ("", "..") else folder.resolve().parent).iterdir())
    except OSError:
        return []
    siblings = []
    for other in folders:
        with contextlib.suppress(OSError):
            if other.resolve() != folder.resolve() and (other / POPULATION_FILE).is_file():
                siblings.append(other)
    return siblings
