"""Fetches files of weights into the cache: several addresses, checked by what was published of them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import torch

from designspace.models.weights import gluon
from designspace.support.errors import InputError, RunError
from designspace.support.files import atomic_writer, write_text
from designspace.support.folders import default_root
from designspace.support.text import quantity

log = logging.getLogger(__name__)

TIMEOUT_S = 30
"""Seconds without an answer, or without another byte of it, after which an address counts as unreachable."""
SCHEMES = ("https", "http", "file")
LIMIT_BYTES = 8 << 30
"""No file of weights is larger."""
_CHUNK = 1 << 20
_LENGTHS = {"sha256": 64, "sha1": 40}


@dataclass(frozen=True, slots=True)
class Download:
    """A file at an address, and what is known of its content. Checked when made.

    Raises:
        InputError: the address is none that files are fetched from, or the digest is none.
    """

    url: str
    digest: str = ""
    """The published digest in hex, or how it begins, at least 8 digits; empty where none is published."""
    algorithm: str = "sha256"
    """What the digest is of: ``sha256`` the file; ``sha1`` a .params file, which may be zipped, as Gluon has it."""
    renamed: str = ""
    """What the file is called in the cache, where the last part of the address would not do."""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in SCHEMES or self.basename in ("", "..") or "/" in self.renamed:
            raise InputError(f"files are fetched from {', '.join(SCHEMES)} addresses; not from {self.url!r}")
        check_digest(self.digest, self.algorithm)

    @property
    def basename(self) -> str:
        """The last part of the address."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def file(self) -> str:
        """What the file is called in the cache."""
        return self.renamed or self.basename

    @property
    def unpacked(self) -> str:
        """What the file is called after unpacking, if that is how it is used elsewhere; else as in the cache."""
        return self.file.removesuffix(".zip") + ".params" if self.algorithm == "sha1" else self.file


def fetch(downloads: Sequence[Download], cache: Path | None = None) -> Path:
    """Give the path of a file that may be had from several addresses, fetched into the cache if need be.

    First the cache is searched, ``<cache>/weights``, then the one of ``torch.hub``; then the addresses are asked in
    turn. A file is only used, and only gets its name in the cache, when its content is what was published. Beside it
    ``<file>.sha256`` keeps the digest that it had when it was first seen, and from then on it must have that one: of
    some files nothing is published, and of others only how the digest begins.

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
        except _NotThere as error:
            said.append(f"  {download.url}: {error}")
    wanted = "\n".join(f"  {folder / d.file} ({_expectation(d)})" for d in files.values())
    raise RunError(
        "cannot fetch the weights; what was tried:\n"
        + "\n".join(said)
        + "\nTo do it by hand, download one of these elsewhere, then give its path instead of the name, or put it into "
        + f"the cache as\n{wanted}"
    )


def check_digest(digest: str, algorithm: str = "sha256") -> None:
    """Refuse what is no digest, nor the beginning of one; an empty text is none at all, and allowed.

    Raises:
        InputError: it is not hex, or of the wrong length.
    """
    if digest and not re.fullmatch(rf"[0-9a-f]{{8,{_LENGTHS[algorithm]}}}", digest):
        raise InputError(f"{digest!r} is no {algorithm} digest: 8 to {_LENGTHS[algorithm]} hex digits are needed")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mismatch(path: Path, download: Download) -> str | None:
    """How the content of a file differs from what is published of it, in words; None when it does not."""
    return _mismatch(path, download, sha256_of(path))


class _NotThere(Exception):
    """An address did not give the file; says why."""


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
        with contextlib.suppress(RunError):  # a cache that others fill may be read-only
            write_text(record, f"{digest}  {download.file}\n")
    return None


def _mismatch(path: Path, download: Download, sha256: str) -> str | None:
    """How a file's content differs from what is published; None when it does not."""
    try:
        digest = sha256 if download.algorithm == "sha256" else _sha1_of_params(path)
    except RunError as error:
        return str(error)
    if digest.startswith(download.digest):
        return None
    return f"its {download.algorithm} is {digest}, not {download.digest}{_dots(download)}"


def _sha1_of_params(path: Path) -> str:
    """The SHA-1 of a .params file, zipped or not; it was published in place of a SHA-256."""
    content = gluon.zipped_params(path) if zipfile.is_zipfile(path) else path.read_bytes()
    if content is None:
        raise RunError("no .params file is in it")
    return hashlib.sha1(content).hexdigest()


def _receive(download: Download, folder: Path) -> Path:
    """Fetch a file into the cache.

    Raises:
        _NotThere: the address does not answer, breaks off, or gives something else.
        RunError: the cache cannot be written.
    """
    path = folder / download.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as name:
            new = Path(name) / download.file
            _receive_as(new, download)
            if wrong := _differs(new, download, folder):
                raise _NotThere(f"it gave another file: {wrong}")
            new.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _receive_as(path: Path, download: Download) -> None:
    """Write what an address gives into a file, as far as it goes.

    Raises:
        _NotThere: the address does not answer, or breaks off.
        RunError: the file cannot be written.
    """
    with _opened(download.url) as answer:
        announced = answer.headers.get("Content-Length")
        size = int(announced) if announced and announced.isdecimal() else None
        log.info("fetching %s%s from %s", download.file, f" ({quantity(size)}B)" if size else "", download.url)
        received = 0
        with atomic_writer(path) as file:
            for chunk in _chunks(answer):
                received += file.write(chunk)
                if received > LIMIT_BYTES:
                    raise _NotThere(f"it goes on after {quantity(LIMIT_BYTES)}B, and no weights are so large")
    if size is not None and received != size:
        raise _NotThere(f"it broke off after {received:,} of {size:,} bytes")


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Any]:
    """The answer of an address."""
    try:
        answer = _opener().open(urllib.request.Request(url, headers={"User-Agent": "designspace"}), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise _NotThere(f"{error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _NotThere(_one_line(error)) from error
    with answer:
        yield answer


def _opener() -> urllib.request.OpenerDirector:
    """What opens addresses of `SCHEMES` alone, also when one refers to another."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.FileHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _chunks(answer: BinaryIO) -> Iterator[bytes]:
    """The body of an answer in pieces."""
    try:
        while chunk := answer.read(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _NotThere(f"it broke off: {_one_line(error)}") from error


def _expectation(download: Download) -> str:
    """What is known of the content."""
    if not download.digest:
        return "no digest of it is published"
    inside = " of the .params file in it" if download.algorithm == "sha1" else ""
    return f"{download.algorithm}{inside} {download.digest}{_dots(download)}"


def _dots(download: Download) -> str:
    """What shows that only the beginning of a digest is known."""
    return "..." if len(download.digest) < _LENGTHS[download.algorithm] else ""


def _one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    reason = getattr(error, "reason", None)
    return " ".join(str(reason or error).split()) or type(error).__name__
