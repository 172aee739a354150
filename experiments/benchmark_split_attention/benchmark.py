"""How fast is a training step of ResNeSt-50, beside the authors' module and timm's?

Run with `make bench` (some minutes). Forward, backward and the gradients' reset on a batch of images of 224 x 224
pixels, float32, training mode. Every program gets its images as users have them (NCHW) and again channels last; each
measurement is a process of its own, and the programs take turns, so that a busy machine is busy for all of them.

Last figures (two shared x86-64 cores with AVX-512, PyTorch 2.13, NCHW images, 2 threads; median and least seconds of a
step of 8 (batch 8: two processes each, in turns) or 4 (batch 32), peak memory of the whole process in MiB):

    program        batch      median s     least s    MiB
    designspace        8   1.34, 1.40       1.28   1528
    official           8   2.18, 1.79       1.62   1884
    timm               8   1.93, 1.88       1.57   1782
    designspace       32         6.85       6.05   4406
    official          32         11.3       10.2   5128
    timm              32         13.0       11.2   4853

By medians 1.27 to 1.63 times faster than the official module at batch 8, 1.34 to 1.44 than timm's; by least times 1.27
and 1.23. At batch 32, 1.65 and 1.89. The machine was not quiet: single medians of others moved by 20%.
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
"""Images in a batch, threads, channels last."""


def model_of(program: str):  # type: ignore[no-untyped-def]
    """The module of a program."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    import originals

    if program == "official":
        return originals.official_resnest("resnest50")
    if program == "timm":
        return originals.timm_model("resnest50")
    from designspace.models import create_model, fuse

    return fuse(create_model("resnest50"))


def measure(program: str, batch: int, threads: int, channels_last: bool) -> None:
    """Print the least seconds of a step and the peak memory, as JSON."""
    import torch

    torch.set_num_threads(threads)
    model, images = model_of(program).train(), torch.randn(batch, 3, 224, 224)
    if channels_last:
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        model.zero_grad(set_to_none=True)
        model(images).sum().backward()
        seconds.append(time.perf_counter() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # Linux counts in KiB
    print(json.dumps([min(seconds), grown / 1024]))


def main() -> None:
    """Print a table."""
    if len(sys.argv) > 1:
        program, batch, threads, channels_last = sys.argv[1], *map(int, sys.argv[2:])
        measure(program, batch, threads, bool(channels_last))
        return
    import os

    print(f"{'program':<26}{'batch':>6}{'threads':>8}{'format':>9}{'s/step':>9}{'factor':>8}{'MiB':>7}")
    for batch, threads, channels_last in SETTINGS:
        found: dict[str, list[list[float]]] = {program: [] for program in PROGRAMS}
        for _ in range(ROUNDS):
            for program in PROGRAMS:
                environment = {**os.environ, **({"DESIGNSPACE_KERNELS": "0"} if "no compiler" in program else {})}
                command = [sys.executable, __file__, program, str(batch), str(threads), str(int(channels_last))]
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                found[program].append(json.loads(done.stdout))
        for program, rounds in found.items():
            # The ratio within a round, then the median of rounds: neighbours in time had the same machine.
            factors = [one[0] / ours[0] for one, ours in zip(rounds, found["designspace"], strict=True)]
            seconds, memory = (statistics.median(one[i] for one in rounds) for i in (0, 1))
            layout = "NHWC" if channels_last else "NCHW"
            print(
                f"{program:<26}{batch:>6}{threads:>8}{layout:>9}{seconds:>9.3f}{statistics.median(factors):>8.2f}"
                f"{memory:>7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
