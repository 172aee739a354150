"""Fashion-MNIST (arXiv 1708.07747): 60,000 training and 10,000 test images of clothes, 28x28 pixels, 10 classes.

Its four files are ``<root>/fashion_mnist/*.gz``, in the IDX format in which they are published. The first process that
reads them writes unpacked copies beside them, which take a fifth of the time to read.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.data.fetching import BadContent, cannot_fetch, one_line, receive_checked
from designspace.data.images import ImageData
from designspace.support.download import DownloadError
from designspace.support.errors import RunError
from designspace.support.files import write_bytes

log = logging.getLogger(__name__)

NAME = "fashion_mnist"
ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
DEBIAN_PACKAGE = "dataset-fashion-mnist"
MEAN, STD = (0.28604,), (0.35302,)
"""Mean and standard deviation over the training images, where 255 is 1."""
CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
APT_S = 300
"""Time limit for an apt command, in seconds."""


class _File(NamedTuple):
    """A file of the data set. Size and digest are of the unpacked content because Debian compresses the files anew."""

    name: str
    size: int
    """In bytes."""
    sha256: str
    header: int
    """Bytes before the values."""


FILES = {
    "train_images": _File(
        "train-images-idx3-ubyte", 47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 16
    ),
    "train_labels": _File(
        "train-labels-idx1-ubyte", 60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 8
    ),
    "test_images": _File(
        "t10k-images-idx3-ubyte", 7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 16
    ),
    "test_labels": _File(
        "t10k-labels-idx1-ubyte", 10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 8
    ),
}


def load(root: Path) -> ImageData:
    """Load the data set below ``root``; the size and the SHA-256 of every file are checked each time.

    Raises:
        RunError: a file is missing or damaged.
    """
    return ImageData(
        NAME,
        train_images=_read(root, "train_images").reshape(-1, 1, 28, 28),
        train_labels=_read(root, "train_labels").astype(np.int64),
        test_images=_read(root, "test_images").reshape(-1, 1, 28, 28),
        test_labels=_read(root, "test_labels").astype(np.int64),
        num_classes=10,
        mean=MEAN,
        std=STD,
        classes=CLASSES,
    )


def prepare(root: Path) -> Path:
    """Fetch the files that are missing or damaged below ``root``, and return their folder.

    The sources are the official address, its mirror, and then Debian's package (which needs no root rights).

    Raises:
        RunError: no source provided the files; the error says what each answered and where to put them by hand.
    """
    folder = root / NAME
    missing = [file for file in FILES.values() if not _is_good(folder, file)]
    problems = []
    for source, fetch in _sources():
        if not missing:
            break
        try:
            log.info("fetching %s from %s", ", ".join(file.name for file in missing), source)
            fetch(folder, missing)
        except (OSError, DownloadError, subprocess.SubprocessError, BadContent) as error:
            problems.append(f"{source}: {one_line(error)}")
        missing = [file for file in missing if not _is_good(folder, file)]
    if missing:
        descriptions = [f"{file.name}.gz (unpacked: {file.size} bytes, SHA-256 {file.sha256})" for file in missing]
        raise cannot_fetch(NAME, problems, folder, descriptions)
    return folder


def _unpacked(packed: bytes, file: _File) -> bytes:
    """Return the content of a packed file after checking it."""
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise BadContent(f"{file.name}.gz is not a complete gzip file ({error})") from error
    if len(content) != file.size:
        raise BadContent(f"{file.name}.gz has {len(content)} bytes, not {file.size}")
    if not _is_published(content, file):
        raise BadContent(f"{file.name}.gz is not the published file: its SHA-256 differs")
    return content


def _is_published(content: bytes, file: _File) -> bool:
    """Return whether a content is that of the published file."""
    return len(content) == file.size and hashlib.sha256(content).hexdigest() == file.sha256


def _read(root: Path, part: str) -> NDArray[np.uint8]:
    """Return the values of a file, without its header."""
    file = FILES[part]
    path, copy = root / NAME / f"{file.name}.gz", root / NAME / file.name
    with contextlib.suppress(OSError):
        if _is_published(content := copy.read_bytes(), file):
            return np.frombuffer(content, np.uint8, offset=file.header)
    advice = f"run: python -m designspace.prepare data={NAME}"
    try:
        content = _unpacked(path.read_bytes(), file)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; {advice}") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except BadContent as error:
        raise RunError(f"{path} is damaged: {error}; {advice}") from error
    with contextlib.suppress(RunError):  # such as a full disk, or a folder that only others may write to
        write_bytes(copy, content)
    return np.frombuffer(content, np.uint8, offset=file.header)


def _is_good(folder: Path, file: _File) -> bool:
    """Return whether the file exists and is the published one."""
    try:
        _unpacked((folder / f"{file.name}.gz").read_bytes(), file)
    except (OSError, BadContent):
        return False
    return True


def _write_checked(folder: Path, file: _File, packed: bytes) -> None:
    """Check the content of a packed file and write it, completely or not at all."""
    _unpacked(packed, file)
    write_bytes(folder / f"{file.name}.gz", packed)


_Fetch = Callable[[Path, list[_File]], None]


def _sources() -> list[tuple[str, _Fetch]]:
    """Return the sources in order of preference: a name, and the function that fetches files into a folder."""
    return [
        *((address, _address_fetcher(address)) for address in ADDRESSES),
        (f"apt-get ({DEBIAN_PACKAGE})", _fetch_from_debian),
    ]


def _address_fetcher(address: str) -> _Fetch:
    """Return a function that fetches files from below a web address."""

    def fetch(folder: Path, files: list[_File]) -> None:
        for file in files:
            name = f"{file.name}.gz"
            limit = file.size + 1024  # a packed file is at most slightly larger than its content
            receive_checked(folder / name, address + name, limit, partial(_check, file=file))

    return fetch


def _check(path: Path, file: _File) -> None:
    """Raise `BadContent` unless a packed file is the published one."""
    _unpacked(path.read_bytes(), file)


def _fetch_from_debian(folder: Path, files: list[_File]) -> None:
    """Download Debian's package of the data set and extract the files from it; nothing is installed."""
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        try:
            _run(["apt-get", "download", DEBIAN_PACKAGE], temporary)
        except subprocess.CalledProcessError:
            _run(_apt_without_root(temporary, "update"), temporary)
            _run(_apt_without_root(temporary, "download", DEBIAN_PACKAGE), temporary)
        package = next(temporary.glob("*.deb"))
        _run(["dpkg-deb", "--extract", str(package), "content"], temporary)
        for file in files:
            path = temporary / "content" / "usr" / "share" / "datasets" / "fashion-mnist" / f"{file.name}.gz"
            _write_checked(folder, file, path.read_bytes())


def _apt_without_root(temporary: Path, *command: str) -> list[str]:
    """Return an apt-get command that keeps its package lists in a temporary folder, so that it needs no root rights."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (temporary / part).mkdir(parents=True, exist_ok=True)
    options = (f"Dir::State={temporary / 'state'}", f"Dir::Cache={temporary / 'cache'}", "APT::Sandbox::User=")
    return ["apt-get", *(part for option in options for part in ("-o", option)), *command]


def _run(command: list[str], folder: Path) -> None:
    """Run a command in a folder; if it fails, the error holds its output."""
    environment = {**os.environ, "LC_ALL": "C"}
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=APT_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, process.stdout, process.stderr)
