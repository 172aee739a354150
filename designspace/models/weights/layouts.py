"""State dicts of any `Network` with the keys of other programs, both ways.

>>> from designspace.models import AnyNet
>>> from designspace.networks import catalog
>>> network = catalog.get("regnetx_200mf")
>>> theirs = to_layout(AnyNet(network).state_dict(), network, "mmdet")
>>> list(theirs)[0], list(theirs)[6]
('conv1.weight', 'layer1.0.conv1.weight')
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from designspace.models.anynet import AnyNet
from designspace.models.features import Backbone
from designspace.models.weights.adapt import CLASSIFIER
from designspace.models.weights.names import FAMILIES, Names, family_of
from designspace.models.weights.wrappers import strip_prefix
from designspace.networks.network import Network
from designspace.support.errors import InputError, unknown
from designspace.support.text import first_few

SOURCES = ("designspace", "resnest", "gluon", "pycls", "timm", "torchvision", "mmdet", "detectron2")
"""Sources whose keys are supported: our code; the ResNeSt authors' torch and Gluon code; pycls; timm; torchvision;
MMDetection (its RegNet, ResNet and ResNeSt, which MMSegmentation shares); Detectron2, and the ResNeSt authors' fork of
it."""
MAX_LISTED_KEYS = 5
"""Number of keys of each kind (missing, surplus, of a wrong shape) that an error lists before it counts the others."""
COUNTER = ".num_batches_tracked"


def supported_layouts(network: Network) -> list[str]:
    """Return those of `SOURCES` that have names for all modules of a network."""
    return [source for source in SOURCES if not _obstacle(network, source)]


def to_layout(
    state_dict: Mapping[str, Tensor], network: Network, layout: str, *, bgr: bool | None = None
) -> dict[str, Tensor]:
    """Return weights of ours with the keys of another program.

    Only names change, and for ``bgr`` the order of channels in the first convolution. Whether the program has a module
    that computes the same is another question: MMDetection's RegNet, for example, has equal strides in all stages.

    Args:
        state_dict: the ``state_dict()`` of an `AnyNet` or `Backbone`; the head and last stages may be left out.
        network: its network.
        layout: the program, one of `SOURCES`.
        bgr: whether the result is for images in the order blue, green, red. None for the program's custom: True for
            RegNets of pycls, MMDetection and Detectron2, whose weights and configurations are pycls's; else False.

    Raises:
        InputError: the program has no name for a module of the network; or keys are missing or surplus, or shapes are
            wrong (the error lists them).
    """
    names = find_names(network, layout)
    our_names = {key: key for key in shapes_of(network)}
    if problems := _list_problems(state_dict, network, our_names):
        raise InputError(f"these are not weights of {network!r}: {problems}")
    theirs = key_map_of(network, layout)
    kept = [key for key in our_names if key in state_dict]
    if names is not None and not names.counts_batches:
        kept = [key for key in kept if not key.endswith(COUNTER)]
    result = {theirs[key]: state_dict[key] for key in kept}
    return _in_order(result, next(iter(result)), _is_bgr(names, bgr))


def from_layout(
    state_dict: Mapping[str, Tensor], network: Network, layout: str | None = None, *, bgr: bool | None = None
) -> dict[str, Tensor]:
    """Return weights with the keys of another program as a state dict of ours.

    Keys may have a prefix, such as ``backbone.`` or ``backbone.bottom_up.``; keys without it, such as those of a
    detector's heads, are left out and logged. The classifier and last stages may be missing, and the classifier may
    have any number of classes. Batch counters may be missing and are then 0.

    Args:
        state_dict: the weights.
        network: the network that they are of.
        layout: the program, one of `SOURCES`; None to detect it.
        bgr: whether the weights are for images in the order blue, green, red, and must be reversed. None for the
            program's custom (see `to_layout`).

    Raises:
        InputError: the keys are those of no program or of another one, or shapes are wrong (the error lists them).
    """
    tensors = without_prefix(state_dict, network, repr(network))
    layout = layout or _detect(tensors, network)
    names = find_names(network, layout)
    theirs = key_map_of(network, layout)
    if problems := _list_problems(tensors, network, theirs):
        raise InputError(f"these are not weights of {network!r} with the keys of {layout}: {problems}")
    last = max(_part(ours) for ours, key in theirs.items() if key in tensors and not _is_head(ours))
    result = {}
    for ours, key in theirs.items():
        if key in tensors:
            result[ours] = tensors[key]
        elif ours.endswith(COUNTER) and not _is_head(ours) and _part(ours) <= last:
            result[ours] = torch.tensor(0)
    return _in_order(result, next(iter(result)), _is_bgr(names, bgr))


def load_layout(
    module: AnyNet | Backbone,
    state_dict: Mapping[str, Tensor],
    layout: str | None = None,
    *,
    bgr: bool | None = None,
) -> None:
    """Load weights with the keys of any supported program into a module.

    A `Backbone` needs neither the classifier nor the stages that it leaves out. The arguments are those of
    `from_layout`.

    Raises:
        InputError: as `from_layout`; or weights of the module are missing.
    """
    state, own = from_layout(state_dict, module.network, layout, bgr=bgr), module.state_dict()
    if missing := [key for key in own if key not in state]:
        raise InputError(f"weights of {module.network!r} are missing: {first_few(missing, MAX_LISTED_KEYS)}")
    module.load_state_dict({key: state[key] for key in own})


def find_names(network: Network, source: str) -> Names | None:
    """Return a source's names of a network's modules; None for our own.

    Raises:
        InputError: the source is unknown, or has no name for a module of the network.
    """
    if source not in SOURCES:
        raise unknown("source of weights", source, SOURCES)
    if obstacle := _obstacle(network, source):
        others = ", ".join(layout for layout in supported_layouts(network) if layout != "designspace")
        raise InputError(f"{source} has no names for {network!r}: {obstacle}; choose from: {others or 'designspace'}")
    family = family_of(network)
    return None if source == "designspace" or family is None else FAMILIES[family][source]


@functools.lru_cache(maxsize=256)
def key_map_of(network: Network, source: str) -> Mapping[str, str]:
    """Return the map from our keys of a network, in order, to the source's keys.

    Batch counters are included even if the source has none, with the key that torch would use.

    Raises:
        InputError: the source has no name for a module of the network.
    """
    names = find_names(network, source)
    return {key: key if names is None else str(_translate(key, names)) for key in shapes_of(network)}


@functools.lru_cache(maxsize=256)
def shapes_of(network: Network) -> Mapping[str, tuple[int, ...]]:
    """Return the keys and shapes of our state dict for a network."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in AnyNet(network).state_dict().items()}


