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


def save(path: Path, state: Mapping[str, Any], history: tuple[EpochRecord, ...], question: dict[str, Any]) -> None:
    """Write the state after the last epoch of ``history``, whole or not at all.

    ``state`` is that of `State.state_dict`, and ``question`` what the training is of (see `question_of`). The file is
    one of ``torch.save``, which ``torch.load`` reads, with its SHA-256 behind: ``torch.load`` itself does not notice
    flipped bits.

    Raises:
        RunError: the file cannot be written; what stood at ``path`` is unchanged.
    """
    content = io.BytesIO()
    records = [dataclasses.asdict(record) for record in history]
    torch.save({"format": FORMAT, "question": question, "history": records, **_on_host(state)}, content)
    data = content.getvalue()
    write_bytes(path, data + hashlib.sha256(data).digest())


def read(path: Path, question: dict[str, Any]) -> tuple[dict[str, Any], tuple[EpochRecord, ...]] | None:
    """Read the state of a training (see `State.load_state_dict`), on the CPU, and its history.

    Where there is no file, or one that is damaged (which is logged), the answer is None.

    Raises:
        InputError: the checkpoint is of another network, recipe or seed.
        RunError: the file is there but cannot be read.
    """
    try:
        state = _read(path)
    except FileNotFoundError:
        return None
    except _Damaged as error:
        log.warning("%s %s; the trial starts afresh", path, error)
        return None
    _check_question(path, state["question"], question)
    return state, tuple(EpochRecord(**record) for record in state["history"])


def trained_weights(path: Path, question: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Read the state dict of a training that is over, after so many epochs: the averaged one, if weights were averaged.

    Nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the checkpoint is of another network, recipe or seed.
        RunError: the file cannot be read, is damaged, or is of another epoch.
    """
    try:
        state = _read(path)
    except _Damaged as error:
        raise RunError(f"{path} {error}") from error
    _check_question(path, state["question"], question)
    if len(state["history"]) != epochs:
        raise RunError(f"{path} is of epoch {len(state['history'])}, not of the last one, {epochs}")
    weights: dict[str, Any] = state.get("average", state["model"])
    return weights


def question_of(network: str, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Say what a training is of: a checkpoint is only ever continued by the training that wrote it."""
    return {"network": network, "recipe": recipe.to_dict(), "seed": seed}


def _on_host(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the tensors of a state to the host: all at once, for waiting for each of them takes longer than an epoch."""
    on_gpu: set[torch.device] = set()

    def copied(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, torch.Tensor) and value.device.type == "cuda":
            on_gpu.add(value.device)
            return value.detach().to("cpu", non_blocking=True)
        return value

    found: dict[str, Any] = copied(state)
    for device in on_gpu:
        torch.cuda.synchronize(device)
    return found


class _Damaged(Exception):
    """What is wrong with a file that no whole checkpoint is in."""


def _read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint. Raises `FileNotFoundError`, `_Damaged`, or `RunError` if it cannot be read."""
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
    except Exception as error:  # whatever an archive that somebody made on purpose makes torch raise
        raise _Damaged(f"is no checkpoint ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise _Damaged(f"has format {state.get('format') if isinstance(state, dict) else None}, not {FORMAT}")
    for name in ("question", "history", "model", "optimiser"):
        if not isinstance(state.get(name), (list if name == "history" else dict)):
            raise _Damaged(f"is no checkpoint (it has no {name})")
    recipe = state["question"].get("recipe") or {}
    if recipe.get("ema_decay") and not isinstance(state.get("average"), dict):
        raise _Damaged("is no checkpoint (it has no average)")
    return state


def _check_question(path: Path, held: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise `InputError` unless a checkpoint is of the training that is asked for."""
    for name, (there, here) in differences(held, wanted).items():
        raise InputError(f"{path} is a checkpoint of another training: its {name} is {there}, not {here}")
