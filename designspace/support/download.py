"""Files at addresses: what is known of them, and how they come over the network."""

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
from designspace.support.text import quantity

log = logging.getLogger(__name__)

TIMEOUT_S = 30
"""Seconds without an answer, or without another byte of it, after which an address counts as unreachable."""
SCHEMES = ("https", "http", "file")
LIMIT_BYTES = 8 << 30
"""No file that is fetched is larger, unless more is known of it."""
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

    @property
    def shown(self) -> str:
        """The digest, with dots where only its beginning is known."""
        return self.digest + ("..." if len(self.digest) < _LENGTHS[self.algorithm] else "")


def check_digest(digest: str, algorithm: str = "sha256") -> None:
    """Refuse what is no digest, nor the beginning of one; an empty text is none at all, and allowed.

    Raises:
        InputError: it is not hex, or of the wrong length.
    """
    if digest and not re.fullmatch(rf"[0-9a-f]{{8,{_LENGTHS[algorithm]}}}", digest):
        raise InputError(f"{digest!r} is no {algorithm} digest: 8 to {_LENGTHS[algorithm]} hex digits are needed")


class NotThere(Exception):
    """An address did not give the file; says why."""


def receive(path: Path, download: Download, limit_bytes: int | None = None) -> None:
    """Write what an address gives into a file, as far as it goes.

    Args:
        path: the file.
        download: the address.
        limit_bytes: no more is received; None for `LIMIT_BYTES`.

    Raises:
        NotThere: the address does not answer, breaks off, or gives more than the limit.
        RunError: the file cannot be written.
    """
    limit = LIMIT_BYTES if limit_bytes is None else limit_bytes
    with _opened(download.url) as answer:
        announced = answer.headers.get("Content-Length")
        size = int(announced) if announced and announced.isdecimal() else None
        log.info("fetching %s%s from %s", download.file, f" ({quantity(size)}B)" if size else "", download.url)
        received = 0
        with atomic_writer(path) as file:
            for chunk in _chunks(answer):
                received += file.write(chunk)
                if received > limit:
                    raise NotThere(f"it goes on after {quantity(limit)}B, and the file is not so large")
    if size is not None and received != size:
        raise NotThere(f"it broke off after {received:,} of {size:,} bytes")


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Any]:
    """The answer of an address."""
    try:
        answer = _opener().open(urllib.request.Request(url, headers={"User-Agent": "designspace"}), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise NotThere(f"{error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotThere(_one_line(error)) from error
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
        raise NotThere(f"it broke off: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    reason = getattr(error, "reason", None)
    return " ".join(str(reason or error).split()) or type(error).__name__
