"""On what a benchmark runs, in words for its output and its README."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import version

from designspace.measurement.machine import processor_name
from designspace.support.machine import available_bytes, available_cores


def print_machine() -> None:
    """Print the processor, its load, a GPU if there is one, the versions of what computes, and the date."""
    import torch  # here, since processes whose memory is measured import this module too

    capability = torch.backends.cpu.get_cpu_capability()
    gpus = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    words = [
        f"{processor_name()} ({capability})",
        f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}",
        f"{available_bytes() / 2**30:.0f} GiB free",
        *gpus,
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("torch", "numpy")),
        date.today().isoformat(),
    ]
    print(f"{', '.join(words)}\n", flush=True)
