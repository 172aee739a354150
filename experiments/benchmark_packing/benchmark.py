"""Measure how fast folders of images are packed, relative to decoding their JPEGs with the same number of processes.

    python experiments/benchmark_packing/benchmark.py                     # generated photographs of ImageNet's size
    python experiments/benchmark_packing/benchmark.py <folder> [size]     # a folder of class folders

Two ways of decoding (whole, and with the decoder's draft setting) and `pack`, from listing the folder to the last file
on the disk, take turns. The result is the ratio of their times; README.md beside this file has the latest results.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from designspace import data
from designspace.data.decoding import MIN_DRAFT_FACTOR
from designspace.data.image_folder import ImageFolder
from designspace.data.packed import PIECE
from designspace.data.packing import pack
from designspace.data.splits import find_splits

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

SIZE = 160
IMAGES, REPEATS = 400, 5
TURNS = 9


def decode_files(task: tuple[list[str], int | None]) -> int:
    """Decode some files; with a size, let the decoder reduce them as packing at that size does."""
    paths, size = task
    for path in paths:
        with Image.open(path) as image:
            if size is not None:
                image.draft(None, (MIN_DRAFT_FACTOR * size, MIN_DRAFT_FACTOR * size))
            image.load()
    return len(paths)


def decode_all(images: ImageFolder, size: int | None, workers: int) -> None:
    """Decode all files of a folder with the given number of processes."""
    paths = [str(images.path / file) for file in images.files]
    tasks = [(paths[start : start + PIECE], size) for start in range(0, len(paths), PIECE)]
    context = multiprocessing.get_context("forkserver")
    with context.Pool(workers) as pool:
        assert sum(pool.imap_unordered(decode_files, tasks)) == len(paths)


def make_photographs(folder: Path) -> None:
    """Write JPEGs like ImageNet's, 500 x 375 and some 110 kB, from coloured images of Fashion-MNIST with grain."""
    source = data.load("fashion_mnist").train_images[:, 0]
    random = np.random.default_rng(0)

    def layer(tiles: int) -> Image.Image:
        chosen = source[random.integers(len(source), size=(3, tiles, tiles))]  # (3, rows, columns, 28, 28)
        pixels = chosen.transpose(1, 3, 2, 4, 0).reshape(28 * tiles, 28 * tiles, 3)
        return Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC)

    for number in range(IMAGES):
        image = Image.blend(Image.blend(layer(1), layer(3), 0.5), layer(9), 0.3)
        grain = random.normal(0, 8, (375, 500, 3))
        path = folder / f"class {number % 4}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=93)
        for repeat in range(1, REPEATS):
            path.with_name(f"{number} {repeat}.jpg").hardlink_to(path)


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the table."""
    size = int(sys.argv[2]) if len(sys.argv) > 2 else SIZE
    workers = len(os.sched_getaffinity(0))
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "photographs"
        if len(sys.argv) < 2:
            folder.mkdir()
            make_photographs(folder)
        images = ImageFolder.of(folder)
        kilobytes = sum((folder / file).stat().st_size for file in images.files) / len(images) / 1e3
        print(f"{len(images):,} images of {kilobytes:.1f} kB, packed at {size} x {size}, {workers} processes")
        methods: dict[str, Callable[[int], object]] = {
            "decode, whole": lambda turn: decode_all(images, None, workers),
            "decode, draft": lambda turn: decode_all(images, size, workers),
            "pack": lambda turn: pack(find_splits(folder, heldout=0.1), root / f"packed {turn}", size, workers),
        }
        methods["decode, draft"](-1)  # fills the system's file cache and starts the fork server
        times: dict[str, list[float]] = {method: [] for method in methods}
        for turn in range(TURNS):
            for method, run in methods.items():
                times[method].append(timed(lambda run=run, turn=turn: run(turn)))  # type: ignore[misc]
    print(f"{'':16}{'images/s':>10}{'time / decoding':>18}   (medians of {TURNS}; range in brackets)")
    for method, seconds in times.items():
        ratios = [own / decoding for own, decoding in zip(seconds, times["decode, draft"], strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{method:16}{len(images) / statistics.median(seconds):>10,.0f}   {ratio}")


if __name__ == "__main__":
    main()
