"""Passing a data set to another process by the files that contain its arrays."""

from __future__ import annotations

import dataclasses
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.data.images import ImageData
from designspace.support.errors import RunError
from designspace.support.reading import reading

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, slots=True)
class MappedData:
    """An `ImageData` whose arrays are in files, which all processes map into memory and share.

    It uses files instead of shared memory, of which containers often have only 64 MiB.
    """

    fields: dict[str, Any]
    """The fields of the `ImageData` that are not arrays."""
    arrays: dict[str, MappedArray]

    @staticmethod
    def of(images: ImageData, folder: Path) -> MappedData:
        """Write arrays that are not in a file yet to a folder; those that are mapped from a file stay there.

        Raises:
            RunError: the folder cannot be written to.
        """
        fields = {field.name: getattr(images, field.name) for field in dataclasses.fields(images)}
        try:
            arrays = {name: _mapped(fields.pop(name), folder / f"{name}.npy") for name in _ARRAYS}
        except OSError as error:
            raise RunError(f"cannot write the images to {folder}: {error.strerror or error}") from error
        return MappedData(fields, arrays)

    def data(self) -> ImageData:
        """Map the arrays into memory, read-only."""
        arrays: dict[str, Any] = {name: array.map() for name, array in self.arrays.items()}
        return ImageData(**self.fields, **arrays)


@dataclass(frozen=True, slots=True)
class MappedArray:
    """The position of a C-contiguous array in a file."""

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    channels_last: bool = False
    """Whether the file has the axes (N, H, W, C) of an array (N, C, H, W)."""

    def map(self) -> NDArray[Any]:
        """Map the array into memory, read-only."""
        with reading(self.path):
            array = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return array.transpose(0, 3, 1, 2) if self.channels_last else array

    @staticmethod
    def of(array: NDArray[Any]) -> MappedArray | None:
        """Return the position of an array in its file, or None if it is not mapped from a file or not contiguous."""
        mapping = getattr(array, "_mmap", None)
        if not isinstance(array, np.memmap) or mapping is None or array.filename is None:
            return None
        if not array.flags.c_contiguous:
            return None
        # A slice of a mapped array still has the offset of the whole array, so compare its address with the mapping's.
        begin = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
        mapped_from = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        offset = mapped_from + array.__array_interface__["data"][0] - begin
        return MappedArray(Path(array.filename).absolute(), offset, array.dtype, array.shape)


def _mapped(array: NDArray[Any], path: Path) -> MappedArray:
    """Return the position of an array in its file, after writing it to ``path`` if it is not in a file yet."""
    mapped = MappedArray.of(array)
    if mapped is None and array.ndim == 4 and (last := MappedArray.of(array.transpose(0, 2, 3, 1))):
        return dataclasses.replace(last, channels_last=True)
    if mapped is None:
        np.save(path, array)
        mapped = MappedArray.of(np.load(path, mmap_mode="r"))
        assert mapped is not None, "a mapped array is mapped"
    return mapped
