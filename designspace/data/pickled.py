"""Reading pickles of plain values and arrays of bytes without running any code in them.

A pickle is a program, and `pickle.load` runs it. CIFAR's archives for Python are pickles, written by Python 2. Here the
few names that they use are mapped to classes of this module, which only record their arguments; all others are refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Recorded:
    """Placeholder for an object of the pickle: the arguments of its constructor, and its state."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_Recorded):
    """Placeholder for a numpy array, whose state is (version, shape, type, is Fortran order, content)."""


class _Type(_Recorded):
    """Placeholder for a numpy type, whose argument is its name."""


def _encode(text: object, encoding: object) -> bytes:
    """Convert text in Latin-1 to bytes, which Python 3 writes in this way for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are in the encoding {encoding!r}, not 'latin1'")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Recorded,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Unpickler that resolves the names in `_ALLOWED` and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which images and labels do not need")
        return _ALLOWED[module, name]


def read_dict(content: bytes) -> dict[bytes, Any]:
    """Read a pickle of a dict whose arrays are of uint8; its keys and texts are returned as bytes.

    Raises:
        ValueError: the pickle is damaged, holds something else, or refers to names that arrays of uint8 do not need.
    """
    try:
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle may raise almost any exception
        raise ValueError(f"it is not a pickle of images and labels: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"it is a pickle of a {type(value).__name__.strip('_')}, not of a dict")
    return {_as_bytes(key): _array(item) if isinstance(item, _Array) else item for key, item in value.items()}


def _as_bytes(key: object) -> bytes:
    """Return a key as bytes, as in Python 2."""
    if isinstance(key, str):
        return key.encode()
    if not isinstance(key, bytes):
        raise ValueError(f"it has the key {key!r}, which is not text")
    return key


def _array(recorded: _Array) -> NDArray[np.uint8]:
    """Return the array that a placeholder describes."""
    try:
        _, shape, kind, columns_first, content = recorded.state
        name = kind.arguments[0]
        shape = tuple(int(side) for side in shape)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError("an array in it is not described in numpy's format") from error
    if name not in ("u1", b"u1") or not isinstance(content, bytes) or columns_first not in (0, 1):
        raise ValueError(f"an array in it is of {name!r}, not of uint8 ('u1')")
    if min(shape, default=1) < 0 or math.prod(shape) != len(content):
        raise ValueError(f"an array in it has {len(content)} bytes, which do not make the shape {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")
