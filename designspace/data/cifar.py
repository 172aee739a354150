"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test images, 32x32 pixels, in colour.

Each is published as several archives, one of which must be in ``<root>/cifar10`` or ``<root>/cifar100``: the archive of
binary records, which `prepare` fetches, or the one for Python, whose pickles are read by `designspace.data.pickled`.
"""

from __future__ import annotations

import logging
import tarfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.data.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES
from designspace.data.fetching import BadContent, cannot_fetch, one_line, receive_checked
from designspace.data.images import ImageData
from designspace.data.pickled import read_dict
from designspace.support.download import DownloadError
from designspace.support.errors import RunError
from designspace.support.files import sha256_of

log = logging.getLogger(__name__)

ADDRESS = "https://www.cs.toronto.edu/~kriz/"
LIMIT_BYTES = 200_000_000
"""Upper limit for the size of an archive."""
PIXELS = 3 * 32 * 32
"""Bytes per image: the red channel row by row, then green, then blue."""


class CifarArchive(NamedTuple):
    """A published archive and the location of the images in it."""

    file: str
    sha256: str
    train: tuple[str, ...]
    """The members with training images."""
    test: str
    """The member with test images."""
    labels: bytes | int
    """In an archive for Python: the key of the labels. In a binary one: the index of the class label among the labels
    that precede the pixels of an image."""


class Cifar(NamedTuple):
    """Description of CIFAR-10 or CIFAR-100."""

    name: str
    archives: tuple[CifarArchive, ...]
    """All published archives; the first one is fetched."""
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Mean of each channel over the training images, where 255 is 1."""
    std: tuple[float, ...]
    images: tuple[int, int] = (50_000, 10_000)
    """Numbers of training and test images."""


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR10 = Cifar(
    "cifar10",
    (
        CifarArchive(
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            tuple(f"cifar-10-batches-bin/{batch}.bin" for batch in _BATCHES),
            "cifar-10-batches-bin/test_batch.bin",
            labels=0,
        ),
        CifarArchive(
            "cifar-10-python.tar.gz",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            tuple(f"cifar-10-batches-py/{batch}" for batch in _BATCHES),
            "cifar-10-batches-py/test_batch",
            labels=b"labels",
        ),
    ),
    CIFAR10_CLASSES,
    (0.49140, 0.48216, 0.44653),
    (0.24703, 0.24349, 0.26159),
)
CIFAR100 = Cifar(
    "cifar100",
    (
        CifarArchive(
            "cifar-100-binary.tar.gz",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ("cifar-100-binary/train.bin",),
            "cifar-100-binary/test.bin",
            labels=1,  # the label of the superclass comes first
        ),
        CifarArchive(
            "cifar-100-python.tar.gz",
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            ("cifar-100-python/train",),
            "cifar-100-python/test",
            labels=b"fine_labels",
        ),
    ),
    CIFAR100_CLASSES,
    (0.50708, 0.48655, 0.44092),
    (0.26733, 0.25644, 0.27615),
)


def load(cifar: Cifar, root: Path) -> ImageData:
    """Load a data set from whichever archive is below ``root``; its SHA-256 is checked each time.

    Raises:
        RunError: there is no archive, or it is damaged.
    """
    folder = root / cifar.name
    advice = f"run: python -m designspace.prepare data={cifar.name}"
    problems = []
    for archive in cifar.archives:
        path = folder / archive.file
        try:
            _check(path, archive)
            return _load(cifar, path, archive)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error
        except BadContent as error:
            problems.append(f"{path} is damaged: {error}; {advice}")
    raise RunError(problems[0] if problems else f"{folder / cifar.archives[0].file} is missing; {advice}")


def _load(cifar: Cifar, path: Path, archive: CifarArchive) -> ImageData:
    """Read the data set from an archive."""
    members = _read_members(path, archive)
    train = [_read(members[name], archive.labels) for name in archive.train]
    test = _read(members[archive.test], archive.labels)
    images, labels = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    if (len(images), len(test[0])) != cifar.images:
        raise BadContent(f"it has {len(images)} and {len(test[0])} images, not {cifar.images}")
    classes = cifar.classes
    return ImageData(cifar.name, images, labels, *test, len(classes), cifar.mean, cifar.std, classes)


def prepare(cifar: Cifar, root: Path) -> Path:
    """Fetch an archive unless an intact one is already below ``root``, and return its folder.

    Raises:
        RunError: no archive could be fetched; the error says what was tried and where to put one by hand.
    """
    folder = root / cifar.name
    problems = []
    for archive in cifar.archives:
        path = folder / archive.file
        if path.is_file():
            try:
                _check(path, archive)
                return folder
            except (OSError, BadContent) as error:
                problems.append(f"{path}: {one_line(error)}")
    for archive in cifar.archives:
        try:
            receive_checked(
                folder / archive.file, ADDRESS + archive.file, LIMIT_BYTES, partial(_check, archive=archive)
            )
        except (DownloadError, BadContent) as error:
            problems.append(f"{ADDRESS}{archive.file}: {one_line(error)}")
        else:
            return folder
    choices = [f"{archive.file} (SHA-256 {archive.sha256})" for archive in cifar.archives]
    raise cannot_fetch(cifar.name, problems, folder, [" or ".join(choices)])


def _check(path: Path, archive: CifarArchive) -> None:
    """Raise `BadContent` unless a file is the published archive."""
    if (digest := sha256_of(path)) != archive.sha256:
        raise BadContent(f"it is not the published file: its SHA-256 is {digest}, not {archive.sha256}")


def _read_members(path: Path, archive: CifarArchive) -> Mapping[str, bytes]:
    """Return the contents of the members that hold images; nothing is written to the disk."""
    required = {*archive.train, archive.test}
    contents = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name in required and member.isreg() else None
                if file is not None:
                    contents[member.name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise BadContent(f"it is not a complete tar.gz file ({one_line(error)})") from error
    if missing := sorted(required - contents.keys()):
        raise BadContent(f"{', '.join(missing)} is not in it")
    return contents


def _read(content: bytes, labels: bytes | int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images (N, 3, 32, 32) and labels (N,) of a member."""
    if isinstance(labels, bytes):
        return _read_pickle(content, labels)
    records = np.frombuffer(content, np.uint8)
    if len(records) % (labels + 1 + PIXELS):
        raise BadContent(f"a member of {len(records)} bytes does not consist of whole images")
    records = records.reshape(-1, labels + 1 + PIXELS)
    return records[:, labels + 1 :].reshape(-1, 3, 32, 32), records[:, labels].astype(np.int64)


def _read_pickle(content: bytes, key: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images and labels of a member that is a pickle."""
    try:
        values = read_dict(content)
        images, labels = values[b"data"], values[key]
        if not isinstance(images, np.ndarray) or not isinstance(labels, list):
            raise ValueError("its images are not an array, or its labels not a list")
        return images.reshape(-1, 3, 32, 32), np.array([int(label) for label in labels], np.int64)
    except KeyError as error:
        raise BadContent(f"a member has no {error.args[0].decode()}") from error
    except (ValueError, TypeError) as error:
        raise BadContent(one_line(error)) from error
