"""What a training begins with: a published network, one of a run, or a model folder; first weights or trained ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from designspace.library.loading import find_network, load
from designspace.library.saved import is_model_folder, read_description
from designspace.models import AnyNet, weights
from designspace.models.info import OWN_LICENCE
from designspace.networks import catalog
from designspace.networks.network import Network
from designspace.support.checks import mapping, text
from designspace.support.errors import InputError
from designspace.training.loop import first_model
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe
from designspace.trials.trial import FIRST_WEIGHTS

WeightSource = bool | str | None
"""Whose weights: None or False for first ones, drawn at random; True for the default ones, which are those published
for a name, and the trained ones of a run or model folder. For a published network also a source, an address or a file,
as `designspace.models.weights.load_weights` takes them."""

_ALIKE_STEMS = {"imagenet", "cifar"}
"""Stems whose weights have one shape: only their strides differ."""


@dataclass(frozen=True, slots=True)
class Start:
    """A network to begin with, and where weights of it are. Made by `choose`."""

    name: str
    """What to call it."""
    network: Network
    """As it was published or found."""
    folder: Path | None = None
    """The run or the model folder that it is from; None for a published one."""
    id: str | None = None
    """WeightSource of the run's networks."""

    def to_dict(self, which: WeightSource) -> dict[str, Any]:
        """Return what another process finds the weights by, as JSON values for `Start.from_dict`."""
        folder = None if self.folder is None else str(self.folder.resolve())
        return {"name": self.name, "folder": folder, "id": self.id, "weights": which}

    @staticmethod
    def from_dict(fields: Mapping[str, Any], network: Network) -> tuple[Start, WeightSource]:
        """Return the start, and which weights, that `to_dict` described.

        Args:
            fields: what it gave.
            network: what is trained, which the start is where no weights are asked for.

        Raises:
            InputError: they do not describe a start, or the network no longer exists.
            RunError: a file is missing or damaged.
        """
        known = mapping("start", fields, ("name", "folder", "id", "weights"), ("name", "folder", "id", "weights"))
        name, which = text("name", known["name"]), known["weights"]
        folder, id_ = (None if known[key] is None else text(key, known[key]) for key in ("folder", "id"))
        if not which:
            return Start(name, network), None
        if not isinstance(which, bool):
            text("weights", which)
        if folder is None:
            return choose(name), which
        return (choose(None, Path(folder), id_=id_) if id_ is not None else choose(folder)), which

    def describe_weights(self, which: WeightSource) -> str:
        """Name the weights before they are fetched, as a folder's note of what was asked does."""
        if not which:
            return FIRST_WEIGHTS
        if self.folder is not None:
            return f"the trained weights of {self.folder}"
        return "its published weights" if which is True else f"its weights from {which}"


def choose(model: str | None, run: Path | None = None, rank: int | None = None, id_: str | None = None) -> Start:
    """Find a network by what a person calls it.

    Args:
        model: the name of a published network, or a model folder.
        run: in its place, the folder of a run.
        rank: of the run's trained networks; 1, the best, by default.
        id_: in the place of a rank, the id of any network of the run, trained or not.

    Raises:
        InputError: there is no such network, or not one thing alone was named.
        RunError: a file is missing or damaged.
    """
    if (model is None) == (run is None):
        raise InputError("either model=... or run=... must be given, and not both; see --help")
    if run is not None:
        if not RunFolder(run).exists():
            raise InputError(f"{run} is not a run folder (of designspace.sample)")
        return Start(*find_network(RunFolder(run), rank, id_))
    path = Path(str(model))
    if path.is_dir():
        if not is_model_folder(path):
            raise InputError(f"{path} is not a model folder (of designspace.train or export); for a run: run={path}")
        network, known = read_description(path)
        return Start(known.name, network, path)
    if path.is_file() or "/" in str(model):
        raise InputError(f"{path} is not a model folder; a file of weights goes with a name: weights={path}")
    return Start(catalog.canonical_name(str(model)), catalog.get(str(model)))


def fit_to_images(network: Network, channels: int, num_classes: int, stem: str | None = None) -> Network:
    """Give a network the ends that images need: channels, classes, and if wanted a stem of another kind, as wide.

    ``cifar``, a stem of stride 1, is for images of 32 pixels or so.

    Raises:
        InputError: there is no such stem.
    """
    kept = network.stem if stem is None else dataclasses.replace(network.stem, kind=stem)
    return dataclasses.replace(network, stem=kept, in_channels=channels, num_classes=num_classes)


@dataclass(frozen=True, slots=True)
class InitialModel:
    """A module as its training begins."""

    model: AnyNet
    source: str
    """Whose weights it has, in words; empty for first ones."""
    licence: str
    """Of what comes of them."""


def build_initial_model(start: Start, network: Network, which: WeightSource, recipe: Recipe, seed: int) -> InitialModel:
    """Build the module that is trained.

    Args:
        start: the network as it was chosen.
        network: the same, `fit_to_images`.
        which: see `WeightSource`. A classifier for other classes begins afresh.
        recipe: says how the module is regularised.
        seed: decides the first weights, as `designspace.training.train` does.

    Raises:
        InputError: there are no such weights, or they do not fit the stem or the channels.
        RunError: the weights cannot be had, or are damaged.
    """
    built = first_model(network, recipe, seed)
    if not which:
        return InitialModel(built, "", OWN_LICENCE)
    kinds = {start.network.stem.kind, network.stem.kind}
    if len(kinds) > 1 and not kinds <= _ALIKE_STEMS:
        raise InputError(
            f"weights for the stem {start.network.stem.kind} do not fit the stem {network.stem.kind}; "
            "leave out weights=... or stem=..."
        )
    state, source, licence = _trained(start, network, which)
    state = weights.adapt_weights(state, num_classes=network.num_classes, in_channels=network.in_channels)
    built.load_state_dict({**built.state_dict(), **state})  # a classifier that was left out stays as it began
    of_result = licence if licence == OWN_LICENCE else f"that of the weights it began with: {licence}"
    return InitialModel(built, source, of_result)


def _trained(start: Start, network: Network, which: bool | str) -> tuple[dict[str, Tensor], str, str]:
    """Trained weights as a state dict, whose they are, and their licence."""
    if start.folder is None:
        classes, channels = network.num_classes, network.in_channels
        published = weights.load_weights(start.name, which, num_classes=classes, in_channels=channels)
        return published.state, f"{start.name}, {published.origin}", published.licence
    if which is not True:
        raise InputError(f"{start.folder} has weights of its own: weights=true, not weights={which}")
    known = (found := load(start.folder, id=start.id)).weights
    assert known is not None
    return found.state_dict(), f"{known.name}, {known.origin}", known.licence
