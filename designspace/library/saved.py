"""A model as a folder that stands alone: its weights, its network, and what is known about them.

``weights.safetensors`` holds the values, ``network.json`` the network, its id and how images must be prepared,
``README.md`` the model card, for people. Nothing that is read here can make anything run: it is JSON and safetensors,
and all that these say is checked before a module is built from it.
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
from designspace.models.anynet import AnyNet
from designspace.models.info import ModelInfo
from designspace.networks.complexity import complexity
from designspace.networks.network import Network
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_bytes, write_folder
from designspace.support.reading import entries, read_json_object
from designspace.support.text import shown
from designspace.trials.trial_folder import MODEL_FILE

FORMAT = 1
WEIGHTS, NETWORK, CARD = "weights.safetensors", MODEL_FILE, "README.md"
ONNX, TORCH_EXPORT = "model.onnx", "model.pt2"
_MOST_JSON_BYTES = 10_000_000


def write_model(path: Path, model: AnyNet, known: ModelInfo) -> None:
    """Write a model as a folder, whole or not at all. The model stays as it is.

    Floating-point weights are written as float32. A folder that holds the same network already is brought up to date,
    and loses its exported forms, which may be of other weights.

    Raises:
        InputError: there is something else at ``path``, which stays as it is, or a weight is NaN or infinite.
        RunError: the folder cannot be written.
    """
    network = model.network
    there = path.exists() and not (path.is_dir() and not entries(path))
    if there and (held := _held(path)) != network.id:
        what = "is not a model folder" if held is None else f"holds another network, {held}"
        raise InputError(f"{path} {what}; it was left as it is. Choose another folder for {network.id}")
    write_folder(path, model_files(model, known), stale=(ONNX, TORCH_EXPORT))


def model_files(model: AnyNet, known: ModelInfo) -> dict[str, bytes]:
    """The files of a model folder, in the order in which they are to be written.

    Raises:
        InputError: a weight is NaN or infinite.
    """
    network = model.network
    tensors = {key: _plain(value) for key, value in model.state_dict().items()}
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"network {network.id} was not written: {key} holds NaN or infinite values")
    content = safetensors.torch.save(tensors, {"format": "pt", "network": network.id})
    described = {
        "format": FORMAT,
        "id": network.id,
        "network": json.loads(network.to_json()),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        **known.to_dict(),
    }
    text = json.dumps(described, indent=2, allow_nan=False) + "\n"
    card = model_card(network, known)
    # network.json comes last: what it says of the weights holds once it is there.
    # A path or a name in it may not be UTF-8.
    return {CARD: card.encode(errors="backslashreplace"), WEIGHTS: content, NETWORK: text.encode()}


def is_model_folder(path: Path) -> bool:
    """Whether `write_model` seems to have written a folder."""
    return (path / NETWORK).is_file()


def read_model(path: Path) -> AnyNet:
    """Read what `write_model` wrote: the module, in evaluation mode, with what is known in its attribute ``weights``.

    Raises:
        RunError: a file is missing, cut off, or does not hold what it should; the error names it and what in it.
    """
    network, known, sha256 = _described(path / NETWORK)
    source = path / WEIGHTS
    content = read_bytes(source)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(f"{source} is not the file that {NETWORK} describes: it is damaged, or was cut off or replaced")
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise RunError(f"{source} is not a whole safetensors file ({error})") from error
    # Before a module is built, for a network of a few bytes of JSON may be larger than any memory.
    held, needed = sum(tensor.numel() for tensor in tensors.values()), complexity(network, 1).params
    if held < needed:
        raise RunError(f"{source} holds {held:,} numbers, but network {network.id} has {needed:,} weights")
    model = AnyNet(network)
    fill_model(model, tensors, source)
    model.weights = known
    return model.eval()


def read_description(path: Path) -> tuple[Network, ModelInfo]:
    """Read which network a model folder holds and what is known of it; the weights are not looked at.

    Raises:
        RunError: the description is missing, or does not hold together.
    """
    network, known, _ = _described(path / NETWORK)
    return network, known


def fill_model(model: AnyNet, tensors: Mapping[str, Any], source: Path) -> None:
    """Give a module the values of a state dict, whatever somebody may have put into that.

    Raises:
        RunError: a value is missing, too many, of another type or shape, NaN or infinite; nothing changes then.
    """
    wanted: dict[str, Tensor] = model.state_dict()
    what = f"{source} does not hold the weights of network {model.network.id}"
    if missing := [key for key in wanted if key not in tensors]:
        raise RunError(f"{what}: {missing[0]} is missing{_others(missing)}")
    if surplus := [key for key in tensors if key not in wanted]:
        raise RunError(f"{what}: it has {surplus[0]!r}, which the network has not{_others(surplus)}")
    for key, there in wanted.items():
        given = tensors[key]
        if not isinstance(given, Tensor) or given.layout != torch.strided or given.dtype != there.dtype:
            kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise RunError(f"{what}: {key} is of {kind}, not of {there.dtype}")
        if given.shape != there.shape:
            raise RunError(f"{what}: {key} has shape {tuple(given.shape)}, not {tuple(there.shape)}")
        if not given.isfinite().all():
            raise RunError(f"{what}: {key} holds NaN or infinite values")
    model.load_state_dict(dict(tensors))


def _plain(value: Tensor) -> Tensor:
    """A value as it is written: on the CPU, contiguous, its own memory, float32 if it is floating-point."""
    return value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype).contiguous().clone()


def _others(keys: list[str]) -> str:
    """The rest of a list of keys in words."""
    return f", and {len(keys) - 1} others" if len(keys) > 1 else ""


def _held(path: Path) -> str | None:
    """The id of the network in a model folder; None if it is none."""
    try:
        return read_description(path)[0].id
    except RunError:
        return None


def _described(path: Path) -> tuple[Network, ModelInfo, str]:
    """The network, what is known, and the SHA-256 of the weights, from network.json."""
    fields = read_json_object(path, _MOST_JSON_BYTES, file_names=True)
    try:
        if fields["format"] != FORMAT:
            raise RunError(f"{path} has format {shown(fields['format'])}, and this version reads format {FORMAT}")
        network = Network.from_dict(fields["network"])
        if fields["id"] != network.id:
            raise RunError(f"{path} was edited: its id is {shown(fields['id'])}, but its network's is {network.id}")
        return network, ModelInfo.from_dict(fields, network), fields["weights_sha256"]
    except (ValueError, KeyError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)[:300]
        raise RunError(f"{path} does not describe a model ({said})") from error
