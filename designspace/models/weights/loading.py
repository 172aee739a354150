"""Loads weights for a network by name, from a URL, or from a file."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from designspace.data.presets import Preset
from designspace.models.weights.fetch import fetch, mismatch
from designspace.models.weights.files import read_state_dict
from designspace.models.weights.keys import SOURCES, convert, detect, infer_sizes, without_prefix
from designspace.models.weights.published import WeightFile, available, default_preset, find_weights
from designspace.networks import catalog
from designspace.support.display import Outlined
from designspace.support.download import Download
from designspace.support.errors import InputError, RunError
from designspace.support.folders import expanded

log = logging.getLogger(__name__)

UNKNOWN_LICENCE = "unknown"
PUBLISHED_SIZES = (1000, 3)
"""Numbers of classes and of channels of all published weights."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Weights(Outlined):
    """Weights of a network, with their origin and licence."""

    state: dict[str, Tensor]
    """State dict of our module in float32; your own files may have other numbers of classes and channels."""
    published: WeightFile | None
    """The published weights that they are; None for an unknown file."""
    preset: Preset
    """How images must be prepared; for an unknown file, see `default_preset`."""
    origin: str
    """Path or URL of the file."""
    licence: str
    """Licence of the weights, or `UNKNOWN_LICENCE`."""


def load_weights(
    name: str,
    weight_source: bool | str | Path | Sequence[str] = True,
    *,
    sha256: str | None = None,
    source: str | None = None,
    num_classes: int = 1000,
    in_channels: int = 3,
    cache: Path | None = None,
) -> Weights:
    """Load the weights of a published network, for `AnyNet(catalog.get(name)).load_state_dict(weights.state)`.

    Their origin and licence are logged.

    Args:
        name: a network of `designspace.networks.catalog`.
        weight_source: True for the default weights; a source such as ``"timm"``, or one with a tag, such as
            ``"torchvision:IMAGENET1K_V2"`` (see `available`); a URL, or several of the same file; or the path of a
            file.
        sha256: for a URL or a path: SHA-256 of the file, or its first digits.
        source: for a URL or a path: source of the keys, one of `SOURCES`. By default it is detected.
        num_classes: number of classes that your own file, such as a fine-tuned model, may have instead of the published
            one; 0 for a model without classifier.
        in_channels: number of channels that your own file may have instead of the published one.
        cache: folder for downloads; None for `designspace.support.folders.default_root`.

    Raises:
        InputError: the network or the weights do not exist, or the file is for another network.
        RunError: the file cannot be fetched or read, is damaged, or is not the expected one.
    """
    name = catalog.canonical_name(name)
    if weight_source is True or (isinstance(weight_source, str) and weight_source.partition(":")[0] in SOURCES):
        if sha256 or source:
            raise InputError("sha256 and source are for a URL or a path; both are known for published weights")
        return _load_published(find_weights(name, weight_source), cache)
    if isinstance(weight_source, Path) or (isinstance(weight_source, str) and "://" not in weight_source):
        return _load_local(name, expanded(weight_source), sha256, source, (num_classes, in_channels))
    urls: list[str] = []
    if isinstance(weight_source, str):
        urls = [weight_source]
    elif isinstance(weight_source, Sequence):
        urls = list(weight_source)
    if not urls:
        raise InputError(f"weights must be True, a source, a URL or a path, not {weight_source!r}")
    path = fetch([_download_from_user(url, sha256) for url in urls], cache)
    return _load_file(name, path, source, published=None, origin=" or ".join(urls), sizes=(num_classes, in_channels))


def _load_published(file: WeightFile, cache: Path | None) -> Weights:
    """Load weights of the table."""
    path = fetch(file.downloads, cache)
    return _load_file(file.name, path, file.source, file, origin=str(path))


def _download_from_user(url: str, sha256: str | None) -> Download:
    """Return the download of a URL that the user gave."""
    download = Download(url, (sha256 or "").lower())
    prefix = hashlib.sha256(url.encode()).hexdigest()[:8]  # so that files of one name from two URLs do not collide
    return dataclasses.replace(download, renamed=f"{prefix}-{download.basename}")


def _load_local(name: str, path: Path, sha256: str | None, source: str | None, sizes: tuple[int, int]) -> Weights:
    """Load weights from a file; if it has the name of a published file of this network, it must be that file."""
    if not path.exists():
        tags = ", ".join(file.qualified_tag for file in available(name)) or "none"
        raise RunError(f"there is no file {path}; published weights for {name}: {tags}")
    published, download = next(
        (
            (file, download)
            for file in available(name)
            for download in file.downloads
            if path.name in (download.file, download.unpacked) and source in (None, file.source)
        ),
        (None, None),
    )
    if sha256:
        download = Download(path.absolute().as_uri(), sha256.lower())
    if download and path.is_file() and (problem := mismatch(path, download)):
        raise RunError(f"{path} is damaged, or another file: {problem}; fetch it again")
    source = source or (published.source if published else None)
    return _load_file(name, path, source, published, origin=str(path), sizes=sizes)


def _load_file(
    name: str,
    path: Path,
    source: str | None,
    published: WeightFile | None,
    origin: str,
    sizes: tuple[int, int] = PUBLISHED_SIZES,
) -> Weights:
    """Load a file and convert its weights, which have the published numbers of classes and channels, or ``sizes``."""
    content = read_state_dict(path)
    try:
        state_dict = without_prefix(content, name)
        source = source or detect(state_dict, name)
        classes, channels = (
            size if size in (default, allowed) else default
            for size, default, allowed in zip(
                infer_sizes(state_dict, name, source), PUBLISHED_SIZES, sizes, strict=True
            )
        )
        state = convert(state_dict, name=name, source=source, num_classes=classes, in_channels=channels)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
    licence = published.licence if published else UNKNOWN_LICENCE
    level = logging.WARNING if "NC" in licence else logging.INFO  # non-commercial licences must not be overlooked
    log.log(level, "%s: weights from %s; licence: %s", name, origin, licence)
    preset = published.preset if published else default_preset(name)
    return Weights(state, published, preset, origin, licence)
