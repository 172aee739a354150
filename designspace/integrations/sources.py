"""Networks and weights as the configurations of other frameworks name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from designspace.library.backbones import NetworkSource, find_model, is_published_name
from designspace.models import AnyNet, Backbone
from designspace.models.weights import SOURCES, from_layout, load_layout, read_state_dict
from designspace.models.zoo import Pretrained
from designspace.networks.network import Network, Stem
from designspace.networks.regnet import RegNetParameters
from designspace.support.checks import mapping, number, whole
from designspace.support.errors import InputError, RunError
from designspace.support.folders import expanded

_ARCH = ("w0", "wa", "wm", "depth", "group_w", "bot_mul")


def regnet_of(arch: Mapping[str, Any]) -> Network:
    """Return the RegNetX of MMDetection's parameters, with a stem of width 32 and stride 2 in each stage.

    Args:
        arch: ``w0``, ``wa``, ``wm``, ``depth``, ``group_w``, and optionally ``bot_mul``, the ratio of the inner width
            of a block to its width (1 by default; the inverse of our bottleneck ratio).

    Raises:
        InputError: a parameter is missing, unknown or out of range.

    >>> from designspace.networks import catalog
    >>> arch = {"w0": 88, "wa": 26.31, "wm": 2.25, "group_w": 48, "depth": 25, "bot_mul": 1.0}
    >>> regnet_of(arch) == catalog.get("regnetx_3_2gf")
    True
    """
    values = mapping("arch", dict(arch), _ARCH, _ARCH[:-1])
    multiplier = number("bot_mul", values.get("bot_mul", 1))
    if not multiplier > 0:
        raise InputError(f"bot_mul must be above 0, not {multiplier}")
    parameters = RegNetParameters(
        whole("depth", values["depth"], 1),
        whole("w0", values["w0"], 1),
        number("wa", values["wa"]),
        number("wm", values["wm"]),
        1 / multiplier,
        whole("group_w", values["group_w"], 1),
    )
    return Network(Stem("imagenet", 32), parameters.stages())


def resolve_source(source: NetworkSource | Mapping[str, Any]) -> str | Path | Network:
    """Return a network as `designspace.library.backbone` takes it; a mapping is that of `regnet_of`.

    Raises:
        InputError: it is a module, which a configuration cannot name, or the mapping is invalid.
    """
    if isinstance(source, AnyNet):
        raise InputError("a module cannot be in a configuration: give the network by name, folder or Network")
    return regnet_of(source) if isinstance(source, Mapping) else source


def load_weights_into(module: Backbone, source: str | Path | Network, weights: Pretrained) -> None:
    """Load weights into a backbone, whatever its norms and its frozen stages are.

    Args:
        module: the backbone; its attribute ``weights`` then describes the weights, if they are known.
        source: its network.
        weights: True for the weights that the network has; the path of a file with the keys of any program in
            `designspace.models.weights.SOURCES`; for a published network also a source or a URL.

    Raises:
        InputError: the weights do not exist, or are those of another network.
        RunError: a file is missing or damaged, or weights cannot be fetched.
    """
    if isinstance(weights, str | Path) and is_file_name(weights):
        path = expanded(weights)
        if not path.exists():
            raise RunError(f"there is no file {path}")
        try:
            load_layout(module, read_state_dict(path))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return
    if isinstance(source, Network):
        raise InputError(f"a Network has no weights of its own: weights must be False or a file, not {weights!r}")
    channels = module.network.in_channels
    options: dict[str, Any] = {}
    if channels != 3 and is_published_name(source):
        options["in_channels"] = channels
    model = find_model(source, weights=weights, **options)
    state = model.state_dict()
    with torch.no_grad():
        module.load_state_dict({key: state[key] for key in module.state_dict()})
    module.weights = model.weights


def translate_keys(module: Backbone, state_dict: dict[str, Any], prefix: str) -> None:
    """Give the weights of a backbone in a larger state dict our keys, in place, if they have those of another program.

    So a checkpoint of a whole detector loads, whatever program's backbone it was trained with. It is meant for
    ``_load_from_state_dict``.

    Args:
        module: the backbone.
        state_dict: the state dict of the whole model, or of its part with the prefix.
        prefix: prefix of the backbone's keys, such as ``backbone.``.

    Raises:
        InputError: the keys are those of no program, or of another network.
    """
    theirs = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    if not theirs or any(key.startswith("stages.") for key in theirs):
        return
    ours, own = from_layout(theirs, module.network), module.state_dict()
    for key in theirs:
        del state_dict[f"{prefix}{key}"]
    state_dict.update({f"{prefix}{key}": value for key, value in ours.items() if key in own})


def is_file_name(weights: str | Path) -> bool:
    """Return whether weights are given as the path of a file, not as a source or URL."""
    return isinstance(weights, Path) or ("://" not in weights and weights.partition(":")[0] not in SOURCES)
