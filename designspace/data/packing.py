"""Packing: folders of images become a packed data set (`designspace.data.packed`), on all cores, once.

While it goes on, everything lies in ``<root>/<name>/.packing-<version>-<digest of what is asked>/``: the files of
images at their full size, filled piece by piece, and a journal of the pieces that are done. A call that finds such a
folder goes on there; what the journal says is compared with the bytes. Files move to their places when all are whole,
and packed.json is the last.
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
from designspace.data.decoding import Decoded, Piece, Show, decode_all
from designspace.data.image_folder import ImageFolder
from designspace.data.packed import CHANNELS, PACKED, PIECE, SPLITS, Packed, PackedSplit, images_file, labels_file
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import atomic_writer, sha256_of, write_bytes
from designspace.support.text import as_utf8, first_few, quantity

log = logging.getLogger(__name__)

_FILLING = "filling"
"""How the name of a file of images ends while it has room for all images, readable or not."""
_JOURNAL = "journal.jsonl"
_PARTIAL = ".packing-"
_DECODING = 3
"""Changes whenever images are decoded to other pixels, so that no call goes on with those of an earlier version."""
_LOCK = ".packing.lock"
_SIZES = (8, 1024)
"""The least and largest size of packed images, in pixels."""


def pack(
    splits: Mapping[str, ImageFolder], folder: Path, size: int, workers: int, show: Show = lambda finished, total: None
) -> Packed:
    """Pack the training and test images of a data set at one size, or go on where an earlier call was.

    The shorter side of each image becomes ``size`` pixels, and the square in its middle is kept. Where the same images
    are packed already, they are checked.

    Args:
        splits: the images, by ``train`` and ``test``; both have the same classes.
        folder: where the data set is to be.
        size: height and width of the packed images, in pixels.
        workers: processes that decode.
        show: is told now and then how many images are finished, of how many.

    Returns:
        What was packed; images that cannot be read are left out and named in it.

    Raises:
        InputError: the folder holds other packed images, or a value is out of range.
        RunError: another process is packing there, nothing can be read or written, or a class has no readable image.
    """
    size, workers = whole("size (pixels)", size, *_SIZES), whole("workers", workers, 1)
    asked = _asked(splits, size)
    try:
        with _locked(folder):
            if packing_format.is_packed(folder):
                return _packed_already(folder, asked, size, show)
            partial = folder / f"{_PARTIAL}{_DECODING}-{asked[:12]}"
            for other in folder.glob(f"{_PARTIAL}*"):
                if other.is_dir() and other != partial:
                    log.info("removing %s: it was left from other images or another size", other)
                    shutil.rmtree(other)
            if not (partial / PACKED).is_file():
                _fill(splits, partial, size, workers, show, asked)
            return _publish(partial, folder)
    except OSError as error:
        raise RunError(f"cannot pack into {folder}: {error.strerror or error}") from error


def _asked(splits: Mapping[str, ImageFolder], size: int) -> str:
    """Name what is to be packed: a digest of the lists of images and labels, the classes and the size."""
    text = hashlib.sha256(json.dumps([packing_format.FORMAT, size, splits["train"].classes]).encode())
    for split in SPLITS:
        images = splits[split]
        text.update(json.dumps([split, str(images.path.resolve()), images.files]).encode())
        text.update(images.labels.tobytes())
    return text.hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from packing into a folder; the lock ends with this process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process is packing into {folder}; wait for its end") from error
        yield


def _packed_already(folder: Path, asked: str, size: int, show: Show) -> Packed:
    """Check what is packed already, if it is what is asked for."""
    held = packing_format.read_packed(folder)
    if held.asked != asked:
        what = "other images of " if held.size == size else ""
        raise InputError(
            f"{folder} holds {what}{held.source} at size {held.size}, packed before; choose another name=..., or "
            f"delete {folder / PACKED} to pack anew"
        )
    return packing_format.check(folder, show)


def _fill(splits: Mapping[str, ImageFolder], partial: Path, size: int, workers: int, show: Show, asked: str) -> None:
    """Decode everything into the partial folder, so that in the end it holds the whole data set."""
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
    show(finished, total)
    done: dict[str, list[Decoded]] = {split: [] for split in SPLITS}
    with (partial / _JOURNAL).open("a") as journal:
        for decoded in decode_all(work, workers):
            key = decoded.split, decoded.start
            if earlier.get(key) != decoded:
                journal.write(json.dumps(dataclasses.asdict(decoded)) + "\n")
                journal.flush()
            done[decoded.split].append(decoded)
            finished += lengths[key]
            show(finished, total)
    _complete(splits, partial, size, asked, {split: sorted(done[split], key=lambda d: d.start) for split in SPLITS})


def _allocate(path: Path, shape: tuple[int, ...]) -> int:
    """Make a file for an array of bytes unless there is one, and give where its content begins."""
    header = _header(shape)
    if not path.exists():
        size, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
        if free < size:
            raise RunError(f"{path.parent} needs room for {quantity(size)}B more, and {quantity(free)}B are free")
        with atomic_writer(path) as file:
            file.write(header)
            file.truncate(len(header) + size)
    return len(header)


def _header(shape: tuple[int, ...]) -> bytes:
    """The beginning of a .npy file with bytes of that shape."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


