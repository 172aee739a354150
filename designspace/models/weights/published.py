"""The table of published weight files: addresses, licence, accuracy, and preparation of images.

The table is ``published.csv``, with a row per file, in order of preference for each network. Its last column has the
URLs, each with ``#sha256=`` and the digest, or its first digits, if one is published. Sources: the release files of
ResNeSt and their earlier addresses; pycls's model zoo; torchvision's and timm's source code. pycls's top-1 are means
over several trainings, of which the file is one. timm's top-1 and top-5 are from its results-imagenet.csv (commit
0173a139), measured at its test sizes, which its presets here have too.
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
    """A published file of weights of a network, trained on ImageNet's 1000 classes."""

    name: str
    """Name of the network in `designspace.networks.catalog`."""
    source: str
    """Source of the weights, one of `designspace.models.weights.keys.SOURCES`."""
    tag: str
    """Tag that identifies the weights among those of the source for the network."""
    licence: str
    """Licence of the weights: an SPDX identifier if there is one."""
    top1: float | None
    """Published top-1 accuracy on ImageNet's validation images in percent; None if it is not known."""
    top5: float | None
    """Published top-5 accuracy."""
    preset: Preset
    """How images were prepared for the published accuracy."""
    downloads: tuple[Download, ...]
    """Addresses of the file in order of preference."""

    @property
    def qualified_tag(self) -> str:
        """Source and tag, which identify the weights for `find_weights` and `load_weights`."""
        return f"{self.source}:{self.tag}"


def available(name: str) -> list[WeightFile]:
    """Return the published weight files of a network, the default first.

    The default is from the ResNeSt authors, from pycls, from torchvision for the networks named ``*_tv``, or from timm
    if none of these has any.

    Raises:
        InputError: the network does not exist.
    """
    name = catalog.canonical_name(name)
    return [file for file in _table() if file.name == name]


def find_weights(name: str, weight_source: bool | str = True) -> WeightFile:
    """Return published weights of a network: the default (True), the first of a source, or those of ``source:tag``.

    Raises:
        InputError: the network or the weights do not exist; the error lists the weights that exist.
    """
    files = available(name)
    for file in files:
        if weight_source is True or weight_source in (file.source, file.qualified_tag):
            return file
    name = catalog.canonical_name(name)
    if not files:
        raise InputError(
            f"there are no published weights of {name} in this library: leave them out (pretrained=False), give the "
            f"path of a file of weights, or train it: python -m designspace.train model={name}"
        )
    tags = ", ".join(file.qualified_tag for file in files)
    raise InputError(f"there are no weights {weight_source!r} for {name}; choose from: {tags}")


def default_preset(name: str) -> Preset:
    """Return how images are prepared for a network's default weights; without any, for its published accuracy.

    Raises:
        InputError: the network does not exist.
    """
    if files := available(name):
        return files[0].preset
    crop = catalog.published(name).resolution
    return Preset(crop=crop, resize=round(crop / 0.875))


@functools.cache
def _table() -> tuple[WeightFile, ...]:
    """Return all published weights."""
    with resources.files("designspace.models.weights").joinpath("published.csv").open(encoding="utf-8") as file:
        return tuple(_weight_file(row) for row in csv.DictReader(file))


def _weight_file(row: dict[str, str]) -> WeightFile:
    """Return the weights in a row of the table."""
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
    """Yield the downloads in a row of the table."""
    for address in addresses.split():
        url, _, fragment = address.partition("#")
        algorithm, _, digest = fragment.partition("=")
        path = PurePosixPath(urlsplit(url).path)
        # At Hugging Face all files have the same name, in the folder /<owner>/<repository>/.
        renamed = f"{path.parts[2]}{path.suffix}" if path.stem == "model" else ""
        yield Download(url, digest, algorithm or "sha256", renamed)
