"""The state of a training between two epochs, as one file."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from designspace.support.errors import InputError, RunError
from designspace.support.files import write_bytes
from designspace.trials.trial import EpochRecord, Recipe

log = logging.getLogger(__name__)

FORMAT = 1
_DIGEST_BYTES = 32


def save(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: tuple[EpochRecord, ...],
    question: dict[str, Any],
) -> None:
    """Write the state after the last epoch of ``history``, whole or not at all.

    ``question`` is what the training is of (see `question_of`). The file is one of ``torch.save``, which ``torch.load``
    reads, with its SHA-256 behind: ``torch.load`` itself does not notice flipped bits.

    Raises:
        RunError: the file cannot be written; what stood at ``path`` is unchanged.
    """
    state = {
        "format": FORMAT,
        "question": question,
        "history": [dataclasses.asdict(record) for record in history],
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_bytes(path, content + hashlib.sha256(content).digest())


def restore(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, question: dict[str, Any]
) -> tuple[EpochRecord, ...]:
    """Bring model and optimiser into the state of a checkpoint, and give its history.

    Where there is no file, or one that is damaged (which is logged), nothing changes and the history is empty.

    Raises:
        InputError: the checkpoint is of another network, recipe or seed; nothing changes.
        RunError: the file is there but cannot be read.
    """
    state = _read(path)
    if state is None:
        return ()
    held = state["question"]
    # A field that recipes did not have when the checkpoint was written had the value that is its default now.
    held = {**held, "recipe": {**Recipe().to_dict(), **held["recipe"]}}
    for name, value in question.items():
        if held.get(name) != value:
            raise InputError(f"{path} is a checkpoint of another training: its {name} is {held.get(name)}, not {value}")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return tuple(EpochRecord(**record) for record in state["history"])


def question_of(network: str, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Say what a training is of: a checkpoint is only ever continued by the training that wrote it."""
    return {"network": network, "recipe": recipe.to_dict(), "seed": seed}


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None where there is none, or none that is whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        log.warning("%s is damaged or was cut off; the trial starts afresh", path)
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if state["format"] != FORMAT:
        log.warning("%s has format %s, not %s; the trial starts afresh", path, state["format"], FORMAT)
        return None
    return state
