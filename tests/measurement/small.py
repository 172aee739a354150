"""Small networks for measurements, and processes that keep cores busy."""

import contextlib
import subprocess
import sys

from designspace.networks.network import Network, Stage, Stem

SIDE = 16
"""Side of the images."""


def network(width, depth=2):
    """Return a network whose cost grows with the square of its width."""
    return Network(Stem("cifar", 8), (Stage(depth, width, 1, 1, 8),), num_classes=10)


@contextlib.contextmanager
def busy_processes(count):
    """Keep cores busy while the block runs; yield the processes."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
