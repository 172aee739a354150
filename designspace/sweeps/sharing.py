"""Sharing of a GPU by several workers at the same time, through NVIDIA's Multi-Process Service (MPS).

Without it, kernels of different processes take turns on a GPU, of which a kernel of a small network uses only a part.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from designspace.support.files import temporary_folder
from designspace.sweeps.process import Slot

log = logging.getLogger(__name__)

_CONTROL = "nvidia-cuda-mps-control"
_PIPES = "CUDA_MPS_PIPE_DIRECTORY"
_ANSWER_S = 20


@contextmanager
def shared_gpus(slots: Sequence[Slot]) -> Iterator[Mapping[str, str]]:
    """Run MPS while the block runs, if workers share a GPU; yield the environment variables that they need.

    A service that is already running (``CUDA_MPS_PIPE_DIRECTORY`` is set) is used as it is, and ``DESIGNSPACE_MPS=0``
    disables the service. If it cannot start, a warning is logged, and the workers take turns.
    """
    is_shared = max(Counter(gpu for slot in slots for gpu in slot.gpus).values(), default=0) > 1
    if (
        not is_shared
        or _PIPES in os.environ
        or os.environ.get("DESIGNSPACE_MPS") == "0"
        or shutil.which(_CONTROL) is None
    ):
        yield {}
        return
    with temporary_folder("mps-") as folder:
        variables = {_PIPES: str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
        # The service sees all GPUs, so that workers use the same indices of GPUs with and without it.
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"} | variables
        try:
            _control(["-d"], environment)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("workers take turns on a GPU, since the service for sharing it did not start: %s", error)
            yield {}
            return
        try:
            yield variables
        finally:
            try:
                _control([], environment, "quit\n")
            except (OSError, subprocess.SubprocessError) as error:
                log.warning("the service for sharing GPUs may still be running: %s", error)


def _control(options: Sequence[str], environment: Mapping[str, str], commands: str = "") -> None:
    """Start the service, or send commands to it."""
    subprocess.run(
        [_CONTROL, *options],
        input=commands,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=_ANSWER_S,
        check=True,
    )
