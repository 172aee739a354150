"""Measure a training step of ResNeSt-50 beside the authors' module and timm's.

Run with `make bench` (some minutes). A step is forward, backward and the reset of gradients on a batch of images of
224 x 224 pixels, in float32 and training mode. Each program gets its images in PyTorch's default format (NCHW) and
channels last. Each measurement runs in a separate process, and the programs take turns, so that other load on the
machine affects all of them. README.md beside this file has the latest results.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 3
STEPS = 5
PROGRAMS = ("designspace", "designspace, no compiler", "official", "timm")
SETTINGS = ((8, 2, False), (8, 2, True), (8, 1, False), (32, 2, False))
"""Images per batch, threads, and whether images are channels last."""


def model_of(program: str):  # type: ignore[no-untyped-def]
    """Return the module of a program."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    import originals

    if program == "official":
        return originals.official_resnest("resnest50")
    if program == "timm":
        return originals.timm_model("resnest50")
    from designspace.models import create_model, fuse

    return fuse(create_model("resnest50"))


def measure(program: str, batch: int, threads: int, channels_last: bool) -> None:
    """Print the fastest step in seconds and the growth of peak memory in MiB, as JSON."""
    import torch

    torch.set_num_threads(threads)
    model, images = model_of(program).train(), torch.randn(batch, 3, 224, 224)
    if channels_last:
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        model.zero_grad(set_to_none=True)
        model(images).sum().backward()
        seconds.append(time.perf_counter() - start)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kib  # Linux reports KiB
    print(json.dumps([min(seconds), grown_kib / 1024]))


def main() -> None:
    """Print a table."""
    if len(sys.argv) > 1:
        program, batch, threads, channels_last = sys.argv[1], *map(int, sys.argv[2:])
        measure(program, batch, threads, bool(channels_last))
        return
    import os

    print(f"{'program':<26}{'batch':>6}{'threads':>8}{'format':>9}{'s/step':>9}{'factor':>8}{'MiB':>7}")
    for batch, threads, channels_last in SETTINGS:
        measurements: dict[str, list[list[float]]] = {program: [] for program in PROGRAMS}
        for _ in range(ROUNDS):
            for program in PROGRAMS:
                environment = {**os.environ, **({"DESIGNSPACE_KERNELS": "0"} if "no compiler" in program else {})}
                command = [sys.executable, __file__, program, str(batch), str(threads), str(int(channels_last))]
                process = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                measurements[program].append(json.loads(process.stdout))
        for program, rounds in measurements.items():
            # Neighbouring measurements see the same load, so ratios are taken within a round; then their median.
            factors = [other[0] / ours[0] for other, ours in zip(rounds, measurements["designspace"], strict=True)]
            seconds, memory = (statistics.median(measured[i] for measured in rounds) for i in (0, 1))
            layout = "NHWC" if channels_last else "NCHW"
            print(
                f"{program:<26}{batch:>6}{threads:>8}{layout:>9}{seconds:>9.3f}{statistics.median(factors):>8.2f}"
                f"{memory:>7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
