"""Whose code calls a weight what: key maps between published state dicts and ours, total in both directions."""

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
from designspace.models.weights.wrappers import unwrapped
from designspace.networks import catalog
from designspace.support.errors import InputError, unknown

SOURCES = ("designspace", "resnest", "gluon", "pycls", "timm", "torchvision")
"""Whose keys are known: our own; the ResNeSt authors' torch and Gluon code; pycls; timm; torchvision."""
NAMED = 5
"""How many keys an error names of each kind (missing, surplus, of a wrong shape); of the others it gives the number."""
_COUNTER = ".num_batches_tracked"


def convert(
    state_dict: Mapping[str, Tensor], *, name: str, source: str, num_classes: int = 1000, in_channels: int = 3
) -> dict[str, Tensor]:
    """Bring a published state dict into the form of our module, `AnyNet(catalog.get(name))`.

    Every key of the model must be there, with its published shape, and no other; the keys may have a prefix, such as
    ``module.`` (see `designspace.models.weights.wrappers`). Batch-norms' counters of batches may be missing, and are
    then 0. Weights of pycls expect blue, green, red images: their first convolution is turned round, so that the result
    takes red, green, blue ones as all others do. Types stay as they are; tensors may be shared with ``state_dict``.

    Args:
        state_dict: what the source's module gives as ``state_dict()``; from Gluon, its parameters by structural name.
        name: a network of `designspace.networks.catalog`.
        source: whose keys they are, one of `SOURCES` (``designspace`` for our own, which are only checked).
        num_classes: of the model that they are from, which may be a fine-tuned one; 0 if it had no classifier.
        in_channels: the same.

    Raises:
        InputError: there is no such network; the source has no such model; keys are missing or surplus, or shapes
            are wrong (the error names them).
    """
    name = catalog.canonical_name(name)
    wanted = shapes(name, num_classes, in_channels)
    names = {ours: theirs for ours, theirs in key_map(name, source).items() if ours in wanted}
    given = without_wrapper(state_dict, name)
    if problems := _problems(given, name, source, wanted):
        raise InputError(f"these are not the weights of {name} as {source} has them: {problems}{_advice(name, source)}")
    result = {ours: given.get(theirs, torch.tensor(0)) for ours, theirs in names.items()}
    if _is_bgr(name, source):
        stem = next(iter(result))
        result[stem] = result[stem].flip(1)  # (width, 3, k, k)
    return result


def key_map(name: str, source: str) -> dict[str, str]:
    """Our keys of a published network, in order, each with the source's key.

    Counters of batches have a key even where the source keeps none: the one that torch would give it.

    Raises:
        InputError: there is no such network, or the source has no such model.
    """
    name = catalog.canonical_name(name)
    names = _names(name, source)
    return {key: key if names is None else _translate(key, names) for key in shapes(name)}


def sources(name: str) -> list[str]:
    """Whose keys a network can have: those of `SOURCES` that have a model like it."""
    return [source for source in SOURCES if source == "designspace" or source in FAMILIES[_family(name)]]


def detect(state_dict: Mapping[str, Tensor], name: str) -> str:
    """Whose keys these are. Where several sources use the same keys for this network, the first of `SOURCES`.

    Raises:
        InputError: they are nobody's; the error says what is wrong with them for the source that fits best.
    """
    state_dict = without_wrapper(state_dict, name)
    given = set(state_dict)
    differences = {}
    for source in sources(name):
        names = key_map(name, source)
        expected = set(names.values())
        if given.isdisjoint(names[key] for key in CLASSIFIER):  # of a model that gives features
            expected -= {names[key] for key in CLASSIFIER}
        needed = {key for key in expected if not key.endswith(_COUNTER)}
        differences[source] = len(needed - given) + len(given - expected)
    best = min(differences, key=lambda source: differences[source])
    if differences[best]:
        raise InputError(
            f"these keys are not those of {catalog.canonical_name(name)} in any code that is known "
            f"({', '.join(differences)}). Closest is {best}: {_problems(state_dict, name, best, shapes(name))}"
        )
    return best


def ends_of(state_dict: Mapping[str, Tensor], name: str, source: str) -> tuple[int, int]:
    """The number of classes and of channels that a state dict seems to be for; the published ones where it is odd."""
    names, given = key_map(name, source), without_wrapper(state_dict, name)
    classifier, stem = given.get(names[CLASSIFIER[0]]), given.get(next(iter(names.values())))
    classes = classifier.shape[0] if isinstance(classifier, Tensor) and classifier.dim() == 2 else 1000
    if given.keys().isdisjoint(names[key] for key in CLASSIFIER):
        classes = 0
    channels = stem.shape[1] if isinstance(stem, Tensor) and stem.dim() == 4 else 3
    return classes, channels


