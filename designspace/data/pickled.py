"""Reading pickles that hold nothing but plain values and arrays of bytes, without running anything that is in them.

A pickle is a program, and `pickle.load` runs it. CIFAR's archives for Python are pickles, written by Python 2. Here the
few names that they use stand for classes of this module, which only keep what they are given; any other is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Kept:
    """What stands for an object of the pickle: the arguments it was made with, and its state."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_Kept):
    """A numpy array, whose state is version, shape, type, whether columns come first, and content."""


class _Type(_Kept):
    """A numpy type, made with its name."""


def _encoded(text: object, encoding: object) -> bytes:
    """How Python 3 writes bytes for Python 2: as text in Latin-1."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Kept,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in `_KNOWN` and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which images and labels have no need of")
        return _KNOWN[module, name]


def read_dict(content: bytes) -> dict[bytes, Any]:
    """The dict in a pickle of a dict, whose arrays are of uint8; its keys and texts come as bytes.

    Raises:
        ValueError: it is damaged, holds something else, or names anything beyond what arrays of uint8 need.
    """
    try:
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle may do anything that its few instructions can
        raise ValueError(f"it is no pickle of images and labels: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"it is a pickle of a {type(value).__name__.strip('_')}, not of a dict")
    return {_as_bytes(key): _array(item) if isinstance(item, _Array) else item for key, item in value.items()}


def _as_bytes(key: object) -> bytes:
    """A key as Python 2 has it."""
    if isinstance(key, str):
        return key.encode()
    if not isinstance(key, bytes):
        raise ValueError(f"it has the key {key!r}, which is no text")
    return key


def _array(kept: _Array) -> NDArray[np.uint8]:
    """The array that an object of the pickle describes."""
    try:
        _, shape, kind, columns_first, content = kept.state
        name = kind.arguments[0]
        shape = tuple(int(side) for side in shape)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError("an array in it is not described as numpy does") from error
    if name not in ("u1", b"u1") or not isinstance(content, bytes) or columns_first not in (0, 1):
        raise ValueError(f"an array in it is of {name!r}, not of uint8 ('u1')")
    if min(shape, default=1) < 0 or math.prod(shape) != len(content):
        raise ValueError(f"an array in it has {len(content)} bytes, which do not make the shape {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")
