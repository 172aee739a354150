"""ImageNet (ILSVRC 2012), extracted from its published archives to ``<root>/imagenet/{train,val}/<class>/<image>``.

The name of a class is its WordNet id, such as n01440764. The archives must be downloaded from image-net.org by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from designspace.data.devkit import read_devkit
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_json, write_json
from designspace.support.folders import expanded

log = logging.getLogger(__name__)

NAME = "imagenet"
CLASSES = 1000
TRAIN_IMAGES, VAL_IMAGES = 1_281_167, 50_000


class Archive(NamedTuple):
    """A published archive."""

    file: str
    md5: str


TRAIN = Archive("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e")
VAL = Archive("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622")
DEVKIT = Archive("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf")
_CHECKED = ".archives.json"
_CLASS_TAR = re.compile(r"(n\d{8})\.tar")
_TRAIN_IMAGE = re.compile(r"n\d{8}_\d+\.JPEG")
_VAL_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")

OnProgress = Callable[[int, int], None]
"""Takes the number of extracted images and their total number."""


def extract(
    archives: Sequence[Path], root: Path, *, check: bool = True, on_progress: OnProgress = lambda finished, total: None
) -> Path:
    """Extract ImageNet below ``root`` and return its folder; repeating an interrupted call resumes the extraction.

    Args:
        archives: the paths of `TRAIN`, `VAL` and `DEVKIT`, or of a folder that holds them. An archive whose content is
            already extracted may be missing.
        root: the folder of all data sets.
        check: compare the archives with their published MD5. It is not a safeguard against an attacker, but no other
            digest is published.
        on_progress: called now and then with the number of extracted images and their total number.

    Raises:
        InputError: an archive is missing, or a path is not one of these archives.
        RunError: an archive is damaged or has an unexpected member; a folder cannot be written; or images are missing.
    """
    folder = root / NAME
    found_archives = _find_archives(archives)
    total = TRAIN_IMAGES + VAL_IMAGES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "val").is_dir():
            paths = _check_archives(found_archives, [VAL, DEVKIT], folder, check)
            _extract_val(paths[VAL], paths[DEVKIT], folder, lambda images: on_progress(images, total))
        val_images = _count(folder / "val")
        if _count(folder / "train") != TRAIN_IMAGES:
            paths = _check_archives(found_archives, [TRAIN], folder, check)
            _extract_train(paths[TRAIN], folder / "train", lambda images: on_progress(val_images + images, total))
        _check_counts(folder)
    except tarfile.TarError as error:
        raise RunError(f"an archive is cut off or damaged: {error}") from error
    except OSError as error:
        raise RunError(f"cannot extract {NAME} to {folder}: {error.strerror or error}") from error
    on_progress(total, total)
    return folder


def _find_archives(archives: Sequence[Path]) -> dict[Archive, Path]:
    """Return the paths of the archives among files and folders."""
    paths = {}
    for path in archives:
        path = expanded(path)
        candidates = [path / archive.file for archive in (TRAIN, VAL, DEVKIT)] if path.is_dir() else [path]
        for candidate in candidates:
            archive = next((a for a in (TRAIN, VAL, DEVKIT) if a.file == candidate.name), None)
            if archive is None or (not path.is_dir() and not candidate.is_file()):
                raise InputError(
                    f"{candidate} is not {'a file' if archive else 'an archive of ImageNet'}; from=[...] takes the "
                    f"files {TRAIN.file}, {VAL.file} and {DEVKIT.file} of image-net.org, or the folder that holds them"
                )
            if candidate.is_file():
                paths[archive] = candidate
    return paths


def _check_archives(
    paths: dict[Archive, Path], needed: Sequence[Archive], folder: Path, check: bool
) -> dict[Archive, Path]:
    """Compare the needed archives with their MD5, unless they were checked before and are unchanged."""
    if missing := [archive.file for archive in needed if archive not in paths]:
        raise InputError(f"{' and '.join(missing)} must be among from=[...]: the content is not extracted yet")
    if not check:
        return paths
    record = folder / _CHECKED
    checked = read_json(record, file_names=True) if record.is_file() else {}
    for archive in needed:
        path = paths[archive].resolve()
        status = path.stat()
        stamp = [str(path), status.st_size, status.st_mtime_ns]
        if checked.get(archive.file) == stamp:
            continue
        log.info("checking the MD5 of %s", path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if digest != archive.md5:
            raise RunError(
                f"{path} is damaged or another file: its MD5 is {digest}, not the published {archive.md5}; download "
                "it again, or skip this check with check=false"
            )
        checked[archive.file] = stamp
        write_json(record, checked)
    return paths


def _extract_train(path: Path, folder: Path, on_progress: Callable[[int], None]) -> None:
    """Extract the training images, whose archive holds one archive per class."""
    folder.mkdir(exist_ok=True)
    for leftover in folder.glob(".*.partial"):  # left by an interrupted call
        shutil.rmtree(leftover)
    images = 0
    with tarfile.open(path, "r:") as outer:
        for member in outer:
            match = _CLASS_TAR.fullmatch(member.name)
            if not match or not member.isreg():
                raise _unexpected_member(path, member, "n01440764.tar")
            target = folder / match[1]
            if not target.is_dir():
                partial = folder / f".{match[1]}.partial"
                partial.mkdir()
                with _open_member(outer, member) as file, tarfile.open(fileobj=file, mode="r:") as inner:
                    for image in inner:
                        if not _TRAIN_IMAGE.fullmatch(image.name) or not image.isreg():
                            raise _unexpected_member(path, image, "n01440764_18.JPEG")
                        _write(inner, image, partial / image.name)
                partial.replace(target)
            images += _count_files(target)
            on_progress(images)


def _extract_val(path: Path, devkit: Path, folder: Path, on_progress: Callable[[int], None]) -> None:
    """Extract the validation images, published in one flat archive, into the class folders that the devkit lists."""
    classes = read_devkit(devkit, VAL_IMAGES)
    partial = folder / ".val.partial"
    for name in sorted(set(classes)):
        (partial / name).mkdir(parents=True, exist_ok=True)
    images = 0
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            match = _VAL_IMAGE.fullmatch(member.name)
            if not match or not member.isreg() or not 1 <= int(match[1]) <= len(classes):
                raise _unexpected_member(path, member, "ILSVRC2012_val_00000001.JPEG")
            target = partial / classes[int(match[1]) - 1] / member.name
            if not target.is_file() or target.stat().st_size != member.size:
                _write(tar, member, target)
            images += 1
            if images % 1000 == 0:
                on_progress(images)
    if images != VAL_IMAGES:
        raise RunError(f"{path} has {images} images, not {VAL_IMAGES}; it may be cut off")
    partial.replace(folder / "val")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write the content of a member, whose name has been checked, to an ordinary file."""
    with _open_member(tar, member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    if target.stat().st_size != member.size:
        raise tarfile.ReadError(f"{member.name} is cut off")


@contextlib.contextmanager
def _open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
    """Open a member that is a file, while a block runs."""
    file = tar.extractfile(member)
    assert file is not None
    with file:
        yield file


def _unexpected_member(path: Path, member: tarfile.TarInfo, example: str) -> RunError:
    """Return the error for an unexpected member of an archive: another name, a link, or a path that leads elsewhere."""
    return RunError(
        f"{path} contains {member.name!r}, where only files such as {example} are expected; it was not extracted"
    )


def _check_counts(folder: Path) -> None:
    """Raise `RunError` unless all classes and images are present."""
    for split, expected in (("train", TRAIN_IMAGES), ("val", VAL_IMAGES)):
        classes = [path for path in (folder / split).iterdir() if not path.name.startswith(".")]
        images = _count(folder / split)
        if (len(classes), images) != (CLASSES, expected):
            raise RunError(
                f"{folder / split} has {images:,} images in {len(classes):,} classes, not {expected:,} in {CLASSES:,}; "
                "delete the incomplete class folders, and run this again"
            )


def _count(folder: Path) -> int:
    """Return the number of images in a folder of class folders, or 0 if there is no such folder."""
    if not folder.is_dir():
        return 0
    return sum(_count_files(path) for path in folder.iterdir() if not path.name.startswith("."))


def _count_files(folder: Path) -> int:
    """Return the number of files in a folder."""
    return sum(1 for _ in os.scandir(folder))