def _pieces(split: str, images: ImageFolder, file: Path, offset: int, size: int) -> Iterator[Piece]:
    """The images of a split in the portions that are packed together."""
    folder = str(images.path)
    for start in range(0, len(images), PIECE):
        paths = tuple(os.path.join(folder, name) for name in images.files[start : start + PIECE])  # noqa: PTH118
        yield Piece(split, start, paths, size, str(file), offset + start * CHANNELS * size * size)


def _read_journal(path: Path) -> dict[tuple[str, int], Decoded]:
    """What an interrupted call noted, by split and first image; a line that was cut off counts for nothing."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            fields: dict[str, Any] = json.loads(line)
            for name in ("sums", "squares"):
                fields[name] = tuple(fields[name])
            fields["unreadable"] = tuple((place, reason) for place, reason in fields["unreadable"])
            decoded = Decoded(**fields)
            found[decoded.split, decoded.start] = decoded
    return found


def _complete(
    splits: Mapping[str, ImageFolder], partial: Path, size: int, asked: str, done: Mapping[str, list[Decoded]]
) -> None:
    """Leave out what cannot be read, write the labels, and then packed.json."""
    described = {}
    for split in SPLITS:
        path, images = partial / f"{split}.{_FILLING}", splits[split]
        (partial / images_file(split)).unlink(missing_ok=True)  # of a call that was interrupted right here
        bad = [place for decoded in done[split] for place, _ in decoded.unreadable]
        reasons = tuple(reason for decoded in done[split] for _, reason in decoded.unreadable)
        labels = np.delete(images.labels, bad)
        if lost := set(range(images.num_classes)).difference(labels.tolist()):
            named = first_few([images.classes[label] for label in sorted(lost)], 10)
            where = as_utf8(str(images.path))
            raise RunError(f"{where}: no image of the classes {named} can be read; the first: {reasons[0]}")
        digests = tuple(decoded.sha256 for decoded in done[split])
        if bad:
            path, digests = _leave_out(path, bad, partial / images_file(split))
        with path.open("rb") as file:
            os.fsync(file.fileno())
        content = io.BytesIO()
        np.save(content, labels)
        write_bytes(partial / labels_file(split), content.getvalue())
        described[split] = PackedSplit(
            images=len(labels),
            labels_sha256=sha256_of(partial / labels_file(split)),
            sha256=digests,
            modified_ns=path.stat().st_mtime_ns,
            unreadable=reasons,
        )
    mean, std = _moments(done["train"], described["train"].images * size * size)
    source = " and ".join(dict.fromkeys(as_utf8(str(splits[split].path)) for split in SPLITS))
    classes = splits["train"].classes
    packed = Packed(asked=asked, source=source, size=size, classes=classes, mean=mean, std=std, **described)
    packing_format.write_packed(partial, packed)


def _leave_out(path: Path, bad: list[int], new: Path) -> tuple[Path, tuple[str, ...]]:
    """Copy a file of images without some of them; give the path of the new one and the digests of its pieces."""
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    kept = np.delete(np.arange(len(images)), bad)
    digests = []
    with atomic_writer(new) as file:
        file.write(_header((len(kept), *images.shape[1:])))
        for start in range(0, len(kept), PIECE):
            piece = images[kept[start : start + PIECE]]
            file.write(piece.data)
            digests.append(packing_format.digest(piece))
    return new, tuple(digests)


def _moments(done: list[Decoded], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, where 255 is 1. Unreadable images add 0 to the sums."""
    sums = [sum(decoded.sums[channel] for decoded in done) for channel in range(CHANNELS)]
    squares = [sum(decoded.squares[channel] for decoded in done) for channel in range(CHANNELS)]
    # In whole numbers as long as it goes: a difference of large numbers would lose digits.
    variances = [(pixels * square - total * total) / pixels**2 for total, square in zip(sums, squares, strict=True)]
    mean = tuple(round(total / pixels / 255, 6) for total in sums)
    return mean, tuple(max(round(variance**0.5 / 255, 6), 1e-6) for variance in variances)


def _publish(partial: Path, folder: Path) -> Packed:
    """Move a whole data set to its place; when interrupted, the next call does the rest."""
    for split in SPLITS:
        filling, images, labels = f"{split}.{_FILLING}", images_file(split), labels_file(split)
        if (partial / images).exists():  # without those that cannot be read
            (partial / filling).unlink(missing_ok=True)
        for old, new in ((filling, images), (images, images), (labels, labels)):
            if (partial / old).exists():
                (partial / old).replace(folder / new)
    (partial / PACKED).replace(folder / PACKED)
    shutil.rmtree(partial)
    return packing_format.read_packed(folder)