@functools.cache
def shapes(name: str, num_classes: int = 1000, in_channels: int = 3) -> Mapping[str, tuple[int, ...]]:
    """The keys and shapes of our module's state dict for a published network, perhaps with other ends."""
    network = dataclasses.replace(catalog.get(name), num_classes=num_classes, in_channels=in_channels)
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in AnyNet(network).state_dict().items()}


def without_wrapper(state_dict: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """The same tensors without the prefix of their keys; see `designspace.models.weights.wrappers.unwrapped`."""
    return unwrapped(state_dict, name, _layouts(catalog.canonical_name(name)))


@functools.cache
def _layouts(name: str) -> tuple[Mapping[str, None], ...]:
    """For each source, the keys that weights of a network cannot lack: in order, without classifier and counters."""
    maps = (key_map(name, source) for source in sources(name))
    return tuple(
        {theirs: None for ours, theirs in names.items() if ours not in CLASSIFIER and not ours.endswith(_COUNTER)}
        for names in maps
    )


def _names(name: str, source: str) -> Names | None:
    """What the source calls the modules; None for ourselves."""
    if source not in SOURCES:
        raise unknown("source of weights", source, SOURCES)
    if source == "designspace":
        return None
    family = FAMILIES[_family(name)]
    if source not in family:
        raise InputError(f"{source} has no model like {name}; weights for it come from: {', '.join(family)}")
    return family[source]


def _family(name: str) -> str:
    """The family of a network: ``regnet``, ``resnet`` (ResNeXt too) or ``resnest``."""
    name = catalog.canonical_name(name)
    return next(family for family in ("regnet", "resnest", "resnet") if name.startswith(family.removesuffix("et")))


def _is_bgr(name: str, source: str) -> bool:
    """Whether the source's weights expect blue, green, red images."""
    names = _names(name, source)
    return names is not None and names.bgr


def _translate(key: str, names: Names) -> str:
    """The source's key for one of ours."""
    module, leaf = key.rsplit(".", 1)
    if module.endswith("norm"):
        leaf = names.norm_leaves.get(leaf, leaf)
    if module == "head.classifier":
        return f"{names.classifier}.{leaf}"
    if module in names.stem:
        return f"{names.stem[module]}.{leaf}"
    found = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.+)", module)
    assert found is not None, key
    stage, block = int(found[1]), int(found[2])
    prefix = names.block.format(stage1=stage + 1, block=block, block1=block + 1)
    return f"{prefix}.{names.inside[found[3]]}.{leaf}"


def _problems(state_dict: Mapping[str, Tensor], name: str, source: str, wanted: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong with a state dict: missing keys, surplus keys, wrong shapes; empty if nothing is."""
    given = without_wrapper(state_dict, name)
    names = _names(name, source)
    expected = {theirs: wanted[ours] for ours, theirs in key_map(name, source).items() if ours in wanted}
    optional = {key for key in expected if key.endswith(_COUNTER)}
    allowed = expected.keys() if names is None or names.counts_batches else expected.keys() - optional
    kinds = {
        "missing": [key for key in expected if key not in given and key not in optional],
        "surplus": [str(key) for key in given if key not in allowed],
        "wrong": list(_wrong_shapes(given, expected)),
    }
    return "; ".join(f"{kind}: {_some(found)}" for kind, found in kinds.items() if found)


def _wrong_shapes(given: Mapping[str, object], expected: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """What is not a tensor of the expected shape."""
    for key, shape in expected.items():
        value = given.get(key)
        if value is not None and not isinstance(value, Tensor):
            yield f"{key} is no tensor but of type {type(value).__name__}"
        elif value is not None and tuple(value.shape) != shape:
            yield f"{key} has shape {tuple(value.shape)}, not {shape}"


def _some(texts: list[str]) -> str:
    """The first of them, and the number of the others."""
    more = f" and {len(texts) - NAMED:,} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more


def _advice(name: str, source: str) -> str:
    """What may have been meant, where two networks are easily taken for one another."""
    is_tv = name.endswith("_tv")
    twin = name.removesuffix("_tv") if is_tv else f"{name}_tv"
    if twin not in catalog.names() or (source == "torchvision" and is_tv) or (source == "pycls" and not is_tv):
        return ""
    return f". Widths differ between pycls and torchvision here: try {twin}"