def without_prefix(state_dict: Mapping[str, Tensor], network: Network, title: str) -> dict[str, Tensor]:
    """Return the weights of a network without the prefix of their keys, and without what nothing needs.

    Args:
        state_dict: weights with the keys of any source (see `designspace.models.weights.wrappers.strip_prefix`).
        network: the network.
        title: name of the network, for messages.
    """
    tensors = strip_prefix(state_dict, title, _required_keys(network))
    extra = tuple(
        part for source in supported_layouts(network) for part in getattr(find_names(network, source), "extra", ())
    )
    return {key: value for key, value in tensors.items() if not (extra and str(key).startswith(extra))}


@functools.lru_cache(maxsize=256)
def _required_keys(network: Network) -> tuple[Mapping[str, None], ...]:
    """Return each source's required keys of a network, in order: all except those of classifier and counters."""
    return tuple(
        {
            theirs: None
            for ours, theirs in key_map_of(network, source).items()
            if ours not in CLASSIFIER and not ours.endswith(COUNTER)
        }
        for source in supported_layouts(network)
    )


@functools.lru_cache(maxsize=2048)
def _obstacle(network: Network, source: str) -> str:
    """Return why a source has no names for a network; empty if it has names for all modules."""
    if source == "designspace":
        return ""
    family = family_of(network)
    if family is None or source not in FAMILIES[family]:
        radix = f" and radix {network.radix}" if network.radix else ""
        return f"it has no network with {network.stem.kind} stem{radix}"
    names = FAMILIES[family][source]
    if network.head != "linear":
        return f"it has no {network.head} head"
    if network.block not in names.blocks:
        return f"it has no {network.block} block in such a network"
    missing = next((key for key in shapes_of(network) if _translate(key, names) is None), None)
    return f"it has no {missing.rpartition('.')[0]}" if missing else ""


