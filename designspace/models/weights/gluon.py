"""Reads parameters that MXNet's Gluon wrote (``.params``): a list of arrays and their names, in MXNet's own format.

The file: 8 bytes 0x112 and 8 reserved; the number of arrays and the arrays; the number of names and the names, each
with its length. An array: its version, kind of storage, shape, device, type code, values. All little-endian. Every
declared size is checked against the remaining bytes before it is used.
"""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from designspace.support.errors import RunError

MAGIC = (0x112).to_bytes(8, "little")
ZIPPED_BYTES = 1 << 30
"""Largest size of an unpacked file."""
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_TYPES = {
    0: torch.float32,
    1: torch.float64,
    2: torch.float16,
    3: torch.uint8,
    4: torch.int32,
    5: torch.int8,
    6: torch.int64,
    7: torch.bool,
    12: torch.bfloat16,
}
_DIMENSIONS = 32


def read_params(content: bytes) -> dict[str, Tensor]:
    """Return the arrays of a ``.params`` file by name, without the prefixes ``arg:`` and ``aux:`` of old files.

    Raises:
        RunError: it is not such a file, is incomplete, or contains unsupported (sparse or unnamed) arrays.
    """
    reader = _Reader(content)
    if reader.take(8) != MAGIC:
        raise RunError("it does not start like MXNet's files")
    reader.take(8)
    arrays = [_read_array(reader) for _ in range(reader.count("arrays"))]
    names = [reader.text() for _ in range(reader.count("names"))]
    if reader.remaining:
        raise RunError(f"{reader.remaining:,} bytes follow its end")
    if len(names) != len(arrays):
        raise RunError(f"it has {len(arrays):,} arrays but {len(names):,} names")
    result: dict[str, Tensor] = {}
    for name, array in zip(names, arrays, strict=True):
        key = name.removeprefix("arg:").removeprefix("aux:")
        if key in result:
            raise RunError(f"it contains {key} twice")
        result[key] = array
    return result


def zipped_params(path: Path) -> bytes | None:
    """Return the content of the ``.params`` file in a zip archive, as Gluon publishes its models; None without one.

    It is read in memory, so that the paths in the archive do not matter.

    Raises:
        RunError: there are several such files, or the file is damaged or far too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".params")]
            if not members:
                return None
            if len(members) > 1:
                raise RunError(f"it contains {len(members)} .params files; unpack it and give one of them")
            if members[0].file_size > ZIPPED_BYTES:
                raise RunError(f"it declares {members[0].file_size:,} unpacked bytes, more than any weights here have")
            with archive.open(members[0]) as file:
                return file.read()  # never more than the declared size
    except RunError:
        raise
    except Exception as error:  # a damaged archive may raise any error of Python's reader
        raise RunError(f"it is cut off, or damaged: not a whole zip archive ({error}); fetch it again") from error


class _Reader:
    """A reader that takes bytes from the front."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._position = 0

    @property
    def remaining(self) -> int:
        """Number of bytes that were not taken yet."""
        return len(self._content) - self._position

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > self.remaining:
            raise RunError(f"it is cut off, or damaged: it declares {size:,} bytes, but {self.remaining:,} remain")
        self._position += size
        return bytes(self._content[self._position - size : self._position])

    def number(self, form: str) -> int:
        """Return the next number, in a format of `struct`."""
        value: int = struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]
        return value

    def count(self, items: str) -> int:
        """Return the next number of items, which have at least four bytes each."""
        count = self.number("Q")
        if count > self.remaining // 4:
            raise RunError(
                f"it is cut off, or damaged: it declares {count:,} {items}, but {self.remaining:,} bytes remain"
            )
        return count

    def text(self) -> str:
        """Return the next text, which follows its length."""
        try:
            return self.take(self.number("Q")).decode()
        except UnicodeDecodeError as error:
            raise RunError("the names in it are not text") from error


def _read_array(reader: _Reader) -> Tensor:
    """Return the next array."""
    version = reader.number("I")
    if version in (_V2, _V3) and reader.number("i") != 0:
        raise RunError("it contains a sparse array; save the parameters in dense form")
    if version in (_V1, _V2, _V3):
        dimensions, form = reader.number("i"), "q"
    else:  # the first version starts with the shape
        dimensions, form = version, "I"
    if dimensions == (-1 if version == _V3 else 0):
        raise RunError("it contains an array without values, such as a parameter that was never initialised")
    if not 0 <= dimensions <= _DIMENSIONS:
        raise RunError(f"it is damaged, or not a list of arrays: an array has {dimensions:,} dimensions")
    shape = [reader.number(form) for _ in range(dimensions)]
    if any(size < 0 for size in shape):
        raise RunError("it contains an array of unknown shape, such as a parameter that was never initialised")
    if math.prod(max(size, 1) for size in shape) >= 2**60:  # an empty array may still have huge sides
        raise RunError(f"it is damaged: an array of shape {tuple(shape)}")
    reader.take(8)  # the kind of device and its number
    code = reader.number("i")
    if code not in _TYPES:
        raise RunError(f"it contains an array of an unknown type (code {code})")
    dtype = _TYPES[code]
    values = bytearray(reader.take(math.prod(shape) * dtype.itemsize))
    return torch.frombuffer(values, dtype=dtype).reshape(shape) if values else torch.empty(shape, dtype=dtype)
