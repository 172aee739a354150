"""Weights for a network from wherever they are: by name, from an address, from a file."""

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
from designspace.models.weights.keys import SOURCES, convert, detect, ends_of, without_wrapper
from designspace.models.weights.published import WeightFile, available, find
from designspace.networks import catalog
from designspace.support.display import Outlined
from designspace.support.download import Download
from designspace.support.errors import InputError, RunError
from designspace.support.folders import expanded

log = logging.getLogger(__name__)

UNKNOWN_LICENCE = "unknown"
PUBLISHED_ENDS = (1000, 3)
"""Classes and channels of all published weights."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Weights(Outlined):
    """Weights of a network, and what is known of them."""

    state: dict[str, Tensor]
    """The state dict of our module, float32, with its published ends (those of a file of yours may be others)."""
    about: WeightFile | None
    """What was published of them; None for a file that is not known."""
    preset: Preset
    """How images must be prepared; for a file that is not known, as for the default weights of the network."""
    origin: str
    """The path or the address that they are from."""
    licence: str
    """What they may be used for, or `UNKNOWN_LICENCE`."""


def load(
    name: str,
    which: bool | str | Path | Sequence[str] = True,
    *,
    sha256: str | None = None,
    source: str | None = None,
    num_classes: int = 1000,
    in_channels: int = 3,
    cache: Path | None = None,
) -> Weights:
    """Get the weights of a published network, for `AnyNet(catalog.get(name)).load_state_dict(weights.state)`.

    Where they come from and their licence are logged.

    Args:
        name: a network of `designspace.networks.catalog`.
        which: True for the default weights; a source such as ``"timm"``, or one with a tag, such as
            ``"torchvision:IMAGENET1K_V2"`` (see `available`); an address, or several of the same file; or the path of
            a file.
        sha256: for an address or a path: what the file's SHA-256 is, or how it begins.
        source: for an address or a path: whose keys the file has, one of `SOURCES`. It is found out if not given.
        num_classes: what a file of yours may have instead of the published number, as a fine-tuned model does; 0 for
            a model without classifier.
        in_channels: the same.
        cache: the folder of all that is fetched; None for `designspace.support.folders.default_root`.

    Raises:
        InputError: there is no such network, no such weights for it, or the file is of another network.
        RunError: the file cannot be fetched or read, is damaged, or is not the one that it should be.
    """
    name = catalog.canonical_name(name)
    if which is True or (isinstance(which, str) and which.partition(":")[0] in SOURCES):
        if sha256 or source:
            raise InputError("sha256 and source belong to an address or a path: of published weights both are known")
        return _published(find(name, which), cache)
    if isinstance(which, Path) or (isinstance(which, str) and "://" not in which):
        return _local(name, expanded(which), sha256, source, (num_classes, in_channels))
    addresses = [which] if isinstance(which, str) else list(which) if isinstance(which, Sequence) else []
    if not addresses:
        raise InputError(f"which weights? True, a source, an address or a path; not {which!r}")
    path = fetch([_from_user(address, sha256) for address in addresses], cache)
    return _own(name, path, source, about=None, origin=" or ".join(addresses), ends=(num_classes, in_channels))


def _published(file: WeightFile, cache: Path | None) -> Weights:
    """Weights from the table."""
    path = fetch(file.downloads, cache)
    return _own(file.name, path, file.source, file, origin=str(path))


def _from_user(address: str, sha256: str | None) -> Download:
    """An address that is in no table: files of one name from several addresses must not take each other's place."""
    download = Download(address, (sha256 or "").lower())
    unlike = hashlib.sha256(address.encode()).hexdigest()[:8]
    return dataclasses.replace(download, renamed=f"{unlike}-{download.basename}")


def _local(name: str, path: Path, sha256: str | None, source: str | None, ends: tuple[int, int]) -> Weights:
    """Weights from a file; one that is called as a published file of this network must be it."""
    if not path.exists():
        there = ", ".join(file.which for file in available(name))
        raise RunError(f"there is no file {path}; published weights for {name} are: {there}")
    about, known = next(
        (
            (file, download)
            for file in available(name)
            for download in file.downloads
            if path.name in (download.file, download.unpacked) and source in (None, file.source)
        ),
        (None, None),
    )
    if sha256:
        known = Download(path.absolute().as_uri(), sha256.lower())
    if known and path.is_file() and (wrong := mismatch(path, known)):
        raise RunError(f"{path} is damaged, or another file: {wrong}; fetch it again")
    return _own(name, path, source or (about.source if about else None), about, origin=str(path), ends=ends)


def _own(
    name: str,
    path: Path,
    source: str | None,
    about: WeightFile | None,
    origin: str,
    ends: tuple[int, int] = PUBLISHED_ENDS,
) -> Weights:
    """What is in a file, in the form of our module, with the published ends or those given."""
    content = read_state_dict(path)
    try:
        state_dict = without_wrapper(content, name)
        source = source or detect(state_dict, name)
        found = ends_of(state_dict, name, source)
        classes, channels = (
            one if one in (published, wanted) else published
            for one, published, wanted in zip(found, PUBLISHED_ENDS, ends, strict=True)
        )
        state = convert(state_dict, name=name, source=source, num_classes=classes, in_channels=channels)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
    licence = about.licence if about else UNKNOWN_LICENCE
    level = logging.WARNING if "NC" in licence else logging.INFO  # who uses them at work should not have to look
    log.log(level, "%s: weights from %s; licence: %s", name, origin, licence)
    return Weights(state, about, (about or find(name)).preset, origin, licence)
