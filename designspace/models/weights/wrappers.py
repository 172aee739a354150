"""Finds a network's weights in files of training programs: nested in a checkpoint, or with prefixed names."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from designspace.support.errors import InputError

log = logging.getLogger(__name__)

WEIGHT_KEYS = ("model_state", "state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
"""Keys under which checkpoints store the weights, in search order: pycls; timm, Lightning and many others; PyTorch's
tutorials; torchvision, DeiT and this project; other common ones."""
AVERAGE_KEYS = ("model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "ema")
"""Keys of averaged weights, which are used only if there are no others."""
_MAX_NESTING = 4
"""Largest number of nested keys. No checkpoint has more, and a hostile file may be nested endlessly."""
_INSERTED_NAMES = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Names that torch.compile, FSDP and activation checkpointing insert for each wrapped module."""
_BOOKKEEPING = ("total_ops", "total_params", "n_averaged")
"""Last parts of keys that are not weights: thop's counters, and that of torch's AveragedModel."""


def state_dict_in(content: Any) -> Any:
    """Return the state dict in the content of a checkpoint, or the content itself if it is not nested."""
    for _ in range(_MAX_NESTING):
        nested = _nested(content)
        if nested is None:
            break
        content = nested
    return content


def _nested(content: Any) -> Mapping[Any, Any] | None:
    """Return the mapping one level below that contains weights; None if there is none."""
    if not isinstance(content, Mapping):
        return None
    for key in (*WEIGHT_KEYS, *AVERAGE_KEYS):
        if isinstance(content.get(key), Mapping) and content[key]:
            if key in AVERAGE_KEYS:
                log.warning("the file has only averaged weights (%s); they are used", key)
            return content[key]  # type: ignore[no-any-return]
    if any(isinstance(value, Tensor) for value in content.values()):
        return None
    states = [value for value in content.values() if isinstance(value, Mapping) and _is_state(value)]
    return states[0] if len(states) == 1 else None


def _is_state(content: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is a state dict, with texts as keys and tensors as values."""
    return bool(content) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def is_bookkeeping(key: object) -> bool:
    """Return whether a key names a counter that a tool left among the weights."""
    return str(key).rpartition(".")[2] in _BOOKKEEPING


def strip_prefix(state_dict: Mapping[Any, Any], name: str, layouts: Sequence[Collection[str]]) -> dict[Any, Any]:
    """Return the weights of one network without the prefix of their keys, such as ``module.`` or ``model.backbone.``.

    A prefix is removed if most of the network's keys have it; keys without it are left out and logged.

    Args:
        state_dict: weights by name.
        name: name of the network, for messages.
        layouts: the network's required keys in each source.

    Raises:
        InputError: the network occurs several times, with different prefixes.
    """
    tensors = _without_insertions({key: value for key, value in state_dict.items() if not is_bookkeeping(key)})
    shares = _prefixes(tensors, layouts)
    complete = [prefix for prefix, share in shares.items() if share == 1]
    if len(complete) > 1 and not _are_copies([_with_prefix(tensors, prefix) for prefix in complete]):
        listed = " and ".join(repr(prefix) if prefix else "none" for prefix in complete)
        raise InputError(
            f"it contains the weights of {name} {len(complete)} times, with the prefixes {listed}; save only one"
        )
    best = complete[0] if complete else max(shares, key=lambda prefix: shares[prefix], default="")
    if not best or shares[best] < 0.5:
        return tensors
    result = _with_prefix(tensors, best)
    if others := [str(key) for key in tensors if not str(key).startswith(best)]:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        log.warning("only keys with the prefix %r are used; left out: %s%s", best, ", ".join(others[:3]), more)
    return result


def _without_insertions(state_dict: dict[Any, Any]) -> dict[Any, Any]:
    """Return the tensors without the names that wrappers insert, unless two keys would become the same."""
    shorter = {_INSERTED_NAMES.sub("", k) if isinstance(k, str) else k: value for k, value in state_dict.items()}
    return shorter if len(shorter) == len(state_dict) else state_dict


def _prefixes(tensors: Mapping[Any, Any], layouts: Sequence[Collection[str]]) -> dict[str, float]:
    """Return the prefixes of the network's weights, each with the share of the required keys that have it."""
    keys = [key for key in tensors if isinstance(key, str)]
    shares: dict[str, float] = {}
    for required in layouts:
        first = next(iter(required))
        for prefix in [key.removesuffix(first) for key in keys if key == first or key.endswith(f".{first}")]:
            share = sum(f"{prefix}{key}" in tensors for key in required) / len(required)
            shares[prefix] = max(share, shares.get(prefix, 0))
    return shares


def _with_prefix(tensors: Mapping[Any, Any], prefix: str) -> dict[Any, Any]:
    """Return the tensors whose keys have a prefix, by the keys without it."""
    if not prefix:
        return dict(tensors)
    return {key.removeprefix(prefix): value for key, value in tensors.items() if str(key).startswith(prefix)}


def _are_copies(states: Sequence[Mapping[Any, Any]]) -> bool:
    """Return whether state dicts have the same keys and values."""
    first = states[0]
    return all(
        state.keys() == first.keys() and all(torch.equal(state[key], first[key]) for key in first) for state in states
    )
