"""Self-contained model folders: weights, network, and their description.

``weights.safetensors`` has the weights, ``network.json`` the network, its id and how images must be prepared,
``README.md`` is the model card for users, and ``config.json`` describes the model to other libraries. Reading a folder
never runs code from it: the files are JSON and safetensors, and their content is checked before a module is built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from designspace.library.card import model_card
from designspace.library.metadata import model_config
from designspace.models.anynet import AnyNet
from designspace.models.info import ModelInfo
from designspace.networks.complexity import complexity
from designspace.networks.network import MODEL_FILE, Network
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_bytes, write_folder
from designspace.support.reading import entries, read_json_object
from designspace.support.text import shown
from designspace.support.user_code import files_of

FORMAT = 1
WEIGHTS, NETWORK, CARD = "weights.safetensors", MODEL_FILE, "README.md"
CONFIG = "config.json"
"""Description for other libraries (`designspace.library.metadata`); folders of earlier versions do not have it."""
CODE = "code"
"""Folder with copies of the user's own modules that the network needs. Reading a model folder never runs them."""
ONNX, TORCH_EXPORT = "model.onnx", "model.pt2"
_MOST_JSON_BYTES = 10_000_000


def write_model(path: Path, model: AnyNet, info: ModelInfo) -> None:
    """Write a model folder, whole or not at all. The model is not changed.

    Floating-point weights are written as float32. A folder with the same network is updated, and its exported models,
    which may have other weights, are deleted.

    Raises:
        InputError: ``path`` has other content, which is not changed, or a weight is NaN or infinite.
        RunError: the folder cannot be written.
    """
    network = model.network
    has_content = path.exists() and not (path.is_dir() and not entries(path))
    if has_content and (existing := _existing_network(path)) != network.id:
        problem = "is not a model folder" if existing is None else f"contains another network, {existing}"
        raise InputError(f"{path} {problem}; it was not changed. Choose another folder for {network.id}")
    write_folder(path, model_files(model, info), stale=(ONNX, TORCH_EXPORT))


def model_files(model: AnyNet, info: ModelInfo) -> dict[str, bytes]:
    """Return the files of a model folder, in the order in which they must be written.

    Raises:
        InputError: a weight is NaN or infinite.
    """
    network = model.network
    tensors = {key: _plain(value) for key, value in model.state_dict().items()}
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"network {network.id} was not written: {key} has NaN or infinite values")
    content = safetensors.torch.save(tensors, {"format": "pt", "network": network.id})
    description = {
        "format": FORMAT,
        "id": network.id,
        "network": json.loads(network.to_json()),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        **info.to_dict(),
    }
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    config = json.dumps(model_config(network, info, WEIGHTS), indent=2, allow_nan=False) + "\n"
    card = model_card(network, info)
    # network.json is written last, so that the weights it describes exist.
    # Paths and names in the card need not be UTF-8.
    return {
        CARD: card.encode(errors="backslashreplace"),
        CONFIG: config.encode(),
        WEIGHTS: content,
        **{f"{CODE}/{name}": source for name, source in files_of(network.imported_names).items()},
        NETWORK: text.encode(),
    }


def is_model_folder(path: Path) -> bool:
    """Return whether a folder looks like one that `write_model` wrote."""
    return (path / NETWORK).is_file()


def read_model(path: Path) -> AnyNet:
    """Read a model folder: return the module in evaluation mode, with its description in the attribute ``weights``.

    Raises:
        RunError: a file is missing, cut off, or has wrong content; the error names the file and the problem.
    """
    network, info, sha256 = _read_description(path / NETWORK)
    source = path / WEIGHTS
    content = read_bytes(source)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(f"{source} is not the file that {NETWORK} describes: it is damaged, or was cut off or replaced")
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise RunError(f"{source} is not a whole safetensors file ({error})") from error
    # This is checked before the module is built, because a few bytes of JSON may describe a network of any size.
    # A custom block may not take images of a single pixel.
    side = 64 if network.imported_names else 1
    count, required = sum(tensor.numel() for tensor in tensors.values()), complexity(network, side).params
    if count < required:
        raise RunError(f"{source} has {count:,} numbers, but network {network.id} has {required:,} weights")
    model = AnyNet(network)
    fill_model(model, tensors, source)
    model.weights = info
    return model.eval()


def read_description(path: Path) -> tuple[Network, ModelInfo]:
    """Return the network of a model folder and its description, without reading the weights.

    Raises:
        RunError: the description is missing or inconsistent.
    """
    network, info, _ = _read_description(path / NETWORK)
    return network, info


def fill_model(model: AnyNet, tensors: Mapping[str, Any], source: Path) -> None:
    """Load a state dict from an untrusted source into a module.

    Raises:
        RunError: a value is missing, surplus, of another type or shape, NaN or infinite; the module is then unchanged.
    """
    expected_tensors: dict[str, Tensor] = model.state_dict()
    problem = f"{source} does not have the weights of network {model.network.id}"
    if missing := [key for key in expected_tensors if key not in tensors]:
        raise RunError(f"{problem}: {missing[0]} is missing{_count_others(missing)}")
    if surplus := [key for key in tensors if key not in expected_tensors]:
        raise RunError(f"{problem}: it has {surplus[0]!r}, which the network does not have{_count_others(surplus)}")
    for key, expected in expected_tensors.items():
        value = tensors[key]
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.dtype != expected.dtype:
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise RunError(f"{problem}: {key} is of type {kind}, not {expected.dtype}")
        if value.shape != expected.shape:
            raise RunError(f"{problem}: {key} has shape {tuple(value.shape)}, not {tuple(expected.shape)}")
        if not value.isfinite().all():
            raise RunError(f"{problem}: {key} has NaN or infinite values")
    model.load_state_dict(dict(tensors))


def _plain(value: Tensor) -> Tensor:
    """Return a copy for writing: on the CPU, contiguous, and in float32 if it is floating-point."""
    return value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype).contiguous().clone()


def _count_others(keys: list[str]) -> str:
    """Return the number of keys after the first as text."""
    return f", and {len(keys) - 1} others" if len(keys) > 1 else ""


def _existing_network(path: Path) -> str | None:
    """Return the id of the network in a model folder; None if it is not one."""
    try:
        return read_description(path)[0].id
    except RunError:
        return None


def _read_description(path: Path) -> tuple[Network, ModelInfo, str]:
    """Return the network, its description, and the SHA-256 of the weights, from network.json."""
    fields = read_json_object(path, _MOST_JSON_BYTES, file_names=True)
    try:
        if fields["format"] != FORMAT:
            raise RunError(f"{path} has format {shown(fields['format'])}, but this version reads format {FORMAT}")
        network = Network.from_dict(fields["network"])
        if fields["id"] != network.id:
            raise RunError(f"{path} was edited: its id is {shown(fields['id'])}, but its network's is {network.id}")
        return network, ModelInfo.from_dict(fields, network), fields["weights_sha256"]
    except (ValueError, KeyError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        problem = f"it has no {error}" if isinstance(error, KeyError) else str(error)[:300]
        raise RunError(f"{path} does not describe a model ({problem})") from error
