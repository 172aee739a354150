"""Workers that share a GPU at the same moment, through NVIDIA's Multi-Process Service (MPS).

Without it, kernels of different processes take turns on a GPU, and a kernel of a small network fills a fraction of one.
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
def shared_gpus(places: Sequence[Slot]) -> Iterator[Mapping[str, str]]:
    """Run MPS while the block runs, where workers share a GPU; gives what their environment needs.

    A service that runs already (``CUDA_MPS_PIPE_DIRECTORY`` is set) is used as it is, and ``DESIGNSPACE_MPS=0`` does
    without. Where the service cannot start, the log says so, and the workers take turns.
    """
    shares = max(Counter(gpu for place in places for gpu in place.gpus).values(), default=0) > 1
    if not shares or _PIPES in os.environ or os.environ.get("DESIGNSPACE_MPS") == "0" or shutil.which(_CONTROL) is None:
        yield {}
        return
    with temporary_folder("mps-") as folder:
        told = {_PIPES: str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
        # The service sees all GPUs, so that their numbers mean the same to the workers with it as without.
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"} | told
        try:
            _control(["-d"], environment)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("workers take turns on a GPU, for its service for sharing did not start: %s", error)
            yield {}
            return
        try:
            yield told
        finally:
            try:
                _control([], environment, "quit\n")
            except (OSError, subprocess.SubprocessError) as error:
                log.warning("the service for sharing GPUs may still run: %s", error)


def _control(options: Sequence[str], environment: Mapping[str, str], words: str = "") -> None:
    """Start the service, or say something to it."""
    subprocess.run(
        [_CONTROL, *options],
        input=words,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=_ANSWER_S,
        check=True,
    )
