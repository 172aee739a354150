"""Key maps between published state dicts and ours: one-to-one, for every key of both."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from designspace.models.anynet import AnyNet
from designspace.models.weights.adapt import CLASSIFIER
from designspace.models.weights.names import FAMILIES, Names
from designspace.models.weights.wrappers import strip_prefix
from designspace.networks import catalog
from designspace.support.errors import InputError, unknown

SOURCES = ("designspace", "resnest", "gluon", "pycls", "timm", "torchvision")
"""Sources whose keys are supported: our code; the ResNeSt authors' torch and Gluon code; pycls; timm; torchvision."""
MAX_LISTED_KEYS = 5
"""Number of keys of each kind (missing, surplus, of a wrong shape) that an error lists before it counts the others."""
_COUNTER = ".num_batches_tracked"


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
    name = catalog.canonical_name(name)
    names = _names(name, source)
    return {key: key if names is None else _translate(key, names) for key in shapes(name)}


def sources(name: str) -> list[str]:
    """Return those of `SOURCES` that have a model of this network."""
    return [source for source in SOURCES if source == "designspace" or source in FAMILIES[_family(name)]]


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
        required = {key for key in expected if not key.endswith(_COUNTER)}
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
    network = dataclasses.replace(catalog.get(name), num_classes=num_classes, in_channels=in_channels)
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in AnyNet(network).state_dict().items()}


def without_prefix(state_dict: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """Return the tensors without the prefix of their keys; see `designspace.models.weights.wrappers.strip_prefix`."""
    return strip_prefix(state_dict, name, _layouts(catalog.canonical_name(name)))


@functools.cache
def _layouts(name: str) -> tuple[Mapping[str, None], ...]:
    """Return each source's required keys of a network, in order: all except those of classifier and counters."""
    maps = (key_map(name, source) for source in sources(name))
    return tuple(
        {theirs: None for ours, theirs in names.items() if ours not in CLASSIFIER and not ours.endswith(_COUNTER)}
        for names in maps
    )


def _names(name: str, source: str) -> Names | None:
    """Return the source's names of the modules; None for our own."""
    if source not in SOURCES:
        raise unknown("source of weights", source, SOURCES)
    if source == "designspace":
        return None
    family = FAMILIES[_family(name)]
    if source not in family:
        raise InputError(f"{source} has no model of {name}; choose from: {', '.join(family)}")
    return family[source]


def _family(name: str) -> str:
    """Return the family of a network: ``regnet``, ``resnet`` (also for ResNeXt) or ``resnest``."""
    name = catalog.canonical_name(name)
    return next(family for family in ("regnet", "resnest", "resnet") if name.startswith(family.removesuffix("et")))


def _is_bgr(name: str, source: str) -> bool:
    """Return whether the source's weights expect images in the order blue, green, red."""
    names = _names(name, source)
    return names is not None and names.bgr


def _translate(key: str, names: Names) -> str:
    """Return the source's key for one of ours."""
    module, leaf = key.rsplit(".", 1)
    if module.endswith("norm"):
        leaf = names.norm_leaves.get(leaf, leaf)
    if module == "head.classifier":
        return f"{names.classifier}.{leaf}"
    if module in names.stem:
        return f"{names.stem[module]}.{leaf}"
    match = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.+)", module)
    assert match is not None, key
    stage, block = int(match[1]), int(match[2])
    prefix = names.block.format(stage1=stage + 1, block=block, block1=block + 1)
    return f"{prefix}.{names.inside[match[3]]}.{leaf}"


def _list_problems(
    state_dict: Mapping[str, Tensor], name: str, source: str, our_shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """Return the missing keys, surplus keys and wrong shapes of a state dict as text; empty if there are none."""
    tensors = without_prefix(state_dict, name)
    names = _names(name, source)
    expected = {theirs: our_shapes[ours] for ours, theirs in key_map(name, source).items() if ours in our_shapes}
    optional = {key for key in expected if key.endswith(_COUNTER)}
    allowed = expected.keys() if names is None or names.counts_batches else expected.keys() - optional
    problems = {
        "missing": [key for key in expected if key not in tensors and key not in optional],
        "surplus": [str(key) for key in tensors if key not in allowed],
        "wrong": list(_wrong_shapes(tensors, expected)),
    }
    return "; ".join(f"{kind}: {_list_some(texts)}" for kind, texts in problems.items() if texts)


def _wrong_shapes(tensors: Mapping[str, object], expected: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Yield a text for each value that is not a tensor of the expected shape."""
    for key, shape in expected.items():
        value = tensors.get(key)
        if value is not None and not isinstance(value, Tensor):
            yield f"{key} is not a tensor but of type {type(value).__name__}"
        elif value is not None and tuple(value.shape) != shape:
            yield f"{key} has shape {tuple(value.shape)}, not {shape}"


def _list_some(texts: list[str]) -> str:
    """Return the first texts, and the number of the others."""
    more = f" and {len(texts) - MAX_LISTED_KEYS:,} more" if len(texts) > MAX_LISTED_KEYS else ""
    return ", ".join(texts[:MAX_LISTED_KEYS]) + more


def _suggest_twin(name: str, source: str) -> str:
    """Return a hint to the network that may have been meant, if two networks are easily confused."""
    is_tv = name.endswith("_tv")
    twin = name.removesuffix("_tv") if is_tv else f"{name}_tv"
    if twin not in catalog.names() or (source == "torchvision" and is_tv) or (source == "pycls" and not is_tv):
        return ""
    return f". Widths differ between pycls and torchvision here: try {twin}"
