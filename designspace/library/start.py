"""The start of a training: a published network, one of a run, or a model folder, with initial or trained weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from designspace.library.loading import find_network, load
from designspace.library.metadata import DERIVED_LICENCE
from designspace.library.saved import is_model_folder, read_description
from designspace.models import AnyNet, weights
from designspace.models.info import OWN_LICENCE
from designspace.networks import catalog
from designspace.networks.network import Network
from designspace.support.checks import mapping, text
from designspace.support.errors import InputError
from designspace.training.loop import initial_model
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe
from designspace.trials.trial import FIRST_WEIGHTS

WeightSource = bool | str | None
"""Source of the weights: None or False for random initial ones; True for the default, which is the published weights of
a published network, or the trained ones of a run or model folder. For a published network also a source, a URL or a
file, as in `designspace.models.weights.load_weights`."""

_COMPATIBLE_STEMS = {"imagenet", "cifar"}
"""Stems whose weights have the same shape; only their strides differ."""


@dataclass(frozen=True, slots=True)
class Start:
    """A network from which a training starts, and the location of its weights. `choose` returns it."""

    name: str
    """Name of the network."""
    network: Network
    """The network as it was published or found."""
    folder: Path | None = None
    """The run or model folder of the network; None for a published one."""
    id: str | None = None
    """Id of the network in the run."""

    def to_dict(self, weight_source: WeightSource) -> dict[str, Any]:
        """Return JSON values from which `Start.from_dict` finds the weights in another process."""
        folder = None if self.folder is None else str(self.folder.resolve())
        return {"name": self.name, "folder": folder, "id": self.id, "weights": weight_source}

    @staticmethod
    def from_dict(fields: Mapping[str, Any], network: Network) -> tuple[Start, WeightSource]:
        """Return the start and the weight source that `to_dict` described.

        Args:
            fields: the result of `to_dict`.
            network: the network to train, which is that of the start if it has no weight source.

        Raises:
            InputError: the fields do not describe a start, or the network no longer exists.
            RunError: a file is missing or damaged.
        """
        keys = ("name", "folder", "id", "weights")
        values = mapping("start", fields, keys, keys)
        name, weight_source = text("name", values["name"]), values["weights"]
        folder, id_ = (None if values[key] is None else text(key, values[key]) for key in ("folder", "id"))
        if not weight_source:
            return Start(name, network), None
        if not isinstance(weight_source, bool):
            text("weights", weight_source)
        if folder is None:
            return choose(name), weight_source
        return (choose(None, Path(folder), id_=id_) if id_ is not None else choose(folder)), weight_source

    def describe_weights(self, weight_source: WeightSource) -> str:
        """Describe the weights before they are fetched, as training folders record them."""
        if not weight_source:
            return FIRST_WEIGHTS
        if self.folder is not None:
            return f"the trained weights of {self.folder}"
        return "its published weights" if weight_source is True else f"its weights from {weight_source}"


def choose(model: str | None, run: Path | None = None, rank: int | None = None, id_: str | None = None) -> Start:
    """Return the start for a published network, a model folder, or a network of a run.

    Args:
        model: name of a published network, or a model folder.
        run: run folder, instead of ``model``.
        rank: rank among the run's trained networks; by default 1, the best.
        id_: id of any network of the run, trained or not, instead of a rank.

    Raises:
        InputError: the network does not exist, or not exactly one of ``model`` and ``run`` was given.
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
        network, info = read_description(path)
        return Start(info.name, network, path)
    if path.is_file() or "/" in str(model):
        raise InputError(
            f"{path} is not a model folder; if it is a file of weights: model=<name of the network> weights={path}"
        )
    return Start(catalog.canonical_name(str(model)), catalog.get(str(model)))


def fit_to_images(network: Network, channels: int, num_classes: int, stem: str | None = None) -> Network:
    """Return the network with the channels and classes of a data set, and optionally a stem of another kind.

    The stem keeps its width. ``cifar``, a stem of stride 1, is for images of about 32 pixels.

    Raises:
        InputError: the stem does not exist.
    """
    new_stem = network.stem if stem is None else dataclasses.replace(network.stem, kind=stem)
    return dataclasses.replace(network, stem=new_stem, in_channels=channels, num_classes=num_classes)


@dataclass(frozen=True, slots=True)
class InitialModel:
    """A module with its initial weights."""

    model: AnyNet
    source: str
    """Source of the weights as text; empty for random ones."""
    licence: str
    """Licence of the weights that are trained from these."""


def build_initial_model(
    start: Start, network: Network, weight_source: WeightSource, recipe: Recipe, seed: int
) -> InitialModel:
    """Build the module to train, with its initial weights.

    Args:
        start: the network as it was chosen.
        network: the same network after `fit_to_images`.
        weight_source: see `WeightSource`. A classifier for other classes is initialised at random.
        recipe: recipe that defines the module's regularisation.
        seed: determines random weights, as in `designspace.training.train`.

    Raises:
        InputError: the weights do not exist, or do not fit the stem or the channels.
        RunError: the weights cannot be fetched, or are damaged.
    """
    model = initial_model(network, recipe, seed)
    if not weight_source:
        return InitialModel(model, "", OWN_LICENCE)
    kinds = {start.network.stem.kind, network.stem.kind}
    if len(kinds) > 1 and not kinds <= _COMPATIBLE_STEMS:
        raise InputError(
            f"weights for the stem {start.network.stem.kind} do not fit the stem {network.stem.kind}; "
            "leave out weights=... or stem=..."
        )
    state, source, licence = _trained_weights(start, network, weight_source)
    state = weights.adapt_weights(state, num_classes=network.num_classes, in_channels=network.in_channels)
    model.load_state_dict({**model.state_dict(), **state})  # a classifier that was left out keeps its random weights
    result_licence = licence if licence == OWN_LICENCE else f"{DERIVED_LICENCE}{licence}"
    return InitialModel(model, source, result_licence)


def _trained_weights(start: Start, network: Network, weight_source: bool | str) -> tuple[dict[str, Tensor], str, str]:
    """Return trained weights as a state dict, their source as text, and their licence."""
    if start.folder is None:
        classes, channels = network.num_classes, network.in_channels
        published = weights.load_weights(start.name, weight_source, num_classes=classes, in_channels=channels)
        return published.state, f"{start.name}, {published.origin}", published.licence
    if weight_source is not True:
        raise InputError(f"{start.folder} has its own weights: weights=true, not weights={weight_source}")
    info = (model := load(start.folder, id=start.id)).weights
    assert info is not None
    return model.state_dict(), f"{info.name}, {info.origin}", info.licence
