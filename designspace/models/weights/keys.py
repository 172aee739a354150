"""Key maps between the state dicts of published networks and ours: one-to-one, for every key of both."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from designspace.models.weights import layouts
from designspace.models.weights.adapt import CLASSIFIER
from designspace.models.weights.layouts import COUNTER, MAX_LISTED_KEYS, SOURCES, wrong_shapes
from designspace.models.weights.names import Names
from designspace.networks import catalog
from designspace.support.errors import InputError
from designspace.support.text import first_few

__all__ = ["SOURCES", "convert", "detect", "infer_sizes", "key_map", "shapes", "sources", "without_prefix"]


def convert(
    state_dict: Mapping[str, Tensor], *, name: str, source: str, num_classes: int = 1000, in_channels: int = 3
) -> dict[str, Tensor]:
    """Convert a published state dict to that of our module, `AnyNet(catalog.get(name))`.

    It must have exactly the keys of the model, with the published shapes; the keys may have a prefix, such as
    ``module.`` (see `designspace.models.weights.wrappers`). The batch counters of batch-norms may be missing and are
    then 0. Weights of pycls expect images in the order blue, green, red: their first convolution is reversed, so that
    the result takes red, green, blue like all others. Types are kept; tensors may share memory with ``state_dict``.

    Args:
        state_dict: the ``state_dict()`` of the source's module; for Gluon, its parameters by structural name.
        name: a network of `designspace.networks.catalog`.
        source: source of the keys, one of `SOURCES` (``designspace`` for our own, which are only checked).
        num_classes: classes of the weights' model, which may be a fine-tuned one; 0 if it had no classifier.
        in_channels: channels of the weights' model.

    Raises:
        InputError: the network does not exist; the source has no such model; keys are missing or surplus, or shapes
            are wrong (the error lists them).
    """
    name = catalog.canonical_name(name)
    our_shapes = shapes(name, num_classes, in_channels)
    names = {ours: theirs for ours, theirs in key_map(name, source).items() if ours in our_shapes}
    tensors = without_prefix(state_dict, name)
    if problems := _list_problems(tensors, name, source, our_shapes):
        advice = _suggest_twin(name, source)
        raise InputError(f"these are not the weights of {name} from {source}: {problems}{advice}")
    result = {ours: tensors.get(theirs, torch.tensor(0)) for ours, theirs in names.items()}
    if _is_bgr(name, source):
        stem = next(iter(result))
        result[stem] = result[stem].flip(1)  # (width, 3, k, k)
    return result


def key_map(name: str, source: str) -> dict[str, str]:
    """Return the map from our keys of a published network, in order, to the source's keys.

    Batch counters are included even if the source has none, with the key that torch would use.

    Raises:
        InputError: the network does not exist, or the source has no such model.
    """
    _names(name, source)
    return dict(layouts.key_map_of(catalog.get(name), source))


def sources(name: str) -> list[str]:
    """Return those of `SOURCES` that have a model of this network."""
    return layouts.supported_layouts(catalog.get(name))


def detect(state_dict: Mapping[str, Tensor], name: str) -> str:
    """Return the source of a state dict's keys; if several sources have the same keys, the first of `SOURCES`.

    Raises:
        InputError: the keys fit no source; the error lists the differences from the closest one.
    """
    state_dict = without_prefix(state_dict, name)
    keys = set(state_dict)
    differences = {}
    for source in sources(name):
        names = key_map(name, source)
        expected = set(names.values())
        if keys.isdisjoint(names[key] for key in CLASSIFIER):  # of a model that returns features
            expected -= {names[key] for key in CLASSIFIER}
        required = {key for key in expected if not key.endswith(COUNTER)}
        differences[source] = len(required - keys) + len(keys - expected)
    best = min(differences, key=lambda source: differences[source])
    if differences[best]:
        raise InputError(
            f"these are not the keys of {catalog.canonical_name(name)} from any supported source "
            f"({', '.join(differences)}). Closest is {best}: {_list_problems(state_dict, name, best, shapes(name))}"
        )
    return best


def infer_sizes(state_dict: Mapping[str, Tensor], name: str, source: str) -> tuple[int, int]:
    """Return a state dict's numbers of classes and channels, as far as its shapes show; else the published ones."""
    names, tensors = key_map(name, source), without_prefix(state_dict, name)
    classifier, stem = tensors.get(names[CLASSIFIER[0]]), tensors.get(next(iter(names.values())))
    classes = classifier.shape[0] if isinstance(classifier, Tensor) and classifier.dim() == 2 else 1000
    if tensors.keys().isdisjoint(names[key] for key in CLASSIFIER):
        classes = 0
    channels = stem.shape[1] if isinstance(stem, Tensor) and stem.dim() == 4 else 3
    return classes, channels


@functools.cache
def shapes(name: str, num_classes: int = 1000, in_channels: int = 3) -> Mapping[str, tuple[int, ...]]:
    """Return the keys and shapes of our state dict for a published network with these classes and channels."""
    return layouts.shapes_of(dataclasses.replace(catalog.get(name), num_classes=num_classes, in_channels=in_channels))


def without_prefix(state_dict: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """Return the tensors without the prefix of their keys; see `designspace.models.weights.layouts.without_prefix`."""
    return layouts.without_prefix(state_dict, catalog.get(name), name)


def _names(name: str, source: str) -> Names | None:
    """Return the source's names of the modules; None for our own."""
    network = catalog.get(name)
    if source in SOURCES and source not in layouts.supported_layouts(network):
        others = ", ".join(other for other in layouts.supported_layouts(network) if other != "designspace")
        raise InputError(
            f"{source} has no model of {catalog.canonical_name(name)}; choose from: {others or 'designspace'}"
        )
    return layouts.find_names(network, source)


def _is_bgr(name: str, source: str) -> bool:
    """Return whether the source's weights expect images in the order blue, green, red."""
    names = _names(name, source)
    return names is not None and names.bgr


def _list_problems(
    state_dict: Mapping[str, Tensor], name: str, source: str, our_shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """Return the missing keys, surplus keys and wrong shapes of a state dict as text; empty if there are none."""
    tensors = without_prefix(state_dict, name)
    names = _names(name, source)
    expected = {theirs: our_shapes[ours] for ours, theirs in key_map(name, source).items() if ours in our_shapes}
    optional = {key for key in expected if key.endswith(COUNTER)}
    allowed = expected.keys() if names is None or names.counts_batches else expected.keys() - optional
    problems = {
        "missing": [key for key in expected if key not in tensors and key not in optional],
        "surplus": [str(key) for key in tensors if key not in allowed],
        "wrong": list(wrong_shapes(tensors, expected)),
    }
    return "; ".join(f"{kind}: {first_few(texts, MAX_LISTED_KEYS)}" for kind, texts in problems.items() if texts)


def _suggest_twin(name: str, source: str) -> str:
    """Return a hint to the network that may have been meant, if two networks are easily confused."""
    is_tv = name.endswith("_tv")
    twin = name.removesuffix("_tv") if is_tv else f"{name}_tv"
    if twin not in catalog.names() or (source == "torchvision" and is_tv) or (source == "pycls" and not is_tv):
        return ""
    return f". Widths differ between pycls and torchvision here: try {twin}"
