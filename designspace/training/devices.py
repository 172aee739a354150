"""Choosing devices of this machine, one or one for each of several processes."""

from __future__ import annotations

import torch

from designspace.support.errors import InputError


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device of that name; by default a GPU if there is one, else the CPU.

    Raises:
        InputError: this machine does not have the device.
    """
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises an AssertionError
        raise InputError(f"cannot use device {str(chosen)!r}: {str(error).splitlines()[0]}") from error


def check_devices(processes: int, device: str | None) -> None:
    """Raise an error unless this machine has a device for each of several processes.

    Raises:
        InputError: the machine has too few devices, or ``device`` names a single one.
    """
    if device not in (None, "cpu", "cuda"):
        raise InputError(f"device={device} cannot be shared by {processes} processes; choose cpu or cuda")
    if device_kind(device) == "cuda" and torch.cuda.device_count() < processes:
        raise InputError(
            f"{processes} GPUs were requested, but there are {torch.cuda.device_count()}; instead of "
            "recipe.devices, use recipe.accumulate, which processes the parts of a batch one after the other"
        )


def device_kind(device: str | None) -> str:
    """Return the kind of a device, ``cuda`` or ``cpu``, without using it, which could take memory from another rank.

    Without a name it is ``cuda`` if there are GPUs, else ``cpu``.
    """
    return (device or ("cuda" if torch.cuda.is_available() else "cpu")).partition(":")[0]
