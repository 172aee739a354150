"""Downloads: descriptions of files at web addresses, and their transfer over the network."""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from designspace.support.errors import InputError
from designspace.support.files import atomic_writer
from designspace.support.text import prefixed

log = logging.getLogger(__name__)

TIMEOUT_S = 30
"""Seconds without a response, or without another byte of it, after which a download fails."""
SCHEMES = ("https", "http", "file")
LIMIT_BYTES = 8 << 30
"""Maximum size of a download whose own limit is not known."""
_CHUNK = 1 << 20
_LENGTHS = {"sha256": 64, "sha1": 40}


@dataclass(frozen=True, slots=True)
class Download:
    """A file at an address, with its published digest; validated on creation.

    Raises:
        InputError: the address has no file name or another scheme than `SCHEMES`, or the digest is invalid.
    """

    url: str
    digest: str = ""
    """The published digest in hex, or at least its first 8 digits; empty if none is published."""
    algorithm: str = "sha256"
    """``sha256``: of the file. ``sha1``: of a .params file, which may be zipped, as Gluon publishes it."""
    renamed: str = ""
    """Name of the file in the cache, if the last part of the address is not suitable."""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in SCHEMES or self.basename in ("", "..") or "/" in self.renamed:
            raise InputError(
                f"{self.url!r} is not the address of a file; files can be fetched from: {', '.join(SCHEMES)}"
            )
        check_digest(self.digest, self.algorithm)

    @property
    def basename(self) -> str:
        """The last part of the address."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def file(self) -> str:
        """Name of the file in the cache."""
        return self.renamed or self.basename

    @property
    def unpacked(self) -> str:
        """Name of the file after unpacking, if other programs use it unpacked; otherwise its name in the cache."""
        return self.file.removesuffix(".zip") + ".params" if self.algorithm == "sha1" else self.file

    @property
    def shown(self) -> str:
        """The digest, followed by dots if only its beginning is known."""
        return self.digest + ("..." if len(self.digest) < _LENGTHS[self.algorithm] else "")


def check_digest(digest: str, algorithm: str = "sha256") -> None:
    """Check that a text is a digest or the beginning of one; an empty text means no digest and is allowed.

    Raises:
        InputError: it is not hex, or has the wrong length.
    """
    if digest and not re.fullmatch(rf"[0-9a-f]{{8,{_LENGTHS[algorithm]}}}", digest):
        raise InputError(f"{digest!r} is not a {algorithm} digest, which has 8 to {_LENGTHS[algorithm]} hex digits")


class DownloadError(Exception):
    """A download failed; the message is the reason."""


def receive(path: Path, download: Download, limit_bytes: int | None = None) -> None:
    """Download a file.

    Args:
        path: where to write it.
        download: its address.
        limit_bytes: maximum size; None for `LIMIT_BYTES`.

    Raises:
        DownloadError: the server does not respond, the connection fails, or the file is larger than the limit.
        RunError: the file cannot be written.
    """
    limit = LIMIT_BYTES if limit_bytes is None else limit_bytes
    with _opened(download.url) as response:
        content_length = response.headers.get("Content-Length")
        size = int(content_length) if content_length and content_length.isdecimal() else None
        log.info("fetching %s%s from %s", download.file, f" ({prefixed(size)}B)" if size else "", download.url)
        received = 0
        with atomic_writer(path) as file:
            for chunk in _chunks(response):
                received += file.write(chunk)
                if received > limit:
                    raise DownloadError(f"the file is larger than {prefixed(limit)}B, the limit for this download")
    if size is not None and received != size:
        raise DownloadError(f"the connection closed after {received:,} of {size:,} bytes")


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Any]:
    """Open an address and yield the response."""
    try:
        response = _opener().open(urllib.request.Request(url, headers={"User-Agent": "designspace"}), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(_one_line(error)) from error
    with response:
        yield response


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that accepts only addresses of `SCHEMES`, also after redirects."""
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


def _chunks(response: BinaryIO) -> Iterator[bytes]:
    """Yield the body of a response in chunks."""
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"the connection failed: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    reason = getattr(error, "reason", None)
    return " ".join(str(reason or error).split()) or type(error).__name__
