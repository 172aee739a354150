"""The state of a training between two epochs, as one file."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from designspace.support.errors import InputError, RunError
from designspace.support.files import write_bytes
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, differences

log = logging.getLogger(__name__)

FORMAT = 1
_DIGEST_BYTES = 32


def save(path: Path, state: Mapping[str, Any], history: tuple[EpochRecord, ...], fingerprint: dict[str, Any]) -> None:
    """Write the state after the last epoch of ``history``, completely or not at all.

    ``state`` is that of `State.state_dict`, and ``fingerprint`` identifies the training (see `fingerprint_of`). The
    file is that of ``torch.save``, which ``torch.load`` reads, followed by its SHA-256, because ``torch.load`` does not
    detect flipped bits.

    Raises:
        RunError: the file cannot be written; an earlier file at ``path`` is unchanged.
    """
    content = io.BytesIO()
    records = [dataclasses.asdict(record) for record in history]
    torch.save({"format": FORMAT, "question": fingerprint, "history": records, **_on_host(state)}, content)
    data = content.getvalue()
    write_bytes(path, data + hashlib.sha256(data).digest())


def read(path: Path, fingerprint: dict[str, Any]) -> tuple[dict[str, Any], tuple[EpochRecord, ...]] | None:
    """Read the state of a training (see `State.load_state_dict`), on the CPU, and its history.

    Returns None if there is no file or if it is damaged, which is logged.

    Raises:
        InputError: the checkpoint is of another network, recipe or seed.
        RunError: the file exists but cannot be read.
    """
    try:
        state = _read(path)
    except FileNotFoundError:
        return None
    except _Damaged as error:
        log.warning("%s %s; the trial starts afresh", path, error)
        return None
    _check_fingerprint(path, state["question"], fingerprint)
    return state, tuple(EpochRecord(**record) for record in state["history"])


def trained_weights(path: Path, fingerprint: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Read the trained weights from the last checkpoint of a training, or their average if the recipe averages weights.

    No code in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the checkpoint is of another network, recipe or seed.
        RunError: the file cannot be read, is damaged, or is of another epoch.
    """
    try:
        state = _read(path)
    except _Damaged as error:
        raise RunError(f"{path} {error}") from error
    _check_fingerprint(path, state["question"], fingerprint)
    if len(state["history"]) != epochs:
        raise RunError(f"{path} is of epoch {len(state['history'])}, not of the last one, {epochs}")
    weights: dict[str, Any] = state.get("average", state["model"])
    return weights


def fingerprint_of(network: str, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return what identifies a training: a checkpoint is only resumed by a training with the same fingerprint."""
    return {"network": network, "recipe": recipe.to_dict(), "seed": seed}


def _on_host(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the tensors of a state to the host, waiting once because one wait per tensor takes longer than an epoch."""
    on_gpu: set[torch.device] = set()

    def copied(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, torch.Tensor) and value.device.type == "cuda":
            on_gpu.add(value.device)
            return value.detach().to("cpu", non_blocking=True)
        return value

    on_host: dict[str, Any] = copied(state)
    for device in on_gpu:
        torch.cuda.synchronize(device)
    return on_host


class _Damaged(Exception):
    """A file is not an intact checkpoint; the message says why."""


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Raises `FileNotFoundError`, `_Damaged`, or `RunError` if it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise _Damaged("is damaged or was cut off")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch may raise any exception for a maliciously crafted archive
        raise _Damaged(f"is not a checkpoint ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise _Damaged(f"has format {state.get('format') if isinstance(state, dict) else None}, not {FORMAT}")
    for name in ("question", "history", "model", "optimiser"):
        if not isinstance(state.get(name), (list if name == "history" else dict)):
            raise _Damaged(f"is not a checkpoint (it has no {name})")
    recipe = state["question"].get("recipe") or {}
    if recipe.get("ema_decay") and not isinstance(state.get("average"), dict):
        raise _Damaged("is not a checkpoint (it has no average)")
    return state


def _check_fingerprint(path: Path, actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise `InputError` unless a checkpoint has the expected fingerprint."""
    for name, (actual_value, expected_value) in differences(actual, expected).items():
        raise InputError(
            f"{path} is a checkpoint of another training: its {name} is {actual_value}, not {expected_value}"
        )
