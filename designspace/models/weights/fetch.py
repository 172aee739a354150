"""Fetches weight files into the cache: tries several addresses, and checks the published digest."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from designspace.models.weights import gluon
from designspace.models.weights.files import read_state_dict
from designspace.support.download import Download, DownloadError, receive
from designspace.support.errors import RunError
from designspace.support.files import sha256_of, write_text
from designspace.support.folders import default_root


def fetch(downloads: Sequence[Download], cache: Path | None = None) -> Path:
    """Return the path of a weight file, and fetch the file into the cache if necessary.

    The cache ``<cache>/weights`` is searched first, then that of ``torch.hub``; then the addresses are tried in order.
    A file is used, and named in the cache, only if its content has the published digest. ``<file>.sha256`` beside it
    records the digest that the file had first, and later contents must have the same one: for some files no digest is
    published (these must be readable as weights), and for others only its first digits.

    Args:
        downloads: addresses of the file in order of preference. Their contents may differ.
        cache: folder for downloads; None for `designspace.support.folders.default_root`.

    Raises:
        RunError: the file cannot be fetched (the error lists each location with its problem, and how to proceed by
            hand), or the cache cannot be written.
    """
    folder = (default_root() if cache is None else cache) / "weights"
    problems = []
    files = {(download.file, download.digest): download for download in downloads}  # mirrors share one file
    for download in files.values():
        for path in _local_paths(download, folder):
            problem = _check_local(path, download, folder)
            if problem is None:
                return path
            problems.append(f"  {path}: {problem}")
    for download in downloads:
        try:
            return _receive(download, folder)
        except DownloadError as error:
            problems.append(f"  {download.url}: {error}")
    targets = "\n".join(f"  {folder / d.file} ({_describe_digest(d)})" for d in files.values())
    raise RunError(
        "cannot fetch the weights; tried:\n"
        + "\n".join(problems)
        + "\nTo fetch them by hand, download one of these files elsewhere; then give its path instead of the name, or "
        + f"put it into the cache as\n{targets}"
    )


def mismatch(path: Path, download: Download) -> str | None:
    """Return a description of how a file's content differs from the published one; None if it does not."""
    return _mismatch(path, download, sha256_of(path))


def _local_paths(download: Download, folder: Path) -> list[Path]:
    """Return the paths where the file may already exist: in our cache, or by the same name in that of ``torch.hub``."""
    paths = [folder / download.file]
    if download.file == download.basename:
        paths.append(Path(torch.hub.get_dir()) / "checkpoints" / download.basename)
    return paths


def _check_local(path: Path, download: Download, folder: Path) -> str | None:
    """Return the problem with a file that may exist; None if it is the right one, whose digest is then recorded."""
    if not path.is_file():
        return "no such file"
    try:
        problem = _check_content(path, download, folder)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return f"damaged, or another file: {problem}" if problem else None


def _check_content(path: Path, download: Download, folder: Path) -> str | None:
    """Return how a file differs from the published or recorded one; None if it does not, and record its digest then."""
    digest = sha256_of(path)
    if problem := _mismatch(path, download, digest):
        return problem
    record = folder / f"{download.file}.sha256"
    recorded = record.read_text().split()[:1] if record.is_file() else []
    if recorded and recorded[0] != digest:
        return f"its sha256 differs from the first one ({record}; delete that file if the change is intended)"
    if not recorded:
        if not download.digest and (problem := _unreadable(path)):  # such as a login page
            return problem
        with contextlib.suppress(RunError):  # a shared cache may be read-only
            write_text(record, f"{digest}  {download.file}\n")
    return None


def _unreadable(path: Path) -> str | None:
    """Return why no weights can be read from a file; None if they can."""
    try:
        read_state_dict(path)
    except RunError as error:
        return str(error)
    return None


def _mismatch(path: Path, download: Download, sha256: str) -> str | None:
    """Return how a file's digest differs from the published one; None if it does not."""
    try:
        digest = sha256 if download.algorithm == "sha256" else _sha1_of_params(path)
    except RunError as error:
        return str(error)
    if digest.startswith(download.digest):
        return None
    return f"its {download.algorithm} is {digest}, not {download.shown}"


def _sha1_of_params(path: Path) -> str:
    """Return the SHA-1 of a .params file, zipped or not, which is published instead of a SHA-256."""
    content = gluon.zipped_params(path) if zipfile.is_zipfile(path) else path.read_bytes()
    if content is None:
        raise RunError("it contains no .params file")
    return hashlib.sha1(content).hexdigest()


def _receive(download: Download, folder: Path) -> Path:
    """Fetch a file into the cache.

    Raises:
        DownloadError: the address does not respond, the download breaks off, or it is another file.
        RunError: the cache cannot be written.
    """
    path = folder / download.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as name:
            new = Path(name) / download.file
            receive(new, download)
            if problem := _check_content(new, download, folder):
                raise DownloadError(f"it is another file: {problem}")
            new.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _describe_digest(download: Download) -> str:
    """Return the published digest as text."""
    if not download.digest:
        return "no digest is published"
    scope = " of the .params file in it" if download.algorithm == "sha1" else ""
    return f"{download.algorithm}{scope} {download.shown}"
