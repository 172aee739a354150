"""Finds a network's weights in what trainers save: in a checkpoint, and behind prefixes of their names."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from designspace.support.errors import InputError

log = logging.getLogger(__name__)

NESTS = ("model_state", "state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
"""Keys under which checkpoints keep the weights, in the order in which they are looked for: pycls; timm, Lightning and
many others; PyTorch's tutorials; torchvision, DeiT and this project; the rest are usual."""
AVERAGES = ("model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "ema")
"""Keys of averaged weights, which are taken only where there are no others."""
_DEPTH = 4
"""Keys of a checkpoint that may stand above each other. More are no checkpoint, and a hostile one may be endless."""
_INSIDE = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Names that torch.compile, FSDP and activation checkpointing insert, wherever a module is wrapped."""
_BOOKKEEPING = ("total_ops", "total_params", "n_averaged")
"""Leaves that are not weights: thop's counters, and that of torch's AveragedModel."""


def state_dict_in(content: Any) -> Any:
    """Return the state dict in what a checkpoint holds, or the content itself if it is not nested."""
    for _ in range(_DEPTH):
        nested = _nested(content)
        if nested is None:
            break
        content = nested
    return content


def _nested(content: Any) -> Mapping[Any, Any] | None:
    """The mapping one level below that holds weights; None if there is none."""
    if not isinstance(content, Mapping):
        return None
    for nest in (*NESTS, *AVERAGES):
        if isinstance(content.get(nest), Mapping) and content[nest]:
            if nest in AVERAGES:
                log.warning("the file has averaged weights only (%s); these are taken", nest)
            return content[nest]  # type: ignore[no-any-return]
    if any(isinstance(value, Tensor) for value in content.values()):
        return None
    states = [value for value in content.values() if isinstance(value, Mapping) and _is_state(value)]
    return states[0] if len(states) == 1 else None


def _is_state(content: Mapping[Any, Any]) -> bool:
    """Whether a mapping is a state dict: tensors by text."""
    return bool(content) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def is_bookkeeping(key: object) -> bool:
    """Whether a key names a counter that a tool left among the weights."""
    return str(key).rpartition(".")[2] in _BOOKKEEPING


def unwrapped(state_dict: Mapping[Any, Any], name: str, layouts: Sequence[Collection[str]]) -> dict[Any, Any]:
    """Return the weights of one network without the prefix of their keys, such as ``module.`` or ``model.backbone.``.

    A prefix is taken off where all that the network needs is behind it; what is not behind it is left out and logged.

    Args:
        state_dict: weights by name.
        name: the network, for messages.
        layouts: the keys that the network needs, in each code that may have written them.

    Raises:
        InputError: the network is in it several times, behind different prefixes.
    """
    given = _without_insertions({key: value for key, value in state_dict.items() if not is_bookkeeping(key)})
    found = _prefixes(given, layouts)
    complete = [prefix for prefix, share in found.items() if share == 1]
    if len(complete) > 1 and not _are_copies([_behind(given, prefix) for prefix in complete]):
        listed = " and ".join(repr(prefix) if prefix else "none" for prefix in complete)
        raise InputError(
            f"the weights of {name} are in it {len(complete)} times, with the prefixes {listed}; save one of them alone"
        )
    best = complete[0] if complete else max(found, key=lambda prefix: found[prefix], default="")
    if not best or found[best] < 0.5:
        return given
    result = _behind(given, best)
    if others := [str(key) for key in given if not str(key).startswith(best)]:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        log.warning("only keys with the prefix %r are taken; left out: %s%s", best, ", ".join(others[:3]), more)
    return result


def _without_insertions(state_dict: dict[Any, Any]) -> dict[Any, Any]:
    """The same tensors without the names that wrappers insert, unless two keys became one."""
    shorter = {_INSIDE.sub("", key) if isinstance(key, str) else key: value for key, value in state_dict.items()}
    return shorter if len(shorter) == len(state_dict) else state_dict


def _prefixes(given: Mapping[Any, Any], layouts: Sequence[Collection[str]]) -> dict[str, float]:
    """The prefixes behind which weights of the network stand, and the share of the needed keys that is there."""
    keys = [key for key in given if isinstance(key, str)]
    found: dict[str, float] = {}
    for needed in layouts:
        first = next(iter(needed))
        for prefix in [key.removesuffix(first) for key in keys if key == first or key.endswith(f".{first}")]:
            share = sum(f"{prefix}{key}" in given for key in needed) / len(needed)
            found[prefix] = max(share, found.get(prefix, 0))
    return found


def _behind(given: Mapping[Any, Any], prefix: str) -> dict[Any, Any]:
    """What stands behind a prefix, without it."""
    if not prefix:
        return dict(given)
    return {key.removeprefix(prefix): value for key, value in given.items() if str(key).startswith(prefix)}


def _are_copies(states: Sequence[Mapping[Any, Any]]) -> bool:
    """Whether state dicts hold the same values."""
    first = states[0]
    return all(
        state.keys() == first.keys() and all(torch.equal(state[key], first[key]) for key in first) for state in states
    )
