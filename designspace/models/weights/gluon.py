"""Reads parameters that MXNet's Gluon wrote (``.params``): a list of arrays and their names, in MXNet's own format.

The file: 8 bytes 0x112 and 8 reserved; the number of arrays and the arrays; the number of names and the names, each
with its length. An array: its version, kind of storage, shape, device, type code, values. All little-endian. Nothing
declared in it is believed before it fits into what the file holds.
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
"""How large a zipped file may be when unpacked."""
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
    """The arrays of a ``.params`` file by name, without the ``arg:`` and ``aux:`` that old files put before names.

    Raises:
        RunError: it is not such a file, not whole, or holds what is not read here (sparse or unnamed arrays).
    """
    reader = _Reader(content)
    if reader.take(8) != MAGIC:
        raise RunError("it does not begin as MXNet's files do")
    reader.take(8)
    arrays = [_read_array(reader) for _ in range(reader.count("arrays"))]
    names = [reader.text() for _ in range(reader.count("names"))]
    if reader.left:
        raise RunError(f"{reader.left:,} bytes follow its end")
    if len(names) != len(arrays):
        raise RunError(f"it has {len(arrays):,} arrays but {len(names):,} names")
    result: dict[str, Tensor] = {}
    for name, array in zip(names, arrays, strict=True):
        key = name.removeprefix("arg:").removeprefix("aux:")
        if key in result:
            raise RunError(f"it holds {key} twice")
        result[key] = array
    return result


def zipped_params(path: Path) -> bytes | None:
    """The content of the only ``.params`` file in a zip archive, as Gluon's models are published; None if it has none.

    It is read in memory: what the archive calls its files does not matter.

    Raises:
        RunError: there are several, or it is damaged or far too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".params")]
            if not members:
                return None
            if len(members) > 1:
                raise RunError(f"it holds {len(members)} .params files; unpack it and give one of them")
            if members[0].file_size > ZIPPED_BYTES:
                raise RunError(
                    f"it announces {members[0].file_size:,} bytes unpacked, and no weights here are so large"
                )
            with archive.open(members[0]) as file:
                return file.read()  # never more than was announced
    except RunError:
        raise
    except Exception as error:  # whatever Python's reader stumbles over in a damaged archive
        raise RunError(f"it is cut off, or damaged: not a whole zip archive ({error}); fetch it again") from error


class _Reader:
    """Bytes that are taken from the front."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes were not taken yet."""
        return len(self._content) - self._at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > self.left:
            raise RunError(f"it is cut off, or damaged: {size:,} bytes are announced where {self.left:,} are left")
        self._at += size
        return bytes(self._content[self._at - size : self._at])

    def number(self, form: str) -> int:
        """The next number, in a format of `struct`."""
        value: int = struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]
        return value

    def count(self, what: str) -> int:
        """The next number of things, of at least four bytes each."""
        count = self.number("Q")
        if count > self.left // 4:
            raise RunError(
                f"it is cut off, or damaged: {count:,} {what} are announced where {self.left:,} bytes are left"
            )
        return count

    def text(self) -> str:
        """The next text, after its length."""
        try:
            return self.take(self.number("Q")).decode()
        except UnicodeDecodeError as error:
            raise RunError("the names in it are not text") from error


def _read_array(reader: _Reader) -> Tensor:
    """The next array."""
    version = reader.number("I")
    if version in (_V2, _V3) and reader.number("i") != 0:
        raise RunError("it holds a sparse array; save the parameters in dense form")
    if version in (_V1, _V2, _V3):
        dimensions, form = reader.number("i"), "q"
    else:  # the first version begins with its shape
        dimensions, form = version, "I"
    if dimensions == (-1 if version == _V3 else 0):
        raise RunError("it holds an array without values, such as a parameter that was never initialised")
    if not 0 <= dimensions <= _DIMENSIONS:
        raise RunError(f"it is damaged, or no list of arrays: one of {dimensions:,} dimensions")
    shape = [reader.number(form) for _ in range(dimensions)]
    if any(size < 0 for size in shape):
        raise RunError("it holds an array of unknown shape, such as a parameter that was never initialised")
    if math.prod(max(size, 1) for size in shape) >= 2**60:  # an empty array may still have huge sides
        raise RunError(f"it is damaged: an array of shape {tuple(shape)}")
    reader.take(8)  # the kind of device and its number
    code = reader.number("i")
    if code not in _TYPES:
        raise RunError(f"it holds an array of an unknown type (code {code})")
    dtype = _TYPES[code]
    values = bytearray(reader.take(math.prod(shape) * dtype.itemsize))
    return torch.frombuffer(values, dtype=dtype).reshape(shape) if values else torch.empty(shape, dtype=dtype)
