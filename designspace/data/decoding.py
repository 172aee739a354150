"""The work of the processes that pack images: decode, shrink, cut the centre out, write each image to its place."""

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

DRAFT = 2
"""A JPEG is decoded at no less than so many times the size wanted. At 2, the result is mostly that of the whole image;
where not, it differs by 38 to 50 dB (measured on photographs). At 1 it differs by 32 to 44 dB, which shows."""
WAITING = 3
"""Jobs a process that wait for it, so that none is idle."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some images that one process packs together."""

    split: str
    start: int
    """The place of the first among the images of the split."""
    paths: tuple[str, ...]
    size: int
    """Height and width wanted, in pixels."""
    file: str
    """Where they go."""
    offset: int
    """Of the first of them in that file, in bytes."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a `Piece`."""

    split: str
    start: int
    sha256: str
    """Of the bytes that were written."""
    sources: str
    """Changes when one of the images is written again: a digest of their sizes and times."""
    sums: tuple[int, ...]
    """Sum of each channel over all pixels."""
    squares: tuple[int, ...]
    """Sum of the squares of each channel."""
    unreadable: tuple[tuple[int, str], ...]
    """The images that cannot be read: place in the split, and reason. Their pixels are 0."""


def decode(piece: Piece, earlier: Decoded | None = None) -> Decoded:
    """Pack some images.

    Args:
        piece: which, and where to.
        earlier: what an interrupted call noted of them. Where the images are still as they were then, and so are the
            bytes that it wrote, there is nothing to do.

    Raises:
        OSError: the file cannot be written.
    """
    sources = _sources(piece.paths)
    if earlier and earlier.sources == sources and _holds(piece, earlier.sha256):
        return earlier
    images = np.zeros((len(piece.paths), CHANNELS, piece.size, piece.size), np.uint8)
    sums = np.zeros((2, CHANNELS), np.uint64)
    content = hashlib.sha256()
    unreadable = []
    for i, path in enumerate(piece.paths):
        try:
            square = resize_square(read_image(Path(path), CHANNELS, least=DRAFT * piece.size), piece.size)
            images[i] = np.asarray(square).transpose(2, 0, 1)
            sums += channel_sums(square)
        except RunError as error:
            unreadable.append((piece.start + i, str(error)))
        content.update(images[i].data)  # while it is in the processor's cache
    with open(piece.file, "r+b") as file:  # noqa: PTH123
        file.seek(piece.offset)
        file.write(images.data)
    total, squares = (tuple(int(value) for value in row) for row in sums)
    return Decoded(piece.split, piece.start, content.hexdigest(), sources, total, squares, tuple(unreadable))


def resize_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the square in the middle of an image: bilinear, over all pixels that a new one covers.

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
    """Pack all pieces with so many processes, and give what became of each, in the order in which they end.

    Raises:
        OSError: a file cannot be written.
        RunError: a process was ended from outside.
    """
    if workers == 1:
        yield from (decode(piece, earlier) for piece, earlier in work)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, context, initializer=_begin)
    try:
        left = iter(work)
        running: set[Future[Decoded]] = set()
        while True:
            while len(running) < (WAITING + 1) * workers and (job := next(left, None)):
                running.add(pool.submit(decode, *job))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise RunError(
            "a process that decodes images was ended from outside, perhaps for want of memory; the same command goes "
            "on from here (workers=... sets how many there are)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Set a process up: Ctrl-C is for the one that started it, and it must not outlive that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _sources(paths: Sequence[str]) -> str:
    """A digest of the sizes of some files and of the times when they were written."""
    text = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116
            text.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            text.update(b"missing\n")
    return text.hexdigest()


def _holds(piece: Piece, sha256: str) -> bool:
    """Whether the file has these bytes at the place of a piece."""
    with open(piece.file, "rb") as file:  # noqa: PTH123
        file.seek(piece.offset)
        return hashlib.sha256(file.read(len(piece.paths) * CHANNELS * piece.size**2)).hexdigest() == sha256


Show = Callable[[int, int], None]
"""Takes how many images are finished, and of how many."""
