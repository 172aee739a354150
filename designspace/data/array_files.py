"""Named data sets of your own ``.npy`` files, which stay where they are and are mapped into memory.

``<root>/<name>/arrays.json`` describes them: paths, sizes, digests, mean and deviation, classes. If there are no test
images, the files are split once, into files beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data.conversion import as_images, as_labels, layout_of, with_ignored
from designspace.data.images import IMAGE_TYPES, ImageData
from designspace.data.own import count_classes, heldback_indices, image_data
from designspace.support.errors import InputError, RunError
from designspace.support.files import atomic_writer, make_folder, sha256_of, write_json
from designspace.support.folders import expanded
from designspace.support.reading import read_json_object, read_text, reading
from designspace.support.text import as_utf8, shown

DESCRIPTION = "arrays.json"
FORMAT = 1
KEYS = ("images", "labels", "test_images", "test_labels")
"""Keys of the files of arrays, in their order in a description."""
_FIELDS = ("train_images", "train_labels", "test_images", "test_labels")
"""Fields of `ImageData`, in the same order."""
_ROWS_AT_ONCE = 64
"""Number of images that are copied at a time."""


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """A file as it was when it was described."""

    path: str
    bytes: int
    modified_ns: int
    sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not isinstance(self.sha256, str):
            raise ValueError("path and sha256 of a file must be text")

    @staticmethod
    def of(path: Path) -> ArrayFile:
        """Describe a file, which is read completely."""
        with reading(path):
            status = path.stat()
            return ArrayFile(str(path), status.st_size, status.st_mtime_ns, sha256_of(path))

    def check(self) -> None:
        """Raise unless the file is the one that was described; it is read only if its modification time has changed.

        Raises:
            RunError: it is missing or has changed.
        """
        path = Path(self.path)
        with reading(path):
            status = path.stat()
            if status.st_size == self.bytes and (
                status.st_mtime_ns == self.modified_ns or sha256_of(path) == self.sha256
            ):
                return
        raise RunError(f"{as_utf8(self.path)} has changed since it was described as a data set; {ADVICE}")


ADVICE = "restore the file, or describe the new one under another name: data=arrays data.name=..."


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySet:
    """The content of arrays.json. The values are checked.

    Raises:
        ValueError: a value is missing or out of range.
    """

    dtype: str
    channels: int
    size: int
    """Height and width of an image, in pixels."""
    layout: str
    target: str
    num_classes: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    counts: tuple[int, ...]
    """Numbers of training and test images."""
    files: tuple[ArrayFile, ...]
    """Training images and labels, test images and labels."""
    sources: tuple[ArrayFile, ...]
    """The files that were given: the same, or two that were split into these."""

    def __post_init__(self) -> None:
        numbers = (self.channels, self.size, self.num_classes, *self.counts)
        if not all(type(number) is int and 1 <= number < 2**40 for number in numbers) or len(self.counts) != 2:
            raise ValueError(f"channels, size, classes and images must be whole numbers >= 1, not {shown(numbers)}")
        if self.dtype not in IMAGE_TYPES or len(self.files) != 4 or len(self.sources) not in (2, 4):
            raise ValueError("dtype must be that of images, and the files two or four")
        if not all(isinstance(name, str) for name in (self.layout, self.target, *self.classes)):
            raise ValueError("layout, target and classes must be text")
        if not all(isinstance(number, int | float) for number in (*self.mean, *self.std)):
            raise ValueError("mean and std must be numbers")


def is_described(folder: Path) -> bool:
    """Return whether a folder describes a data set of array files."""
    return (folder / DESCRIPTION).is_file()


def described_names(root: Path) -> list[str]:
    """Return the names of the data sets of array files below ``root``."""
    return sorted(path.parent.name for path in root.glob(f"*/{DESCRIPTION}"))


def read_description(folder: Path) -> ArraySet:
    """Read arrays.json.

    Raises:
        RunError: the file is missing, damaged, or from another version of this program.
    """
    path = folder / DESCRIPTION
    fields = read_json_object(path, file_names=True)
    try:
        version = fields.pop("format")
        if version == FORMAT:
            for key in ("files", "sources"):
                fields[key] = [ArrayFile(**file) for file in fields[key]]
            values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
            return ArraySet(**values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({str(error)[:300]}); delete it and describe the arrays again") from error
    raise RunError(f"{path} has format {shown(version)}, which this version cannot read")


def describe(folder: Path, files: Mapping[str, str | None], layout: str | None = None) -> ArraySet:
    """Describe array files as a data set, unless the folder describes the same files already.

    Args:
        folder: the folder of the data set, which gets its name.
        files: paths of the .npy files ``images``, ``labels``, ``test_images`` and ``test_labels``, of which the last
            two may be missing; and of ``classes``, a text file with one name per line, which may be missing.
        layout: layout of the images if their shape does not tell it (see `conversion.layout_of`).

    Raises:
        InputError: a file is missing or does not hold what it should, or the folder describes other files.
        RunError: a file cannot be read or written.
    """
    paths = _paths(files)
    if is_described(folder):
        return _check_same(folder, paths)
    arrays, classes = [_mapped(path) for path in paths], _class_names(files.get("classes"))
    name, labels = as_utf8(str(paths[0])), as_labels(as_utf8(str(paths[1])), arrays[1])
    if len(arrays[0]) != len(labels):
        raise InputError(f"{name} has {len(arrays[0])} images, but {as_utf8(str(paths[1]))} {len(labels)} labels")
    layout = layout_of(name, arrays[0].shape, layout)
    num_classes = count_classes(name, labels, classes)
    make_folder(folder)
    written: list[Path] = []
    try:
        if len(paths) == 2:
            written = _split_files(folder, *arrays)
            arrays = [_mapped(path) for path in written]
        data = image_data(
            arrays[:2], arrays[2:], classes=classes or None, num_classes=num_classes, layout=layout, name=name
        )
        sources = tuple(map(ArrayFile.of, paths))
        description = ArraySet(
            dtype=data.dtype,
            channels=data.shape[0],
            size=data.shape[1],
            layout=layout,
            target=data.target,
            num_classes=data.num_classes,
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            counts=(len(data.train_labels), len(data.test_labels)),
            files=tuple(map(ArrayFile.of, written)) or sources,
            sources=sources,
        )
        _write(folder, description)
    except InputError:
        for path in written:
            path.unlink()
        with contextlib.suppress(OSError):  # it may hold something else
            folder.rmdir()
        raise
    return description


def _write(folder: Path, description: ArraySet) -> None:
    """Write arrays.json."""
    write_json(folder / DESCRIPTION, {"format": FORMAT, **dataclasses.asdict(description)})


def load(folder: Path) -> ImageData:
    """Load a described data set; its images stay in their files, mapped into memory.

    Raises:
        RunError: a file is missing or has changed; the error names it.
    """
    description = read_description(folder)
    arrays: dict[str, Any] = {}
    try:
        for field, file in zip(_FIELDS, description.files, strict=True):
            file.check()
            array = _mapped(Path(file.path))
            arrays[field] = (
                as_images(field, array, description.layout)
                if field.endswith("images")
                else with_ignored(as_labels(field, array), description.num_classes)
            )
        return ImageData(
            folder.name,
            num_classes=description.num_classes,
            mean=description.mean,
            std=description.std,
            classes=description.classes,
            **arrays,
        )
    except InputError as error:  # the files are those that were described
        raise RunError(f"{folder / DESCRIPTION} does not fit its files ({error})") from error


def check(folder: Path) -> None:
    """Compare all files of a described data set with their digests, and record their new modification times.

    Raises:
        RunError: a file is missing or has changed; the error names it.
    """
    description = read_description(folder)
    changed: dict[str, Any] = {}
    for key in ("files", "sources") if len(description.sources) == 4 else ("files",):
        now = [ArrayFile.of(Path(file.path)) for file in getattr(description, key)]
        for before, after in zip(getattr(description, key), now, strict=True):
            if before.sha256 != after.sha256:
                raise RunError(f"{as_utf8(before.path)} has changed since it was described as a data set; {ADVICE}")
        changed[key] = tuple(now)
    _write(folder, dataclasses.replace(description, **changed))


def digest_and_paths(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return a digest of the files of a described data set, without reading them, and the paths that were given."""
    description = read_description(folder)
    text = "".join(file.sha256 for file in description.files)
    return hashlib.sha256(text.encode()).hexdigest(), tuple(file.path for file in description.sources)