def _translate(key: str, names: Names) -> str | None:
    """Return the source's key for one of ours; None if it has none."""
    module, leaf = key.rsplit(".", 1)
    if module.endswith("norm"):
        leaf = names.norm_leaves.get(leaf, leaf)
    if module == "head.classifier":
        return f"{names.classifier}.{leaf}"
    if module in names.stem:
        return f"{names.stem[module]}.{leaf}"
    match = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.+)", module)
    if match is None or match[3] not in names.inside:
        return None
    stage, block = int(match[1]), int(match[2])
    prefix = names.block.format(stage1=stage + 1, stage2=stage + 2, block=block, block1=block + 1)
    return f"{prefix}.{names.inside[match[3]]}.{leaf}"


def _detect(tensors: Mapping[str, Tensor], network: Network) -> str:
    """Return the source of the keys; if several sources have the same keys, the first of `SOURCES`."""
    differences = {}
    for source in supported_layouts(network):
        missing, surplus = _differences(tensors, key_map_of(network, source))
        differences[source] = len(missing) + len(surplus)
    best = min(differences, key=lambda source: differences[source])
    if differences[best]:
        problems = _list_problems(tensors, network, key_map_of(network, best))
        raise InputError(
            f"these are not the keys of {network!r} from any supported program ({', '.join(differences)}). "
            f"Closest is {best}: {problems}"
        )
    return best


def _differences(keys: Iterable[str], names: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the missing and the surplus keys; ``names`` are the keys by ours.

    The head may be missing as a whole, and so may last stages.
    """
    present = set(keys)
    ours_present = [ours for ours, theirs in names.items() if theirs in present]
    last = max((_part(ours) for ours in ours_present if not _is_head(ours)), default=max(map(_part, names)))
    has_head = any(_is_head(ours) for ours in ours_present)
    expected = [
        theirs
        for ours, theirs in names.items()
        if not ours.endswith(COUNTER) and (has_head if _is_head(ours) else _part(ours) <= last)
    ]
    allowed = set(names.values())
    return [key for key in expected if key not in present], [key for key in present if key not in allowed]


def _list_problems(tensors: Mapping[str, Tensor], network: Network, names: Mapping[str, str]) -> str:
    """Return the missing keys, surplus keys and wrong shapes as text; empty if there are none."""
    missing, surplus = _differences(tensors, names)
    expected = {theirs: shapes_of(network)[ours] for ours, theirs in names.items()}
    free_rows = {names[key] for key in CLASSIFIER if key in names}
    wrong = list(wrong_shapes(tensors, expected, free_rows))
    problems = {"missing": missing, "surplus": sorted(map(str, surplus)), "wrong": wrong}
    return "; ".join(f"{kind}: {first_few(texts, MAX_LISTED_KEYS)}" for kind, texts in problems.items() if texts)


def wrong_shapes(
    tensors: Mapping[str, object], expected: Mapping[str, tuple[int, ...]], free_rows: Iterable[str] = ()
) -> Iterator[str]:
    """Yield a text for each value that is not a tensor of the expected shape; ``free_rows`` may have any first size."""
    free = set(free_rows)
    for key, shape in expected.items():
        value = tensors.get(key)
        if value is None:
            continue
        if not isinstance(value, Tensor):
            yield f"{key} is not a tensor but of type {type(value).__name__}"
        elif tuple(value.shape) != shape and not (key in free and value.shape[1:] == shape[1:] and value.dim()):
            yield f"{key} has shape {tuple(value.shape)}, not {shape}"


def _part(key: str) -> int:
    """Return the part of a network that one of our keys is of: 0 for the stem, then one per stage."""
    return int(key.split(".")[1]) + 1 if key.startswith("stages.") else 0


def _is_head(key: str) -> bool:
    """Return whether one of our keys is of the head."""
    return key.startswith("head.")


def _is_bgr(names: Names | None, bgr: bool | None) -> bool:
    """Return whether a program's weights are for images in the order blue, green, red."""
    return (names is not None and names.bgr) if bgr is None else bgr


def _in_order(state: dict[str, Tensor], stem: str, bgr: bool) -> dict[str, Tensor]:
    """Return a state dict, with the channels of the first convolution, (width, channels, k, k), reversed if ``bgr``."""
    return {**state, stem: state[stem].flip(1)} if bgr else state
