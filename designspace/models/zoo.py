"""The published networks as modules by name: RegNetX/Y, ResNet, ResNeXt, ResNeSt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from designspace.models import weights
from designspace.models.anynet import AnyNet
from designspace.models.features import Backbone
from designspace.models.info import published_info
from designspace.models.norms import freeze_norms
from designspace.networks import catalog
from designspace.networks.complexity import complexity
from designspace.networks.network import Network
from designspace.support.checks import whole
from designspace.support.errors import InputError, suggest
from designspace.support.text import prefixed

Pretrained = bool | str | Path | Sequence[str]

_SYNONYMS = {
    "in_chans": "in_channels",
    "channels": "in_channels",
    "classes": "num_classes",
    "features_only": "features",
    "drop_rate": "dropout",
    "drop_path_rate": "drop_path",
    "stochastic_depth_prob": "drop_path",
    "drop_block_rate": "drop_block",
    "weights": "pretrained",
    "checkpoint_path": "pretrained",
    "grad_checkpointing": "checkpointing",
    "zero_init_last": "zero_init_residual",
    "norm_layer": "frozen_norm",
}
"""Names of our options in timm and torchvision."""


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of published networks that match a shell pattern, such as ``regnety_*``."""
    return catalog.names(pattern)


def create_model(
    name: str,
    pretrained: Pretrained = False,
    *,
    sha256: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: bool = False,
    out_indices: Sequence[int] | None = None,
    frozen_norm: bool = False,
    **options: Any,
) -> Any:
    """Build a published network: an `AnyNet`, or with ``features`` a `Backbone`.

    Args:
        name: one of `list_models`; the papers' spelling, such as ``RegNetX-1.6GF``, is accepted too.
        pretrained: the weight source. False for none (``seed`` determines the initial weights); True for the network's
            default; ``"timm"``, ``"torchvision:IMAGENET1K_V2"`` or another one that
            `designspace.models.weights.available` lists; or the path of a file, its URL, or several URLs of it.
        sha256: SHA-256 of the file at a path or URL, or its first digits.
        num_classes: outputs of the classifier. If the weights have another number, the classifier is initialised anew.
            0 for no classifier: the module then returns the pooled features.
        in_channels: channels of the images. Weights of the stem are adapted to another number: a grey image gives the
            same output as three equal channels.
        features: return the feature maps of the stages instead of logits.
        out_indices: indices of the maps, with ``features``; None for all.
        frozen_norm: make batch-norms constant (`designspace.models.norms.FrozenBatchNorm2d`).
        options: options of `AnyNet`: ``seed``, ``zero_init_residual``, ``drop_path``, ``drop_block``, ``dropout``,
            ``output_stride``, ``checkpointing``.

    The module's attribute ``weights`` describes loaded weights (`designspace.models.info.ModelInfo`): how to prepare
    images, their origin and licence. It is None without loaded weights.

    Raises:
        InputError: the network, the weights or an option does not exist, or the weights are for another network.
        RunError: the weights cannot be fetched, or their file is damaged; the error lists what was tried.
    """
    network = catalog.get(name)
    network = dataclasses.replace(
        network,
        num_classes=network.num_classes if num_classes is None else num_classes,
        in_channels=network.in_channels if in_channels is None else in_channels,
    )
    if out_indices is not None and not features:
        raise InputError("out_indices chooses feature maps of a backbone: add features=True")
    if isinstance(out_indices, int | str):
        raise InputError(f"out_indices must be a list of indices, such as [{out_indices}], not {out_indices!r}")
    model = build(network, options)
    if pretrained is not False and pretrained is not None:
        _load_pretrained(model, catalog.canonical_name(name), pretrained, sha256)
    elif sha256:
        raise InputError("sha256 is for a file: give its path or URL as pretrained=...")
    if frozen_norm:
        freeze_norms(model)
    return Backbone(model, out_indices) if features else model


def rebuild(model: AnyNet, **options: Any) -> AnyNet:
    """Return a module with the same weights and other options of `AnyNet`, such as ``output_stride``.

    Its device and mode are those of ``model``; options that are not given have their defaults.

    Raises:
        InputError: an option does not exist or is out of range.
    """
    rebuilt = build(model.network, options)
    rebuilt.load_state_dict(model.state_dict())
    rebuilt.weights = model.weights
    return rebuilt.to(next(model.parameters()).device).train(model.training)


def build(network: Network, options: dict[str, Any]) -> AnyNet:
    """Build a module with options of `AnyNet`.

    Raises:
        InputError: an option does not exist; the error suggests the closest one.
    """
    allowed = ("seed", *(AnyNet.__init__.__kwdefaults__ or ()))
    for option in options:
        if option not in allowed:
            names = ("pretrained", *(create_model.__kwdefaults__ or ()), *allowed)
            raise InputError(f"unknown option {option!r} of a model; {suggest(_SYNONYMS.get(option, option), names)}")
    if options.get("output_stride") is not None:
        options["output_stride"] = whole("output_stride", options["output_stride"], 1)
    return AnyNet(network, **options)


def _load_pretrained(model: AnyNet, name: str, pretrained: Pretrained, sha256: str | None) -> None:
    """Load weights into a module, and set their description."""
    classes, channels = model.network.num_classes, model.network.in_channels
    loaded = weights.load_weights(name, pretrained, sha256=sha256, num_classes=classes, in_channels=channels)
    state = weights.adapt_weights(loaded.state, num_classes=classes, in_channels=channels)
    model.load_state_dict({**model.state_dict(), **state})  # a classifier that was left out keeps its initial weights
    model.weights = published_info(name, loaded, channels, classes)


def entry_point(name: str) -> Callable[..., Any]:
    """Return the function that builds one network, like those of torch.hub and torchvision."""

    def build(pretrained: Pretrained = False, **options: Any) -> Any:
        return create_model(name, pretrained, **options)

    published = catalog.published(name)
    cost = complexity(catalog.get(name), published.resolution)
    build.__name__ = build.__qualname__ = name
    build.__module__ = "designspace.models"
    build.__doc__ = (
        f"{name}: {prefixed(int(cost.params))} parameters, {prefixed(int(cost.flops))} multiply-adds at "
        f"{published.resolution} x {published.resolution} pixels, {published.top1:.2f}% top-1 on ImageNet.\n\n"
        f"Source: {published.source}.\nArguments are those of `designspace.models.create_model`, without the name.\n"
    )
    return build
