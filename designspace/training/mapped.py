"""A data set as another process can be told of it: by the files that its arrays are in."""

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
    """An `ImageData` whose arrays are in files, which all processes that map them into memory share.

    Files, and not shared memory: containers often have only 64 MiB of that.
    """

    fields: dict[str, Any]
    """Its fields that are no arrays."""
    arrays: dict[str, MappedArray]

    @staticmethod
    def of(images: ImageData, folder: Path) -> MappedData:
        """Write arrays that are in no file yet to a folder; those that are mapped from a file stay there.

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
        """Map the arrays, to be read."""
        arrays: dict[str, Any] = {name: array.map() for name, array in self.arrays.items()}
        return ImageData(**self.fields, **arrays)


@dataclass(frozen=True, slots=True)
class MappedArray:
    """Where in a file an array lies, row after row."""

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def map(self) -> NDArray[Any]:
        """Map it into memory, to be read."""
        with reading(self.path):
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)

    @staticmethod
    def of(array: NDArray[Any]) -> MappedArray | None:
        """Tell where an array lies; None if it is mapped from no file, or lies there otherwise."""
        mapping = getattr(array, "_mmap", None)
        if not isinstance(array, np.memmap) or mapping is None or array.filename is None:
            return None
        if not array.flags.c_contiguous:
            return None
        # A part of a mapped array still tells the offset of the whole; so ask where in memory the mapping begins.
        begin = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
        mapped_from = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        offset = mapped_from + array.__array_interface__["data"][0] - begin
        return MappedArray(Path(array.filename).absolute(), offset, array.dtype, array.shape)


def _mapped(array: NDArray[Any], path: Path) -> MappedArray:
    """Tell where an array lies, at ``path`` if it is in no file yet."""
    found = MappedArray.of(array)
    if found is None:
        np.save(path, array)
        found = MappedArray.of(np.load(path, mmap_mode="r"))
        assert found is not None, "a mapped array is mapped"
    return found
