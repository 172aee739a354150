"""The published files of weights: which there are for a network, where they lie, what their authors say of them.

The table is ``published.csv``: a line for each, in each network's order of choice. Its last column holds the addresses,
each with ``#sha256=`` and the digest, or how it begins, where one is published. From: the release files of ResNeSt and
the addresses that they had before; pycls's model zoo; torchvision's and timm's source code. pycls's top-1 are means of
several trainings, of which the file is one. timm's top-1 and top-5 are of its results-imagenet.csv (commit 0173a139),
measured at its test sizes, which its presets here are of too.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from designspace.data.presets import Preset
from designspace.networks import catalog
from designspace.support.download import Download
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True)
class WeightFile:
    """Weights that somebody published for a network, trained on ImageNet's 1000 classes."""

    name: str
    """The network, as `designspace.networks.catalog` calls it."""
    source: str
    """Whose code they are from, one of `designspace.models.weights.keys.SOURCES`."""
    tag: str
    """Which of the source's weights for the network."""
    licence: str
    """What the weights may be used for: an SPDX identifier where there is one."""
    top1: float | None
    """Images of ImageNet's validation set whose likeliest class is right, in per cent, as published; None: unknown."""
    top5: float | None
    """The same for the five likeliest classes."""
    preset: Preset
    """How images must be prepared, as for the published figures."""
    downloads: tuple[Download, ...]
    """Where the file lies, first choice first."""

    @property
    def which(self) -> str:
        """What `find` and `load` know them by: source and tag."""
        return f"{self.source}:{self.tag}"


def available(name: str) -> list[WeightFile]:
    """What is published for a network, the default first.

    The default is of the ResNeSt authors, of pycls, of torchvision for the networks named ``*_tv``, or of timm where
    none of these has any.

    Raises:
        InputError: there is no such network.
    """
    name = catalog.canonical_name(name)
    return [file for file in _table() if file.name == name]


def find(name: str, which: bool | str = True) -> WeightFile:
    """The published weights of a network: the default (True), a source's first, or those of ``source:tag``.

    Raises:
        InputError: there is no such network, or no such weights; the error lists those that there are.
    """
    files = available(name)
    for file in files:
        if which is True or which in (file.source, file.which):
            return file
    there = ", ".join(file.which for file in files)
    raise InputError(f"there are no weights {which!r} for {catalog.canonical_name(name)}; choose from: {there}")


@functools.cache
def _table() -> tuple[WeightFile, ...]:
    """All published weights."""
    with resources.files("designspace.models.weights").joinpath("published.csv").open(encoding="utf-8") as file:
        return tuple(_weight_file(row) for row in csv.DictReader(file))


def _weight_file(row: dict[str, str]) -> WeightFile:
    """The weights in a line of the table."""
    return WeightFile(
        row["name"],
        row["source"],
        row["tag"],
        row["licence"],
        float(row["top1"]) if row["top1"] else None,
        float(row["top5"]) if row["top5"] else None,
        Preset(int(row["crop"]), int(row["resize"]), row["interpolation"]),
        tuple(_downloads(row["files"])),
    )


def _downloads(addresses: str) -> Iterator[Download]:
    """The addresses in a line of the table."""
    for address in addresses.split():
        url, _, known = address.partition("#")
        algorithm, _, digest = known.partition("=")
        path = PurePosixPath(urlsplit(url).path)
        # Hugging Face calls all files alike, after /<owner>/<repository>/.
        renamed = f"{path.parts[2]}{path.suffix}" if path.stem == "model" else ""
        yield Download(url, digest, algorithm or "sha256", renamed)
