"""ImageNet (ILSVRC 2012) from its published archives, laid out as ``<root>/imagenet/{train,val}/<class>/<image>``.

A class's name is its WordNet id, such as n01440764. The archives must be had from image-net.org by hand.
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

Show = Callable[[int, int], None]
"""Takes how many images are laid out, and of how many."""


def extract(
    archives: Sequence[Path], root: Path, *, check: bool = True, show: Show = lambda finished, total: None
) -> Path:
    """Lay ImageNet out below ``root``, and give the folder; what is there already stays, so that the same call goes on.

    Args:
        archives: the paths of `TRAIN`, `VAL` and `DEVKIT`, or of a folder that holds them. One may be missing where
            what is in it is laid out already.
        root: the folder of all data sets.
        check: compare the archives with their published MD5. It is no safeguard against an attacker, but there is no
            other published digest.
        show: is told now and then how many images are laid out, of how many.

    Raises:
        InputError: an archive is missing, or is none of these.
        RunError: an archive is damaged or holds what it must not; a folder cannot be written; or images are missing.
    """
    folder = root / NAME
    given = _given(archives)
    total = TRAIN_IMAGES + VAL_IMAGES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "val").is_dir():
            paths = _checked(given, [VAL, DEVKIT], folder, check)
            _extract_val(paths[VAL], paths[DEVKIT], folder, lambda images: show(images, total))
        done = _count(folder / "val")
        if _count(folder / "train") != TRAIN_IMAGES:
            paths = _checked(given, [TRAIN], folder, check)
            _extract_train(paths[TRAIN], folder / "train", lambda images: show(done + images, total))
        _check_counts(folder)
    except tarfile.TarError as error:
        raise RunError(f"an archive is cut off or damaged: {error}") from error
    except OSError as error:
        raise RunError(f"cannot lay {NAME} out in {folder}: {error.strerror or error}") from error
    show(total, total)
    return folder


def _given(archives: Sequence[Path]) -> dict[Archive, Path]:
    """The archives among some paths."""
    found = {}
    for path in archives:
        path = expanded(path)
        candidates = [path / archive.file for archive in (TRAIN, VAL, DEVKIT)] if path.is_dir() else [path]
        for candidate in candidates:
            archive = next((a for a in (TRAIN, VAL, DEVKIT) if a.file == candidate.name), None)
            if archive is None or (not path.is_dir() and not candidate.is_file()):
                raise InputError(
                    f"{candidate} is {'no file' if archive else 'no archive of ImageNet'}; from=[...] takes the files "
                    f"{TRAIN.file}, {VAL.file} and {DEVKIT.file} of image-net.org, or the folder where they are"
                )
            if candidate.is_file():
                found[archive] = candidate
    return found


def _checked(given: dict[Archive, Path], needed: Sequence[Archive], folder: Path, check: bool) -> dict[Archive, Path]:
    """The archives that are needed, compared with their MD5; one that was before, and is as it was, is not again."""
    if missing := [archive.file for archive in needed if archive not in given]:
        raise InputError(f"{' and '.join(missing)} must be among from=[...]: what is in it is not laid out yet")
    if not check:
        return given
    record = folder / _CHECKED
    known = read_json(record, file_names=True) if record.is_file() else {}
    for archive in needed:
        path = given[archive].resolve()
        status = path.stat()
        stamp = [str(path), status.st_size, status.st_mtime_ns]
        if known.get(archive.file) == stamp:
            continue
        log.info("checking the MD5 of %s", path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if digest != archive.md5:
            raise RunError(
                f"{path} is damaged or another file: its MD5 is {digest}, not the published {archive.md5}; fetch it "
                "again, or with check=false it is taken as it is"
            )
        known[archive.file] = stamp
        write_json(record, known)
    return given


def _extract_train(path: Path, folder: Path, show: Callable[[int], None]) -> None:
    """Lay out the training images: an archive that holds an archive a class."""
    folder.mkdir(exist_ok=True)
    for left in folder.glob(".*.partial"):  # of a call that was interrupted
        shutil.rmtree(left)
    images = 0
    with tarfile.open(path, "r:") as outer:
        for member in outer:
            match = _CLASS_TAR.fullmatch(member.name)
            if not match or not member.isreg():
                raise _surprise(path, member, "n01440764.tar")
            target = folder / match[1]
            if not target.is_dir():
                partial = folder / f".{match[1]}.partial"
                partial.mkdir()
                with _opened(outer, member) as file, tarfile.open(fileobj=file, mode="r:") as inner:
                    for image in inner:
                        if not _TRAIN_IMAGE.fullmatch(image.name) or not image.isreg():
                            raise _surprise(path, image, "n01440764_18.JPEG")
                        _write(inner, image, partial / image.name)
                partial.replace(target)
            images += _count_files(target)
            show(images)


def _extract_val(path: Path, devkit: Path, folder: Path, show: Callable[[int], None]) -> None:
    """Lay out the validation images, which are published in one flat archive, by the classes that the devkit tells."""
    classes = read_devkit(devkit, VAL_IMAGES)
    partial = folder / ".val.partial"
    for name in sorted(set(classes)):
        (partial / name).mkdir(parents=True, exist_ok=True)
    images = 0
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            match = _VAL_IMAGE.fullmatch(member.name)
            if not match or not member.isreg() or not 1 <= int(match[1]) <= len(classes):
                raise _surprise(path, member, "ILSVRC2012_val_00000001.JPEG")
            target = partial / classes[int(match[1]) - 1] / member.name
            if not target.is_file() or target.stat().st_size != member.size:
                _write(tar, member, target)
            images += 1
            if images % 1000 == 0:
                show(images)
    if images != VAL_IMAGES:
        raise RunError(f"{path} holds {images} images, not {VAL_IMAGES}; it may be cut off")
    partial.replace(folder / "val")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write the content of a member, whose name was checked, as an ordinary file."""
    with _opened(tar, member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    if target.stat().st_size != member.size:
        raise tarfile.ReadError(f"{member.name} is cut off")


@contextlib.contextmanager
def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
    """The content of a member that is a file."""
    file = tar.extractfile(member)
    assert file is not None
    with file:
        yield file


def _surprise(path: Path, member: tarfile.TarInfo, example: str) -> RunError:
    """The error for a member that has no place in an archive: another name, a link, a path that leads elsewhere."""
    return RunError(
        f"{path} holds {member.name!r}, where only files such as {example} should be; nothing is made of it"
    )


def _check_counts(folder: Path) -> None:
    """Raise unless all classes and images are there."""
    for split, wanted in (("train", TRAIN_IMAGES), ("val", VAL_IMAGES)):
        classes = [path for path in (folder / split).iterdir() if not path.name.startswith(".")]
        images = _count(folder / split)
        if (len(classes), images) != (CLASSES, wanted):
            raise RunError(
                f"{folder / split} holds {images:,} images in {len(classes):,} classes, not {wanted:,} in {CLASSES:,}; "
                "delete the class folders that are not whole, and run this again"
            )


def _count(folder: Path) -> int:
    """The images in a folder of class folders; 0 where there is none."""
    if not folder.is_dir():
        return 0
    return sum(_count_files(path) for path in folder.iterdir() if not path.name.startswith("."))


def _count_files(folder: Path) -> int:
    """The files in a folder."""
    return sum(1 for _ in os.scandir(folder))
