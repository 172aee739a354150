"""How fast are folders of images packed, compared with the JPEG decoder alone on as many processes?

    python experiments/benchmark_packing/benchmark.py                     # photographs of ImageNet's size, made here
    python experiments/benchmark_packing/benchmark.py <folder> [size]     # a folder of class folders

In turn, several times: decode alone, with the same draft setting and nothing else, and `pack`, from the listing of the
folder to the last file on the disk. The ratio of their times is what the table is about. Last figures (two cores of a
shared x86-64 machine that was busy, so that the ratios vary; Pillow 13.0):

    2,000 images of 92.0 kB, packed at 160 x 160, 2 processes
    pack            1.78 (1.18 to 2.33)

On one core, the best of 25 times each (milliseconds of processor time per JPEG of 500 x 375 and 86 kB, reduced by the
decoder):

    packed at       decoded     resized and summed
     32 x 32           0.85          0.09
    160 x 160          1.05          0.63
    224 x 224          1.34          0.84

A C file that resized in 0.02, 0.18 and 0.26 ms was removed: packing happens once per data set, and took 1.42 times as
long as decoding with it, measured in turn with the 1.78 above.
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

SIZE = 160
IMAGES, REPEATS = 400, 5
TURNS = 9


def decode_alone(work: tuple[list[str], int | None]) -> int:
    """Decode some files and do nothing with them; with a size, as small as packing for it lets the decoder."""
    paths, size = work
    for path in paths:
        with Image.open(path) as image:
            if size is not None:
                image.draft(None, (MIN_DRAFT_FACTOR * size, MIN_DRAFT_FACTOR * size))
            image.load()
    return len(paths)


def decode_all(images: ImageFolder, size: int | None, workers: int) -> None:
    """Decode all files of a folder with so many processes."""
    paths = [str(images.path / file) for file in images.files]
    work = [(paths[start : start + PIECE], size) for start in range(0, len(paths), PIECE)]
    context = multiprocessing.get_context("forkserver")
    with context.Pool(workers) as pool:
        assert sum(pool.imap_unordered(decode_alone, work)) == len(paths)


def make_photographs(folder: Path) -> None:
    """Make JPEGs like ImageNet's, 500 x 375 and some 110 kB, of the images of Fashion-MNIST in colours, with grain."""
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


def timed(what: Callable[[], object]) -> float:
    """The seconds that something takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print the table."""
    size = int(sys.argv[2]) if len(sys.argv) > 2 else SIZE
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "photographs"
        if len(sys.argv) < 2:
            folder.mkdir()
            make_photographs(folder)
        images = ImageFolder.of(folder)
        kilobytes = sum((folder / file).stat().st_size for file in images.files) / len(images) / 1e3
        print(f"{len(images):,} images of {kilobytes:.1f} kB, packed at {size} x {size}, {workers} processes")
        ways: dict[str, Callable[[int], object]] = {
            "decode, whole": lambda turn: decode_all(images, None, workers),
            "decode, draft": lambda turn: decode_all(images, size, workers),
            "pack": lambda turn: pack(find_splits(folder, heldout=0.1), root / f"packed {turn}", size, workers),
        }
        ways["decode, draft"](-1)  # reads the files into the system's cache, and starts what both share
        times: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(TURNS):
            for way, measure in ways.items():
                times[way].append(timed(lambda measure=measure, turn=turn: measure(turn)))  # type: ignore[misc]
    print(f"{'':16}{'images/s':>10}{'time / decoding':>18}   (medians of {TURNS}; in brackets the range)")
    for way, taken in times.items():
        ratios = [own / alone for own, alone in zip(taken, times["decode, draft"], strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{way:16}{len(images) / statistics.median(taken):>10,.0f}   {ratio}")


if __name__ == "__main__":
    main()
