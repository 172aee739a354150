"""Reads weight files from untrusted sources: no code in them is run, and everything in them is checked."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from designspace.models.weights import gluon
from designspace.models.weights.wrappers import is_bookkeeping, state_dict_in
from designspace.support.errors import RunError

_HEADER_BYTES = 100_000_000
"""Largest header that safetensors allows."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file by their names there: contiguous, in memory, float32, all finite.

    The content determines the kind of file: ``torch.save`` (old or new format), safetensors, or MXNet's ``.params``,
    also as the only one in a zip archive. From a checkpoint only the weights are read (see
    `designspace.models.weights.wrappers.WEIGHT_KEYS`). An average over epochs is used only if there are no other
    weights, because published errors are not those of the average.

    Raises:
        RunError: the file cannot be read, is damaged, requires code to be run, or contains values that cannot be
            weights.
    """
    try:
        return _check_weights(*_read(path))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except RunError as error:
        raise RunError(f"cannot take weights from {path}: {error}") from error


def _read(path: Path) -> tuple[dict[Any, Any], int]:
    """Return the content of a file, and the largest number of bytes that its values can have."""
    if path.is_dir():
        raise RunError("it is a folder; give the path of a file in it")
    if path.exists() and not path.is_file():
        raise RunError("it is not a regular file")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise RunError("it is empty; fetch it again")
    if start.startswith(b"PK\x03\x04"):
        content = gluon.zipped_params(path)
        if content is not None:
            return dict(gluon.read_params(content)), len(content)
        return _nested(_read_torch_zip(path)), size
    if start.startswith(gluon.MAGIC):
        return dict(gluon.read_params(path.read_bytes())), size
    if start.startswith(b"\x80"):
        return _nested(_load(path)), size
    if start[8:9] == b"{":
        return _read_safetensors(path, size), size
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise RunError("it is a web page, such as an error page that was saved instead of the file; fetch it again")
    if text.startswith(b"version https://git-lfs"):
        raise RunError("it is only a Git LFS pointer to the file; run `git lfs pull` in its repository")
    raise RunError("it is none of: a file of torch.save, safetensors, MXNet's .params, a zip archive with one of these")


def _read_torch_zip(path: Path) -> Any:
    """Return what ``torch.save`` wrote into a zip archive."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if not any(name.endswith("data.pkl") for name in names):
        raise RunError("it is a zip archive, but not one of torch.save, and contains no .params file")
    if any(name.endswith("/constants.pkl") for name in names):
        raise RunError("it is a TorchScript program; if you trust it, use torch.jit.load and save its state dict")
    if len(set(names)) < len(names):
        raise RunError("it is damaged: a zip archive with several members of one name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise RunError("its values are compressed, which torch.save never does; unpack it, or save it again with torch")
    return _load(path, mmap=True)  # memory-mapped, so values cannot exceed the file, whatever sizes it declares


def _load(path: Path, *, mmap: bool = False) -> Any:
    """Return what ``torch.load`` reads without running code."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL (\S+)", str(error))
        if match is None:
            raise RunError("it is cut off, damaged, or not a file of torch.save; fetch it again") from error
        raise RunError(
            f"it requires {match[1]}, but reading must not run code or create objects: only tensors, numbers, texts, "
            "lists and dicts are read. If you trust it, load it where it was written and save only its state dict"
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged or hostile file may raise any error of torch or its unpickler
        first_line = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise RunError(f"it is cut off, or damaged ({first_line}); fetch it again") from error


def _read_safetensors(path: Path, size: int) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _HEADER_BYTES):
            raise RunError(f"it is cut off, or damaged: it declares a header of {length:,} bytes, but has {size:,}")
        header = file.read(length)
    try:
        json.loads(header, object_pairs_hook=_unique)
        with safe_open(path, framework="pt", device="cpu") as content:
            return {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (it is not a dict)
    except RunError:
        raise
    except Exception as error:  # a damaged or hostile file may raise any error of the JSON reader or of safetensors
        raise RunError(f"it is cut off, or damaged ({error}); fetch it again") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict; raise `RunError` if a name occurs twice."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise RunError("it is damaged: it contains a name twice")
    return result


def _nested(content: Any) -> dict[Any, Any]:
    """Return the state dict in the content of a checkpoint."""
    content = state_dict_in(content)
    if not isinstance(content, Mapping):
        raise RunError(f"it contains one {type(content).__name__}, not a dict of tensors by name")
    return dict(content)


def _check_weights(content: dict[Any, Any], size: int) -> dict[str, Tensor]:
    """Return the tensors as float32 (counters as int64), each with its own memory."""
    content = {key: value for key, value in content.items() if not is_bookkeeping(key)}
    if not any(isinstance(value, Tensor) for value in content.values()):
        others = f", only {', '.join(str(key) for key in list(content)[:5])}" if content else ""
        raise RunError(f"it contains no tensors{others}")
    for key, value in content.items():
        _check_kind(key, value)
    total_bytes = sum(value.numel() * value.element_size() for value in content.values())
    if total_bytes > size:
        raise RunError(f"its tensors have {total_bytes:,} bytes, which cannot be in {size:,}")
    return {key: _as_weight(key, value) for key, value in content.items()}


def _check_kind(key: Any, value: Any) -> None:
    """Raise `RunError` unless an entry is an ordinary tensor of numbers."""
    if not isinstance(key, str):
        raise RunError(f"it has a tensor without a name: {key!r}")
    if type(value) not in (Tensor, nn.Parameter):
        raise RunError(f"{key} in it is not a tensor but of type {type(value).__name__}")
    if value.layout is not torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
        kind = "complex" if value.is_complex() else "quantised" if value.is_quantized else "sparse, or without values"
        raise RunError(f"{key} in it is {kind}; weights are dense tensors of real numbers")
    if not value.is_floating_point() and not key.endswith("num_batches_tracked"):
        raise RunError(f"{key} in it is of type {str(value.dtype).removeprefix('torch.')}; weights are floating-point")


def _as_weight(key: str, value: Tensor) -> Tensor:
    """Return a copy in memory, of the right type; raise `RunError` if a value cannot be a weight."""
    if key.endswith("num_batches_tracked"):
        return value.detach().to(torch.int64, copy=True)
    weight = value.detach().to(torch.float32, copy=True).contiguous()
    if not weight.isfinite().all():
        count = int((~weight.isfinite()).sum())
        share = f"{count:,} of {weight.numel():,} values"
        raise RunError(f"{key} in it has {share} NaN or infinite: damaged, or saved after training had diverged")
    if key.endswith("running_var") and weight.numel() and weight.min() < 0:
        raise RunError(f"{key} in it has negative values, which variances cannot have")
    return weight
