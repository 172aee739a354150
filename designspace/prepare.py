"""Download a data set, or pack your own folders of images into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.options import Count, DataOptions
from designspace.cli.tables import image_counter
from designspace.data import catalog, hugging_face, imagenet
from designspace.data.array_files import is_described
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
    """Keys of configs/prepare.yaml, which describes them."""

    data: DataOptions
    from_: tuple[Path, ...] | None
    name: str | None
    size: int | None
    heldout: float | None
    check: bool
    workers: Count | None


def run(options: Options) -> None:
    """Prepare the data set, and print where it is."""
    chosen, root = options.data.name, options.data.root or data.default_root()
    name, sources = options.name or chosen, options.from_ or ()
    if name is None:
        raise InputError("name=... must be given: the name for the packed data set, such as name=flowers")
    if chosen == imagenet.NAME:
        _prepare_imagenet(options, sources, name, root)
    elif not sources:
        data.prepare(name, root)
        print(f"{name} is complete in {root}")
    elif len(sources) == 1 and hugging_face.is_saved(sources[0]):
        _convert(options, sources[0], name, root)
    elif len(sources) == 1:
        _pack(options, sources[0], options.heldout, name, root)
    else:
        raise InputError(f"from=... must be one folder, not {', '.join(map(str, sources))}")


def _prepare_imagenet(options: Options, sources: Sequence[Path], name: str, root: Path) -> None:
    """Extract ImageNet's archives, and pack the images if a size is given."""
    with image_counter("images extracted") as show:
        folder = imagenet.extract(sources, root, check=options.check, on_progress=show)
    print(f"{imagenet.NAME} is complete in {folder}; to test models on it: python -m designspace.verify data=imagenet")
    if options.size is None:
        print("to train on it, pack it: run the same command with size=160 or another size in pixels")
    else:
        _pack(options, folder, None, name, root)


def _convert(options: Options, source: Path, name: str, root: Path) -> None:
    """Decode a data set that Hugging Face's library saved, and print how to use it."""
    catalog.check_name(name)
    if options.size is None:
        raise InputError("size=... must be given: height and width of the images in pixels, such as size=64")
    if options.heldout is not None:
        raise InputError("heldout is for folders of images; split the data set with the library, and save it again")
    if is_packed(root / name):
        raise InputError(f"{name} already is a packed data set; choose another name=...")
    with image_counter("images decoded") as show:
        described = hugging_face.convert(source, root / name, options.size, show)
    train, test = described.counts
    print(
        f"{name} is complete in {root / name}: {train:,} training and {test:,} test images of {described.size} x "
        f"{described.size} pixels in {counted(described.num_classes, 'class')}, from {as_utf8(str(source))}"
    )
    print(f"use it: python -m designspace.sample data={name} ..., or python -m designspace.train data={name} model=...")


def _pack(options: Options, source: Path, heldout: float | None, name: str, root: Path) -> None:
    """Pack a folder of images, and print a summary and how to use the data set."""
    catalog.check_name(name)
    if options.size is None:
        raise InputError("size=... must be given: height and width of the packed images in pixels, such as size=64")
    if is_described(root / name):
        raise InputError(f"{name} already is a data set of arrays; choose another name=...")
    recorded = read_packed(root / name).classes if is_packed(root / name) else ()
    splits = find_splits(source, heldout, recorded)
    workers = options.workers or available_cores()
    with image_counter("images packed") as show:
        packed = pack(splits, root / name, options.size, workers, show)
    print(
        f"{name} is complete in {root / name}: {packed.train.images:,} training and {packed.test.images:,} test images "
        f"of {packed.size} x {packed.size} pixels in {counted(len(packed.classes), 'class')}, from {packed.source}"
    )
    for split, images in splits.items():
        if images.left_out and (split == "train" or images.path != splits["train"].path):
            print(f"left out of {as_utf8(str(images.path))}: {describe_left_out(images.left_out)}")
    if note := describe_numbering(packed.classes):
        print(note)
    if len(packed.classes) == 1:
        print(
            f"warning: {packed.classes[0]} is the only class folder; training a network needs two or more classes, "
            "each in its own folder"
        )
    print(f"use it: python -m designspace.sample data={name} ..., or python -m designspace.train data={name} model=...")
    if unreadable := packed.train.unreadable + packed.test.unreadable:
        is_one = len(unreadable) == 1
        left_out = f"{counted(len(unreadable), 'image')} {'is' if is_one else 'are'} left out"
        print(f"warning: {left_out}, because {'it' if is_one else 'they'} cannot be read:")
        print("\n".join(f"  {line}" for line in [*unreadable[:20], *["..."] * (len(unreadable) > 20)]))


if __name__ == "__main__":
    app.main("prepare", run)
