"""The population of a given list of networks, from the options of `sample`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from designspace.cli import data_option
from designspace.cli.options import Options
from designspace.spaces.list_files import ListedNetwork, list_name, read_networks
from designspace.spaces.network_list import NetworkList
from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.support.imported import is_import_name
from designspace.support.text import counted, first_few

SHAPE = ("in_channels", "num_classes", "resolution")
"""Settings that are determined by the images."""
_CONTRADICTING = ("space", "n", "seed", "regime", "file", "count")
_IMAGENET = (3, 1000)
"""Channels and classes of the images for which networks without data set are counted at the default size."""
_MAX_NAMED = 5
_MAX_NAME = 100


def given_list(items: Sequence[str], options: Options, space: Mapping[str, Any]) -> tuple[NetworkList, str]:
    """Return the list of the networks that were given, built for the images that were given, and notes on it.

    Args:
        items: files, folders and names.
        options: the options of the command.
        space: values of the keys ``space.*``, of which those of `SHAPE` count.

    Raises:
        InputError: another option describes other networks, the list is wrong, or the networks are for different
            images and none were given.
        RunError: a file cannot be read.
    """
    _check_options(options)
    listed = read_networks(items)
    images = _images(listed, options, space)
    networks: dict[str, ListedNetwork] = {}
    repeated = []
    for each in listed:
        shape: dict[str, Any] = {name: images[name] for name in ("in_channels", "num_classes") if name in images}
        network = dataclasses.replace(each.network, **shape)
        if network.id in networks:
            repeated.append(f"{each.place} (as {networks[network.id].place})")
        networks.setdefault(network.id, ListedNetwork(network, each.place))
    found = tuple(each.network for each in networks.values())
    result = NetworkList(list_name(items)[:_MAX_NAME], found, images["resolution"], ", ".join(items))
    notes = [_repeated_note(repeated), _stem_note(result)]
    return result, "\n".join(filter(None, notes))


def _check_options(options: Options) -> None:
    """Raise if another option describes networks."""
    given = [argument.partition("=")[0].lstrip("+") for argument in options.line.arguments]
    for key in given:
        of_space = key.startswith("space.") and key.removeprefix("space.") not in SHAPE
        if key in _CONTRADICTING or of_space:
            raise InputError(
                f"networks=... lists all networks, so {key}=... does not apply; leave one of them out. The images are "
                "set by data=..., or by input=... and space.resolution, space.num_classes and space.in_channels"
            )


def _images(listed: Sequence[ListedNetwork], options: Options, space: Mapping[str, Any]) -> dict[str, int]:
    """Return the images for which all networks are built, as far as they were given, and their size.

    Raises:
        InputError: the networks are for different images, or for images whose size is unknown.
    """
    are_given = options.is_given("input", "data", "data.name")
    chosen = [name for name in SHAPE if are_given or options.is_given(f"space.{name}")]
    images = {name: whole(f"space.{name}", space[name], 1) for name in chosen}
    for name, what in (("in_channels", "channels"), ("num_classes", "classes")):
        first = listed[0]
        for other in listed:
            numbers = [getattr(each.network, name) for each in (first, other)]
            if name not in images and numbers[0] != numbers[1]:
                raise InputError(
                    f"{first.place} has {numbers[0]} {what} and {other.place} {numbers[1]}; give data=<name of a data "
                    "set>, so that all are built for its images"
                )
    shape = tuple(images.get(name, getattr(listed[0].network, name)) for name in SHAPE[:2])
    if "resolution" not in images and shape != _IMAGENET:
        raise InputError(
            f"the networks are for images of {shape[0]} channels in {shape[1]} classes, whose size is not known; give "
            "data=<name of a data set>, or space.resolution=<side in pixels>"
        )
    return {"resolution": whole("space.resolution", space["resolution"], 1), **images}


def _repeated_note(repeated: Sequence[str]) -> str:
    """Return a note on networks that are listed more than once; empty if there is none."""
    if not repeated:
        return ""
    return f"note: {counted(len(repeated), 'network')} repeated and left out: {first_few(repeated, _MAX_NAMED)}"


def _stem_note(networks: NetworkList) -> str:
    """Return a note on stems that shrink small images; empty if there is none."""
    kinds = [network.stem.kind for network in networks.networks]
    small = [kind for kind in kinds if kind != "cifar" and not is_import_name(kind)]
    if not small or networks.resolution > data_option.SMALL_SIDE:
        return ""
    return (
        f"note: the stems of {len(small)} of {counted(len(kinds), 'network')} ({', '.join(sorted(set(small)))}) shrink "
        "images that are already small; a cifar stem does not"
    )
