"""Slots of workers on this machine: a core or some GPUs each, as many as fit into its memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from designspace import data
from designspace.support.checks import whole, whole_or_null
from designspace.support.errors import InputError
from designspace.support.machine import available_bytes, available_cores
from designspace.support.text import counted
from designspace.sweeps.estimate import Costs
from designspace.sweeps.process import Slot
from designspace.trials.recipe import Recipe

BASE_BYTES = {"cpu": 0.38e9, "cuda": 3.0e9}
"""Memory of an idle worker: the interpreter, torch and, with a GPU, the driver."""
BYTES_PER_ACTIVATION = 14
"""Bytes per activation and image of a batch in training on a CPU (measured: 11 to 14)."""


def worker_slots(
    device: str = "auto", workers: int | None = None, workers_per_gpu: int = 1, gpus_per_trial: int = 1
) -> list[Slot]:
    """Return the slots for workers on this machine.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any.
        workers: number of workers; by default one per core, or ``workers_per_gpu`` per GPU.
        workers_per_gpu: number of workers that share a GPU.
        gpus_per_trial: number of devices that train one trial together; on a CPU, processes.

    Raises:
        InputError: the device is unknown, there is less than one worker, or there are fewer GPUs than requested.
    """
    check_slot_options(device, workers, workers_per_gpu, gpus_per_trial)
    gpus = 0 if device == "cpu" else _count_gpus()
    if device == "cuda" and not gpus:
        raise InputError("device is cuda, but PyTorch finds no GPU here; use device=cpu")
    if not gpus:
        return [Slot("cpu")] * (workers or max(1, available_cores() // gpus_per_trial))
    if gpus < gpus_per_trial:
        raise InputError(f"gpus_per_trial is {gpus_per_trial}, but there are {gpus} GPUs here")
    groups = [tuple(range(i, i + gpus_per_trial)) for i in range(0, gpus - gpus_per_trial + 1, gpus_per_trial)]
    return [Slot("cuda", groups[i % len(groups)]) for i in range(workers or len(groups) * workers_per_gpu)]


def check_slot_options(device: str, workers: int | None, workers_per_gpu: int, gpus_per_trial: int) -> None:
    """Raise unless these are valid arguments of `worker_slots` on some machine.

    Raises:
        InputError: the device is unknown, or there is less than one worker.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, not {device!r}")
    whole_or_null("workers", workers, 1)
    whole("workers_per_gpu", workers_per_gpu, 1)
    whole("gpus_per_trial", gpus_per_trial, 1)
    if workers_per_gpu > 1 and gpus_per_trial > 1:
        raise InputError(
            "workers_per_gpu and gpus_per_trial cannot both be above 1: a trial has several GPUs, or shares one"
        )


def _count_gpus() -> int:
    """Return the number of GPUs that PyTorch can use. Imports torch only if there is a driver."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return 0
    import torch

    return torch.cuda.device_count()


def within_memory(slots: list[Slot], bytes_per_worker: float, *, is_fixed: bool) -> tuple[list[Slot], str]:
    """Return the slots that fit into this machine's memory, at least one, and a note if there were more.

    If the user chose the number of slots (``is_fixed``), all are kept, with a warning, since ``bytes_per_worker`` is an
    estimate.
    """
    free = available_bytes()
    if len(slots) == 1 or 0.9 * free >= len(slots) * bytes_per_worker:
        return slots, ""
    count = max(1, int(0.9 * free / bytes_per_worker))
    need = f"{counted(len(slots), 'worker')} need about {len(slots) * bytes_per_worker / 1e9:.1f} GB of memory"
    note = f"{need}, and {free / 1e9:.1f} GB are free"
    if is_fixed:
        return slots, f"warning: {note}; launcher.workers={count} would fit"
    return slots[:count], f"{note}: {counted(count, 'worker')} {'is' if count == 1 else 'are'} started"


def worker_bytes(costs: Costs, recipe: Recipe, device: str, root: Path | None = None) -> float:
    """Estimate the memory of the host that a worker needs for the largest network of a run, in bytes.

    ``root`` is the folder of all data sets (see `data.default_root`).
    """
    shape = data.shape(recipe.data, root)
    # Packed data sets that are used whole are mapped from the disk, and workers share their pages.
    is_in_memory = data.is_in_memory(recipe.data, root)
    train, test = data.counts(recipe.data, root) if is_in_memory else (0, 0)
    images = (recipe.train_images or train) + (recipe.test_images or test)
    need = BASE_BYTES[device] + 2.0 * images * shape.channels * shape.size**2 * np.dtype(shape.dtype).itemsize
    if device == "cpu":
        need += BYTES_PER_ACTIVATION * costs.activations * recipe.batch_size
        need += 20.0 * costs.params
    return need
