"""A copy of the code for a launch, so that editing the checkout or upgrading the package changes no queued trial."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from designspace.support.errors import InputError, RunError

PACKAGE = Path(__file__).resolve().parents[1]


def snapshot(parent: Path) -> Path:
    """Copy the package as it is now below ``parent``, unless that copy is there, and give the folder to import it from.

    A copy is named by what it holds. It appears whole or not at all.

    Raises:
        InputError: Python could not import from there.
        RunError: the copy cannot be written.
    """
    check_path(parent)
    sources = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    contents = {path.relative_to(PACKAGE): path.read_bytes() for path in sources}
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    place = parent / digest.hexdigest()[:12]
    if place.is_dir():
        return place
    temporary = parent / f".{place.name}.{os.urandom(4).hex()}.tmp"
    try:
        for name, content in contents.items():
            path = temporary / PACKAGE.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not place.is_dir():
            temporary.rename(place)
    except OSError as error:
        if not place.is_dir():  # another launch may have been faster
            raise RunError(f"cannot write {place}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


def check_path(parent: Path) -> None:
    """Raise unless Python can import from below ``parent``.

    Raises:
        InputError: the path has a sign in it that separates paths.
    """
    if os.pathsep in str(parent.resolve()):
        raise InputError(f"{parent.resolve()}: a run folder's path must have no {os.pathsep!r} in it")


def environment(code: Path) -> dict[str, str]:
    """Variables that make a Python process import the package from a copy, whatever its working folder is."""
    before = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{code}{os.pathsep}{before}" if before else str(code), "PYTHONSAFEPATH": "1"}