def _paths(files: Mapping[str, str | None]) -> list[Path]:
    """Return the paths of two or four arrays."""
    given = {key: path for key in KEYS if (path := files.get(key))}
    for needed in (KEYS[:2], KEYS[2:]):
        if sum(key in given for key in needed) == 1 or (needed == KEYS[:2] and needed[0] not in given):
            options = " and ".join(f"data.{key}=..." for key in needed)
            raise InputError(f"data=arrays needs {options}, two .npy files of images and of their labels")
    paths = [expanded(path).absolute() for path in given.values()]
    for file in paths:
        if not file.is_file():
            raise InputError(f"{as_utf8(str(file))} is not a file; data=arrays reads files that numpy.save wrote")
    return paths


def _mapped(path: Path) -> NDArray[Any]:
    """Map an array file into memory, read-only.

    Raises:
        InputError: it is not a .npy file of numbers, or its numbers would have to be copied to be used.
    """
    with reading(path):
        try:
            array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:  # an object array, an archive of several arrays, a file that is cut off
            raise InputError(
                f"{as_utf8(str(path))} is not a .npy file of numbers ({error}); save one array with numpy.save"
            ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{as_utf8(str(path))} holds several arrays; save each with numpy.save")
    usable = "float32" if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    if array.ndim in (3, 4) and array.dtype != usable:
        raise InputError(
            f"{as_utf8(str(path))} is {array.dtype}; save it as {usable}, because images are not copied: "
            f"numpy.save(path, images.astype('{usable}'))"
        )
    mapped: NDArray[Any] = array
    return mapped


def _class_names(path: str | None) -> tuple[str, ...]:
    """Return the names of classes in a text file, one per line."""
    if path is None:
        return ()
    return tuple(line.strip() for line in read_text(expanded(path)).splitlines() if line.strip())


def _check_same(folder: Path, paths: list[Path]) -> ArraySet:
    """Return the description in a folder if it is of these files, unchanged.

    Raises:
        InputError: it is of others.
        RunError: they have changed.
    """
    description = read_description(folder)
    if [file.path for file in description.sources] != [str(path) for path in paths]:
        raise InputError(
            f"{folder.name} already is the data set of {as_utf8(description.sources[0].path)}; choose another "
            f"data.name=..., or delete {folder / DESCRIPTION} if no run needs it"
        )
    for file in description.sources:
        file.check()
    return description


def _split_files(folder: Path, images: NDArray[Any], labels: NDArray[Any]) -> list[Path]:
    """Copy the training and the held-back test images to files of their own, so that each can be mapped."""
    chosen = heldback_indices(folder.name, as_labels(folder.name, labels))
    parts = {"train": np.delete(np.arange(len(labels)), chosen), "test": chosen}
    files = []
    for split, indices in parts.items():
        for kind, array in (("images", images), ("labels", labels)):
            path = folder.absolute() / f"{split}_{kind}.npy"
            _write_rows(path, array, indices)
            files.append(path)
    return files


def _write_rows(path: Path, array: NDArray[Any], indices: NDArray[np.int64]) -> None:
    """Write some rows of an array as a .npy file, a few at a time."""
    header = io.BytesIO()
    fields = {"descr": array.dtype.str, "fortran_order": False, "shape": (len(indices), *array.shape[1:])}
    np.lib.format.write_array_header_1_0(header, fields)
    with atomic_writer(path) as file:
        file.write(header.getvalue())
        for rows in _parts(indices):
            file.write(np.ascontiguousarray(array[rows]).tobytes())


def _parts(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield indices a few at a time."""
    return (indices[start : start + _ROWS_AT_ONCE] for start in range(0, len(indices), _ROWS_AT_ONCE))
