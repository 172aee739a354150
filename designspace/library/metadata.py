"""Metadata of a model folder for other programs: the head of its model card, and ``config.json``.

The head is YAML, as Hugging Face's hub reads it. ``config.json`` has the keys of timm (``architecture``,
``pretrained_cfg``, ``model_args``) and of transformers (``model_type``, ``network``). Our own code reads neither.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import yaml

from designspace.data.images import largest_value
from designspace.data.presets import Preset
from designspace.models.info import OWN_LICENCE, ModelInfo
from designspace.networks.network import Network

LIBRARY = "designspace"
"""Name of this library on the hub, and ``model_type`` of its networks in transformers."""
TIMM_ARCHITECTURE = "designspace_network"
"""Name of the architecture in timm that builds any network (see `designspace.integrations.timm`)."""
PIPELINE = "image-classification"
DERIVED_LICENCE = "that of the initial weights: "
"""Beginning of the licence of weights that were fine-tuned."""
_HUB_LICENCES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "eupl-1.2", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1",
    "lgpl-3.0", "mit", "mpl-2.0", "openrail", "unlicense", "unknown",
}  # fmt: skip
"""Licences for which the hub has an id: their SPDX identifier in lower case."""
_HUB_DATASETS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "imagenet": "ILSVRC/imagenet-1k",
}
"""Ids of our data sets on the hub."""


def card_head(network: Network, info: ModelInfo) -> str:
    """Return the YAML head of a model card, between lines of three hyphens."""
    values: dict[str, Any] = {
        **licence_fields(info.licence),
        "library_name": LIBRARY,
        "pipeline_tag": PIPELINE,
        "tags": [LIBRARY, "network-design-spaces", PIPELINE],
    }
    data = _data_name(info)
    if data in _HUB_DATASETS:
        values["datasets"] = [_HUB_DATASETS[data]]
    if metrics := _metrics(info):
        values["metrics"] = ["accuracy"]
        dataset = {"name": data, "type": _HUB_DATASETS.get(data, data), "split": "test"}
        result = {"task": {"type": PIPELINE}, "dataset": dataset, "metrics": metrics}
        values["model-index"] = [{"name": info.name, "results": [result]}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def licence_fields(licence: str) -> dict[str, str]:
    """Return the hub's fields for a licence; no fields if it has not been chosen yet.

    >>> licence_fields("BSD-3-Clause"), licence_fields("SEER licence (not commercial)")
    ({'license': 'bsd-3-clause'}, {'license': 'other', 'license_name': 'seer-licence-not-commercial'})
    """
    licence = licence.rpartition(DERIVED_LICENCE)[2]  # weights may have been fine-tuned several times
    if licence == OWN_LICENCE:
        return {}
    if licence.lower() in _HUB_LICENCES:
        return {"license": licence.lower()}
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
    return {"license": "other", "license_name": name or "unnamed"}


def model_config(network: Network, info: ModelInfo, weights_file: str) -> dict[str, Any]:
    """Return the content of ``config.json``; ``weights_file`` is the name of the file with the weights."""
    fields = json.loads(network.to_json())
    config = {
        "library_name": LIBRARY,
        "model_type": LIBRARY,
        "transformers_weights": weights_file,
        "network": fields,
        "architecture": TIMM_ARCHITECTURE,
        "num_classes": network.num_classes,
        "num_features": network.stages[-1].width,
        "model_args": {"network": fields},
        "pretrained_cfg": {**timm_preprocessing(network, info), "hf_hub_filename": weights_file},
    }
    if info.classes:
        config["label_names"] = list(info.classes)
    return config


def timm_preprocessing(network: Network, info: ModelInfo) -> dict[str, Any]:
    """Return the fields of timm's ``PretrainedCfg`` that describe weights and how to prepare images for them."""
    preset = info.preset
    return {
        "input_size": [network.in_channels, preset.crop, preset.crop],
        "crop_pct": crop_fraction(preset),
        "interpolation": preset.interpolation,
        "mean": list(preset.mean),
        "std": list(preset.std),
        "num_classes": network.num_classes,
        "first_conv": "stem.conv1.conv" if network.stem.kind in ("resnet", "deep") else "stem.conv",
        "classifier": "head.classifier",
        "license": info.licence,
    }


def image_processor_config(preset: Preset) -> dict[str, Any]:
    """Return the content of ``preprocessor_config.json``, from which transformers makes an image processor."""
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": len(preset.mean) == 3,
        "do_resize": True,
        "size": {"shortest_edge": preset.resize},
        "resample": {"bilinear": 2, "bicubic": 3}[preset.interpolation],  # as Pillow numbers them
        "do_center_crop": True,
        "crop_size": {"height": preset.crop, "width": preset.crop},
        "do_rescale": preset.dtype != "float32",
        "rescale_factor": 1 / largest_value(preset.dtype),
        "do_normalize": True,
        "image_mean": list(preset.mean),
        "image_std": list(preset.std),
    }


def crop_fraction(preset: Preset) -> float:
    """Return timm's ``crop_pct``, from which timm computes the size after resizing as floor(crop / crop_pct).

    >>> crop_fraction(Preset(crop=224, resize=256))
    0.875
    """
    fraction = preset.crop / preset.resize
    while math.floor(preset.crop / fraction) < preset.resize:  # by rounding
        fraction = math.nextafter(fraction, 0)
    return fraction


def _data_name(info: ModelInfo) -> str:
    """Return the name of the data set on which a model was trained."""
    return "imagenet" if info.published is not None else str(info.recipe.get("data", "unknown"))


def _metrics(info: ModelInfo) -> list[dict[str, Any]]:
    """Return the measured accuracies as fractions, in the form of the hub's model index."""
    accuracies: list[tuple[str, float | None]] = []
    if info.result is not None and info.result.metric is not None:
        metric = info.result.metric
        return [{"type": metric.name, "name": metric.label, "value": info.result.final_error}]
    if info.result is not None:
        accuracies = [("top-1 accuracy", 100 - info.result.final_error)]
    elif info.published is not None:
        accuracies = [("top-1 accuracy", info.published.top1), ("top-5 accuracy", info.published.top5)]
    return [
        {"type": "accuracy", "name": name, "value": round(value / 100, 6)}
        for name, value in accuracies
        if value is not None
    ]
