"""Fetches files of weights into the cache: several addresses, checked by what was published of them."""

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
    """Give the path of a file that may be had from several addresses, fetched into the cache if need be.

    First the cache is searched, ``<cache>/weights``, then the one of ``torch.hub``; then the addresses are asked in
    turn. A file is only used, and only gets its name in the cache, when its content is what was published. Beside it
    ``<file>.sha256`` keeps the digest that it had when it was first seen, and from then on it must have that one: of
    some files nothing is published (these must be readable as weights), and of others only how the digest begins.

    Args:
        downloads: where it can be had, first choice first. What they give need not be the same bytes.
        cache: the folder of all that is fetched; None for `designspace.support.folders.default_root`.

    Raises:
        RunError: it cannot be had; the error lists each place with what it answered, and how to do it by hand.
            Or the cache cannot be written.
    """
    folder = (default_root() if cache is None else cache) / "weights"
    said = []
    files = {(download.file, download.digest): download for download in downloads}  # mirrors give the same one
    for download in files.values():
        for path in _places(download, folder):
            wrong = _wrong(path, download, folder)
            if wrong is None:
                return path
            said.append(f"  {path}: {wrong}")
    for download in downloads:
        try:
            return _receive(download, folder)
        except DownloadError as error:
            said.append(f"  {download.url}: {error}")
    wanted = "\n".join(f"  {folder / d.file} ({_expectation(d)})" for d in files.values())
    raise RunError(
        "cannot fetch the weights; what was tried:\n"
        + "\n".join(said)
        + "\nTo do it by hand, download one of these elsewhere, then give its path instead of the name, or put it into "
        + f"the cache as\n{wanted}"
    )


def mismatch(path: Path, download: Download) -> str | None:
    """How the content of a file differs from what is published of it, in words; None when it does not."""
    return _mismatch(path, download, sha256_of(path))


def _places(download: Download, folder: Path) -> list[Path]:
    """Where the file may lie on this machine already: in our cache, or in that of ``torch.hub`` by the same name."""
    places = [folder / download.file]
    if download.file == download.basename:
        places.append(Path(torch.hub.get_dir()) / "checkpoints" / download.basename)
    return places


def _wrong(path: Path, download: Download, folder: Path) -> str | None:
    """What is wrong with a file that may be there; None when it is the right one, whose digest is then kept."""
    if not path.is_file():
        return "no such file"
    try:
        wrong = _differs(path, download, folder)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return f"damaged, or another file: {wrong}" if wrong else None


def _differs(path: Path, download: Download, folder: Path) -> str | None:
    """How the file's content differs from what is known of it; None when it does not, and then its digest is kept."""
    digest = sha256_of(path)
    if wrong := _mismatch(path, download, digest):
        return wrong
    record = folder / f"{download.file}.sha256"
    first = record.read_text().split()[:1] if record.is_file() else []
    if first and first[0] != digest:
        return f"its sha256 is not the one it first had ({record}; delete that file if the change is as it should be)"
    if not first:
        if not download.digest and (wrong := _unreadable(path)):  # such as a page that asks for a password
            return wrong
        with contextlib.suppress(RunError):  # a cache that others fill may be read-only
            write_text(record, f"{digest}  {download.file}\n")
    return None


def _unreadable(path: Path) -> str | None:
    """Why no weights can be read from a file; None when they can."""
    try:
        read_state_dict(path)
    except RunError as error:
        return str(error)
    return None


def _mismatch(path: Path, download: Download, sha256: str) -> str | None:
    """How a file's content differs from what is published; None when it does not."""
    try:
        digest = sha256 if download.algorithm == "sha256" else _sha1_of_params(path)
    except RunError as error:
        return str(error)
    if digest.startswith(download.digest):
        return None
    return f"its {download.algorithm} is {digest}, not {download.shown}"


def _sha1_of_params(path: Path) -> str:
    """The SHA-1 of a .params file, zipped or not; it was published in place of a SHA-256."""
    content = gluon.zipped_params(path) if zipfile.is_zipfile(path) else path.read_bytes()
    if content is None:
        raise RunError("no .params file is in it")
    return hashlib.sha1(content).hexdigest()


def _receive(download: Download, folder: Path) -> Path:
    """Fetch a file into the cache.

    Raises:
        DownloadError: the address does not answer, breaks off, or gives something else.
        RunError: the cache cannot be written.
    """
    path = folder / download.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as name:
            new = Path(name) / download.file
            receive(new, download)
            if wrong := _differs(new, download, folder):
                raise DownloadError(f"it gave another file: {wrong}")
            new.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _expectation(download: Download) -> str:
    """What is known of the content."""
    if not download.digest:
        return "no digest of it is published"
    inside = " of the .params file in it" if download.algorithm == "sha1" else ""
    return f"{download.algorithm}{inside} {download.shown}"
