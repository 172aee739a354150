"""Decoding for packed data sets, in worker processes: decode, resize and crop each image, and write it to the file."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from designspace.data.image_folder import read_image
from designspace.data.packed import CHANNELS
from designspace.support.errors import RunError
from designspace.support.parent import end_with_parent

MIN_DRAFT_FACTOR = 2
"""A JPEG is decoded at no less than this multiple of the packed size. At 2, the result is mostly that of the whole
image; otherwise it differs by 38 to 50 dB (measured on photographs). At 1 it differs by 32 to 44 dB, which is
visible."""
QUEUED_PER_WORKER = 3
"""Number of pieces waiting per worker process, so that none is idle."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive images of a split that one process packs together."""

    split: str
    start: int
    """Index of the first image in the split."""
    paths: tuple[str, ...]
    size: int
    """Height and width of the packed images, in pixels."""
    file: str
    """The file to write to."""
    offset: int
    """Offset of the first image in that file, in bytes."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Result of packing a `Piece`."""

    split: str
    start: int
    sha256: str
    """Digest of the bytes that were written."""
    sources: str
    """Digest of the sizes and modification times of the source files; it changes when one of them is rewritten."""
    sums: tuple[int, ...]
    """Sum of each channel over all pixels."""
    squares: tuple[int, ...]
    """Sum of the squares of each channel."""
    unreadable: tuple[tuple[int, str], ...]
    """Images that cannot be read: index in the split, and reason. Their pixels are 0."""


def decode(piece: Piece, earlier: Decoded | None = None) -> Decoded:
    """Decode the images of a piece and write them to its file.

    Args:
        piece: the images and their destination.
        earlier: the result that an interrupted call recorded for the piece. It is returned if neither the images nor
            the bytes written have changed since.

    Raises:
        OSError: the file cannot be written.
    """
    sources = _digest_of_files(piece.paths)
    if earlier and earlier.sources == sources and _has_content(piece, earlier.sha256):
        return earlier
    images = np.zeros((len(piece.paths), CHANNELS, piece.size, piece.size), np.uint8)
    sums = np.zeros((2, CHANNELS), np.uint64)
    content = hashlib.sha256()
    unreadable = []
    for i, path in enumerate(piece.paths):
        try:
            square = resize_square(read_image(Path(path), CHANNELS, least=MIN_DRAFT_FACTOR * piece.size), piece.size)
            images[i] = np.asarray(square).transpose(2, 0, 1)
            sums += channel_sums(square)
        except RunError as error:
            unreadable.append((piece.start + i, str(error)))
        content.update(images[i].data)  # here because the image is still in the processor's cache
    with open(piece.file, "r+b") as file:  # noqa: PTH123
        file.seek(piece.offset)
        file.write(images.data)
    total, squares = (tuple(int(value) for value in row) for row in sums)
    return Decoded(piece.split, piece.start, content.hexdigest(), sources, total, squares, tuple(unreadable))


def resize_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the central square of an image: bilinear, averaging over all pixels that a new one covers.

    Pillow's ``reducing_gap`` is not used: it saves nothing for a JPEG, whose decoder has already reduced it, and
    changes pixels of other images by up to 3 of 255.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def channel_sums(image: Image.Image) -> NDArray[np.uint64]:  # (2, channels)
    """Return the sum of each channel over all pixels, and the sum of its squares."""
    counts = np.array(image.histogram(), np.uint64).reshape(-1, 256)
    levels = np.arange(256, dtype=np.uint64)
    return np.stack([counts @ levels, counts @ levels**2])


def decode_all(work: Sequence[tuple[Piece, Decoded | None]], workers: int) -> Iterator[Decoded]:
    """Decode all pieces with ``workers`` processes, and yield the results in the order in which they finish.

    Raises:
        OSError: a file cannot be written.
        RunError: a process was killed.
    """
    if workers == 1:
        yield from (decode(piece, earlier) for piece, earlier in work)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, context, initializer=_initialise_worker)
    try:
        remaining = iter(work)
        running: set[Future[Decoded]] = set()
        while True:
            while len(running) < (QUEUED_PER_WORKER + 1) * workers and (job := next(remaining, None)):
                running.add(pool.submit(decode, *job))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise RunError(
            "a process that decodes images was killed, perhaps because memory ran out; the same command resumes from "
            "here (workers=... sets the number of processes)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _initialise_worker() -> None:
    """Make a worker process ignore Ctrl-C, which its parent handles, and end with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _digest_of_files(paths: Sequence[str]) -> str:
    """Return a digest of the sizes and modification times of files."""
    text = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116
            text.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            text.update(b"missing\n")
    return text.hexdigest()


def _has_content(piece: Piece, sha256: str) -> bool:
    """Return whether the bytes of a piece in its file have this digest."""
    with open(piece.file, "rb") as file:  # noqa: PTH123
        file.seek(piece.offset)
        return hashlib.sha256(file.read(len(piece.paths) * CHANNELS * piece.size**2)).hexdigest() == sha256


OnProgress = Callable[[int, int], None]
"""Takes the number of finished images and their total number."""
