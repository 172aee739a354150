"""The configurations of our weights in timm: fields of its ``PretrainedCfg``."""

from __future__ import annotations

from typing import Any

from designspace.library.metadata import TIMM_ARCHITECTURE, timm_preprocessing
from designspace.models import list_models, weights
from designspace.models.info import ModelInfo, published_info
from designspace.networks import catalog
from designspace.networks.network import Network

PREFIX = "designspace_"
"""Prefix of the names of published networks in timm's registry."""


def timm_names() -> list[str]:
    """Return the names of the published networks that have timm's interface, which needs a linear head."""
    return [name for name in list_models() if catalog.get(name).head == "linear"]


def timm_config(network: Network, info: ModelInfo, **source: Any) -> dict[str, Any]:
    """Return the fields of timm's ``PretrainedCfg`` for weights."""
    fields = timm_preprocessing(network, info)
    for name in ("input_size", "mean", "std"):
        fields[name] = tuple(fields[name])
    if info.classes and info.published is None:
        fields["label_names"] = info.classes
    return {**fields, "architecture": TIMM_ARCHITECTURE, **source}


def published_configs() -> dict[str, Any]:
    """Return the configurations of all published weights: ``<model>.<tag>`` -> fields of ``PretrainedCfg``."""
    configs: dict[str, Any] = {}
    for name in timm_names():
        network = catalog.get(name)
        for file in weights.available(name):
            loaded = weights.Weights({}, file, file.preset, file.qualified_tag, file.licence)
            tag = file.qualified_tag.replace(":", "_").lower()
            configs[f"{PREFIX}{name}.{tag}"] = timm_config(
                network,
                published_info(name, loaded),
                architecture=None,
                file=file.qualified_tag,
                custom_load=True,
                origin_url=file.downloads[0].url,
            )
        if not weights.available(name):
            configs[f"{PREFIX}{name}"] = timm_config(network, published_info(name, None), architecture=None)
    return configs
