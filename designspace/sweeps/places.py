"""Where workers run on this machine: a core or some GPUs each, as many as its memory holds."""

from __future__ import annotations

from pathlib import Path

from designspace import data
from designspace.support.checks import whole, whole_or_null
from designspace.support.errors import InputError
from designspace.support.machine import available_bytes, available_cores
from designspace.support.text import counted
from designspace.sweeps.estimate import Costs
from designspace.sweeps.process import Slot
from designspace.trials.recipe import Recipe

BASE_BYTES = {"cpu": 0.38e9, "cuda": 3.0e9}
"""Memory of a worker that trains nothing yet: the interpreter, torch, and with a GPU its driver's part."""
BYTES_PER_ACTIVATION = 14
"""Of an image of a batch in training on a CPU (measured: 11 to 14)."""


def slots(
    device: str = "auto", workers: int | None = None, workers_per_gpu: int = 1, gpus_per_trial: int = 1
) -> list[Slot]:
    """The places for workers on this machine.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for GPUs where there are any.
        workers: how many; by default one a core, or ``workers_per_gpu`` a GPU.
        workers_per_gpu: workers that share a GPU.
        gpus_per_trial: devices that train one trial together; on a CPU, processes.

    Raises:
        InputError: an unknown device, less than one worker, or fewer GPUs than asked for.
    """
    check(device, workers, workers_per_gpu, gpus_per_trial)
    gpus = 0 if device == "cpu" else _count_gpus()
    if device == "cuda" and not gpus:
        raise InputError("device is cuda, but PyTorch finds no GPU here; use device=cpu")
    if not gpus:
        return [Slot("cpu")] * (workers or max(1, available_cores() // gpus_per_trial))
    if gpus < gpus_per_trial:
        raise InputError(f"gpus_per_trial is {gpus_per_trial}, but there are {gpus} GPUs here")
    groups = [tuple(range(i, i + gpus_per_trial)) for i in range(0, gpus - gpus_per_trial + 1, gpus_per_trial)]
    return [Slot("cuda", groups[i % len(groups)]) for i in range(workers or len(groups) * workers_per_gpu)]


def check(device: str, workers: int | None, workers_per_gpu: int, gpus_per_trial: int) -> None:
    """Raise unless these can be arguments of `slots`, on whatever machine.

    Raises:
        InputError: an unknown device, or less than one worker.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, not {device!r}")
    whole_or_null("workers", workers, 1)
    whole("workers_per_gpu", workers_per_gpu, 1)
    whole("gpus_per_trial", gpus_per_trial, 1)
    if workers_per_gpu > 1 and gpus_per_trial > 1:
        raise InputError("workers_per_gpu and gpus_per_trial cannot both be above 1: a trial has GPUs, or shares one")


def _count_gpus() -> int:
    """GPUs that PyTorch can use. Imports torch only where there is a sign of one."""
    if not any(Path(sign).exists() for sign in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return 0
    import torch

    return torch.cuda.device_count()


def within_memory(places: list[Slot], need: float, *, is_fixed: bool) -> tuple[list[Slot], str]:
    """Leave out places that this machine's memory does not hold, and say so; at least one stays.

    ``need`` is in bytes a worker. Places whose number the user chose (``is_fixed``) are only warned about: the need is
    an estimate.
    """
    free = available_bytes()
    fit = max(1, int(0.9 * free / need))
    if fit >= len(places):
        return places, ""
    wanted = f"{counted(len(places), 'worker')} need about {len(places) * need / 1e9:.1f} GB of memory"
    words = f"{wanted}, and {free / 1e9:.1f} GB are free"
    if is_fixed:
        return places, f"warning: {words}; launcher.workers={fit} would fit"
    return places[:fit], f"{words}: {counted(fit, 'worker')} {'is' if fit == 1 else 'are'} started"


def worker_bytes(costs: Costs, recipe: Recipe, device: str, root: Path | None = None) -> float:
    """Return an estimate of the host's memory that a worker needs for the largest network of a run, in bytes.

    ``root`` is the folder of all data sets (see `data.default_root`).
    """
    channels, size, _ = data.shape(recipe.data, root)
    # Whole packed sets stay on the disk, and workers share what of them is in memory.
    train, test = data.counts(recipe.data, root) if recipe.data in data.fetched_names() else (0, 0)
    images = (recipe.train_images or train) + (recipe.test_images or test)
    need = BASE_BYTES[device] + 2.0 * images * channels * size * size
    if device == "cpu":
        need += BYTES_PER_ACTIVATION * costs.activations * recipe.batch_size
        need += 20.0 * costs.params
    return need
