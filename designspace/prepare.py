"""Fetch a data set, or pack folders of images of your own into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.options import Count, DataOptions
from designspace.cli.tables import image_counter
from designspace.data import catalog, imagenet
from designspace.data.classes import describe_numbering
from designspace.data.listing import describe_left_out
from designspace.data.packed import is_packed, read_packed
from designspace.data.packing import pack
from designspace.data.splits import find_splits
from designspace.support.errors import InputError
from designspace.support.machine import available_cores
from designspace.support.text import as_utf8, counted


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/prepare.yaml, which says what they mean."""

    data: DataOptions
    from_: tuple[Path, ...] | None
    name: str | None
    size: int | None
    heldout: float | None
    check: bool
    workers: Count | None


def run(options: Options) -> None:
    """Prepare the data set and say where it lies."""
    chosen, root = options.data.name, options.data.root or data.default_root()
    name, sources = options.name or chosen, options.from_ or ()
    if name is None:
        raise InputError("name=... must be given: what the packed data set is to be called, as name=flowers")
    if chosen == imagenet.NAME:
        _prepare_imagenet(options, sources, name, root)
    elif not sources:
        data.prepare(name, root)
        print(f"{name} is whole in {root}")
    elif len(sources) == 1:
        _pack(options, sources[0], options.heldout, name, root)
    else:
        raise InputError(f"from=... must be one folder, not {', '.join(map(str, sources))}")


def _prepare_imagenet(options: Options, sources: Sequence[Path], name: str, root: Path) -> None:
    """Lay ImageNet out, and pack it if a size is given."""
    with image_counter("images laid out") as show:
        folder = imagenet.extract(sources, root, check=options.check, on_progress=show)
    print(f"{imagenet.NAME} is whole in {folder}; python -m designspace.verify data=imagenet tests on it")
    if options.size is None:
        print("to train on it, pack it: the same command with size=160, or as many pixels as you need")
    else:
        _pack(options, folder, None, name, root)


def _pack(options: Options, source: Path, heldout: float | None, name: str, root: Path) -> None:
    """Pack a folder, and say what came of it and how to use it."""
    catalog.check_name(name)
    if options.size is None:
        raise InputError("size=... must be given: height and width of the packed images in pixels, as size=64")
    recorded = read_packed(root / name).classes if is_packed(root / name) else ()
    splits = find_splits(source, heldout, recorded)
    workers = options.workers or available_cores()
    with image_counter("images packed") as show:
        packed = pack(splits, root / name, options.size, workers, show)
    print(
        f"{name} is whole in {root / name}: {packed.train.images:,} training and {packed.test.images:,} test images of "
        f"{packed.size} x {packed.size} pixels in {counted(len(packed.classes), 'class')}, from {packed.source}"
    )
    for split, images in splits.items():
        if images.left_out and (split == "train" or images.path != splits["train"].path):
            print(f"left out of {as_utf8(str(images.path))}: {describe_left_out(images.left_out)}")
    if note := describe_numbering(packed.classes):
        print(note)
    if len(packed.classes) == 1:
        print(
            f"warning: {packed.classes[0]} is the only class folder; a network can be trained on two classes or more, "
            "each a folder of its own"
        )
    print(f"use it: python -m designspace.sample data={name} ..., or python -m designspace.train data={name} model=...")
    if unreadable := packed.train.unreadable + packed.test.unreadable:
        one = len(unreadable) == 1
        left_out = f"{counted(len(unreadable), 'image')} {'is' if one else 'are'} left out"
        print(f"warning: {left_out}, because {'it' if one else 'they'} cannot be read:")
        print("\n".join(f"  {line}" for line in [*unreadable[:20], *["..."] * (len(unreadable) > 20)]))


if __name__ == "__main__":
    app.main("prepare", run)
