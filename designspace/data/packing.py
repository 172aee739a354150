"""Packing of folders of images into a packed data set (`designspace.data.packed`), on all cores.

Until packing is finished, everything is in ``<root>/<name>/.packing-<version>-<fingerprint>/``: the files of images at
their full size, filled piece by piece, and a journal of the finished pieces. A call that finds such a folder resumes
there, after comparing the journal with the bytes. The files are moved to their final paths when all are complete,
packed.json last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data import packed as packing_format
from designspace.data.decoding import Decoded, OnProgress, Piece, decode_all
from designspace.data.image_folder import ImageFolder
from designspace.data.packed import CHANNELS, PACKED, PIECE, SPLITS, Packed, PackedSplit, images_file, labels_file
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import atomic_writer, sha256_of, write_bytes
from designspace.support.text import as_utf8, first_few, prefixed

log = logging.getLogger(__name__)

_FILLING = "filling"
"""Suffix of a file of images that still has space for all images, readable or not."""
_JOURNAL = "journal.jsonl"
_PARTIAL = ".packing-"
_DECODER_VERSION = 3
"""To be changed whenever decoding yields other pixels, so that no call resumes with those of an earlier version."""
_LOCK = ".packing.lock"
_SIZES = (8, 1024)
"""Smallest and largest size of packed images, in pixels."""


def pack(
    splits: Mapping[str, ImageFolder],
    folder: Path,
    size: int,
    workers: int,
    on_progress: OnProgress = lambda finished, total: None,
) -> Packed:
    """Pack the training and test images of a data set at one size, or resume an interrupted call.

    The shorter side of each image becomes ``size`` pixels, and the central square is kept. If the same images are
    packed already, they are checked.

    Args:
        splits: the images, by ``train`` and ``test``; both have the same classes.
        folder: the folder of the data set.
        size: height and width of the packed images, in pixels.
        workers: the number of processes that decode.
        on_progress: called now and then with the number of finished images and their total number.

    Returns:
        The description of the data set, which lists the images that were left out because they cannot be read.

    Raises:
        InputError: the folder holds other packed images, or a value is out of range.
        RunError: another process is packing there, nothing can be read or written, or a class has no readable image.
    """
    size, workers = whole("size (pixels)", size, *_SIZES), whole("workers", workers, 1)
    fingerprint = _fingerprint(splits, size)
    try:
        with _locked(folder):
            if packing_format.is_packed(folder):
                return _check_packed(folder, fingerprint, size, on_progress)
            partial = folder / f"{_PARTIAL}{_DECODER_VERSION}-{fingerprint[:12]}"
            for other in folder.glob(f"{_PARTIAL}*"):
                if other.is_dir() and other != partial:
                    log.info("removing %s, left over from packing other images or another size", other)
                    shutil.rmtree(other)
            if not (partial / PACKED).is_file():
                _fill(splits, partial, size, workers, on_progress, fingerprint)
            return _publish(partial, folder)
    except OSError as error:
        raise RunError(f"cannot pack into {folder}: {error.strerror or error}") from error


def _fingerprint(splits: Mapping[str, ImageFolder], size: int) -> str:
    """Return a digest of the lists of images and labels, the classes and the size."""
    text = hashlib.sha256(json.dumps([packing_format.FORMAT, size, splits["train"].classes]).encode())
    for split in SPLITS:
        images = splits[split]
        text.update(json.dumps([split, str(images.path.resolve()), images.files]).encode())
        text.update(images.labels.tobytes())
    return text.hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from packing into a folder; the system releases the lock when this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process is packing into {folder}; wait until it has finished") from error
        yield


def _check_packed(folder: Path, fingerprint: str, size: int, on_progress: OnProgress) -> Packed:
    """Check a data set that is already packed, and raise `InputError` if it is another one."""
    packed = packing_format.read_packed(folder)
    if packed.fingerprint != fingerprint:
        what = "other images of " if packed.size == size else ""
        raise InputError(
            f"{folder} already holds {what}{packed.source} at size {packed.size}; choose another name=..., or delete "
            f"{folder / PACKED} to pack again"
        )
    return packing_format.check(folder, on_progress)


def _fill(
    splits: Mapping[str, ImageFolder], partial: Path, size: int, workers: int, on_progress: OnProgress, fingerprint: str
) -> None:
    """Decode all images into the partial folder, which then holds the complete data set."""
    partial.mkdir(exist_ok=True)
    earlier = _read_journal(partial / _JOURNAL)
    work: list[tuple[Piece, Decoded | None]] = []
    for split in SPLITS:
        file = partial / f"{split}.{_FILLING}"
        offset = _allocate(file, (len(splits[split]), CHANNELS, size, size))
        for piece in _pieces(split, splits[split], file, offset, size):
            work.append((piece, earlier.get((split, piece.start))))
    total = sum(len(images) for images in splits.values())
    lengths = {(piece.split, piece.start): len(piece.paths) for piece, _ in work}
    finished = 0
    on_progress(finished, total)
    results: dict[str, list[Decoded]] = {split: [] for split in SPLITS}
    with (partial / _JOURNAL).open("a") as journal:
        for decoded in decode_all(work, workers):
            key = decoded.split, decoded.start
            if earlier.get(key) != decoded:
                journal.write(json.dumps(dataclasses.asdict(decoded)) + "\n")
                journal.flush()
            results[decoded.split].append(decoded)
            finished += lengths[key]
            on_progress(finished, total)
    _complete(
        splits, partial, size, fingerprint, {split: sorted(results[split], key=lambda d: d.start) for split in SPLITS}
    )


def _allocate(path: Path, shape: tuple[int, ...]) -> int:
    """Create the file of an array of bytes if it does not exist, and return the offset of its content."""
    header = _header(shape)
    if not path.exists():
        size, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
        if free < size:
            raise RunError(f"{path.parent} needs {prefixed(size)}B more space, but only {prefixed(free)}B are free")
        with atomic_writer(path) as file:
            file.write(header)
            file.truncate(len(header) + size)
    return len(header)


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a .npy file with bytes of that shape."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


def _pieces(split: str, images: ImageFolder, file: Path, offset: int, size: int) -> Iterator[Piece]:
    """Yield the pieces of a split."""
    folder = str(images.path)
    for start in range(0, len(images), PIECE):
        paths = tuple(os.path.join(folder, name) for name in images.files[start : start + PIECE])  # noqa: PTH118
        yield Piece(split, start, paths, size, str(file), offset + start * CHANNELS * size * size)


def _read_journal(path: Path) -> dict[tuple[str, int], Decoded]:
    """Return the results of an interrupted call, by split and first image; a line that was cut off is ignored."""
    decoded_pieces = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            fields: dict[str, Any] = json.loads(line)
            for name in ("sums", "squares"):
                fields[name] = tuple(fields[name])
            fields["unreadable"] = tuple((index, reason) for index, reason in fields["unreadable"])
            decoded = Decoded(**fields)
            decoded_pieces[decoded.split, decoded.start] = decoded
    return decoded_pieces


def _complete(
    splits: Mapping[str, ImageFolder], partial: Path, size: int, fingerprint: str, results: Mapping[str, list[Decoded]]
) -> None:
    """Leave out unreadable images, and write the labels and packed.json."""
    packed_splits = {}
    for split in SPLITS:
        path, images = partial / f"{split}.{_FILLING}", splits[split]
        (partial / images_file(split)).unlink(missing_ok=True)  # left by a call that was interrupted here
        unreadable = [index for decoded in results[split] for index, _ in decoded.unreadable]
        reasons = tuple(reason for decoded in results[split] for _, reason in decoded.unreadable)
        labels = np.delete(images.labels, unreadable)
        if empty := set(range(images.num_classes)).difference(labels.tolist()):
            names = first_few([images.classes[label] for label in sorted(empty)], 10)
            where = as_utf8(str(images.path))
            raise RunError(f"{where}: no image of the classes {names} can be read; the first error: {reasons[0]}")
        digests = tuple(decoded.sha256 for decoded in results[split])
        if unreadable:
            path, digests = _leave_out(path, unreadable, partial / images_file(split))
        with path.open("rb") as file:
            os.fsync(file.fileno())
        content = io.BytesIO()
        np.save(content, labels)
        write_bytes(partial / labels_file(split), content.getvalue())
        packed_splits[split] = PackedSplit(
            images=len(labels),
            labels_sha256=sha256_of(partial / labels_file(split)),
            sha256=digests,
            modified_ns=path.stat().st_mtime_ns,
            unreadable=reasons,
        )
    mean, std = _mean_and_std(results["train"], packed_splits["train"].images * size * size)
    source = " and ".join(dict.fromkeys(as_utf8(str(splits[split].path)) for split in SPLITS))
    classes = splits["train"].classes
    packed = Packed(
        fingerprint=fingerprint, source=source, size=size, classes=classes, mean=mean, std=std, **packed_splits
    )
    packing_format.write_packed(partial, packed)


def _leave_out(path: Path, unreadable: list[int], new: Path) -> tuple[Path, tuple[str, ...]]:
    """Copy a file of images without the unreadable ones; return the path of the copy and the digests of its pieces."""
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    readable = np.delete(np.arange(len(images)), unreadable)
    digests = []
    with atomic_writer(new) as file:
        file.write(_header((len(readable), *images.shape[1:])))
        for start in range(0, len(readable), PIECE):
            piece = images[readable[start : start + PIECE]]
            file.write(piece.data)
            digests.append(packing_format.digest(piece))
    return new, tuple(digests)


def _mean_and_std(results: list[Decoded], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel, where 255 is 1. Unreadable images add 0 to the sums."""
    sums = [sum(decoded.sums[channel] for decoded in results) for channel in range(CHANNELS)]
    squares = [sum(decoded.squares[channel] for decoded in results) for channel in range(CHANNELS)]
    # Computed in integers because a difference of large floating-point numbers would lose digits.
    variances = [(pixels * square - total * total) / pixels**2 for total, square in zip(sums, squares, strict=True)]
    mean = tuple(round(total / pixels / 255, 6) for total in sums)
    return mean, tuple(max(round(variance**0.5 / 255, 6), 1e-6) for variance in variances)


def _publish(partial: Path, folder: Path) -> Packed:
    """Move a complete data set to its final path; if this is interrupted, the next call finishes it."""
    for split in SPLITS:
        filling, images, labels = f"{split}.{_FILLING}", images_file(split), labels_file(split)
        if (partial / images).exists():  # the copy without unreadable images
            (partial / filling).unlink(missing_ok=True)
        for old, new in ((filling, images), (images, images), (labels, labels)):
            if (partial / old).exists():
                (partial / old).replace(folder / new)
    (partial / PACKED).replace(folder / PACKED)
    shutil.rmtree(partial)
    return packing_format.read_packed(folder)
