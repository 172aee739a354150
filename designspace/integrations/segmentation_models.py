"""Our networks as encoders of segmentation_models_pytorch; importing this module registers the published ones.

``smp.Unet("designspace-resnest50", encoder_weights="imagenet")`` then works, and so do FPN, DeepLabV3+ and the others.
`register_encoder` adds a network of your own under a name.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

from designspace.data.presets import Preset
from designspace.library.backbones import NetworkSource, find_model, is_published_name
from designspace.models import AnyNet, Backbone, list_models
from designspace.models.anynet import total_stride
from designspace.models.layers import initialise
from designspace.models.weights import adapt_weights, available, default_preset, find_weights
from designspace.networks import catalog, stems
from designspace.networks.network import Network
from designspace.support.checks import whole
from designspace.support.errors import InputError

PREFIX = "designspace-"
"""Prefix of the names of published networks among the encoders."""
TRAINED = "trained"
"""Value of ``encoder_weights`` for the weights of a folder, a run or a module."""
MAX_DEPTH = 5
NO_DILATION = 32
"""``output_stride`` with which segmentation_models_pytorch leaves an encoder as it is."""
__all__ = ["Encoder", "register_encoder"]


class Encoder(Backbone, EncoderMixin):  # type: ignore[misc]  # an untyped base
    """A network as an encoder: images (N, C, H, W) -> images and feature maps of strides 2, 4, ..., 2^depth.

    Args:
        network: the network.
        depth: number of feature maps, 3 to 5 for most decoders.
        output_stride: stride of the last map; strides beyond it are replaced by dilation.

    Raises:
        InputError: the network has no feature map of one of the strides, or cannot have this output stride.
    """

    def __init__(self, network: Network, depth: int = MAX_DEPTH, output_stride: int = NO_DILATION) -> None:
        indices = _indices(network, whole("encoder_depth", depth, 1, MAX_DEPTH))
        total = total_stride(network, len(network.stages))
        model = AnyNet(network, output_stride=output_stride if output_stride < total else None)
        Backbone.__init__(self, model, indices)
        self._depth, self._in_channels, self._output_stride = depth, network.in_channels, output_stride
        self._out_channels = [network.in_channels, *self.feature_info.channels()]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, C, H, W) to the images and ``depth`` feature maps, the largest first."""
        return [x, *Backbone.forward(self, x)]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Change the number of channels of the images.

        Weights for three channels are adapted as in `designspace.models.create_model`. Without ``pretrained`` the first
        convolution gets initial weights.

        Raises:
            InputError: weights that are not for three channels would have to be adapted.
        """
        if in_channels == self._in_channels:
            return
        name, conv = next((n, m) for n, m in self.stem.named_modules() if isinstance(m, nn.Conv2d))
        if pretrained:
            key = f"stem.{name}.weight"
            weight = adapt_weights({key: conv.weight.detach()}, num_classes=0, in_channels=in_channels)[key]
        else:
            fresh = nn.Conv2d(in_channels, conv.out_channels, conv.kernel_size[0])
            with torch.no_grad():
                initialise(fresh, torch.Generator().manual_seed(0))
            weight = fresh.weight.detach()
        conv.in_channels, conv.weight = in_channels, nn.Parameter(weight)
        self.network = dataclasses.replace(self.network, in_channels=in_channels)
        self._in_channels = in_channels
        self._out_channels = [in_channels, *self._out_channels[1:]]

    def make_dilated(self, output_stride: int) -> None:
        """Do nothing: the network was built with its output stride."""

    def get_stages(self) -> dict[int, list[nn.Module]]:
        """Return the stages whose output has each stride without dilation."""
        stages: dict[int, list[nn.Module]] = {}
        for number, stage in enumerate(self.stages, start=1):
            stages.setdefault(total_stride(self.network, number), []).append(stage)
        return stages

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Load weights of the whole network; those of the head and of stages after the last map are left out."""
        unused = ("head.", *(f"stages.{number}." for number in range(len(self.stages), len(self.network.stages))))
        state = {name: value for name, value in state_dict.items() if not name.startswith(unused)}
        return super().load_state_dict(state, *args, **options)


def register_encoder(name: str, source: NetworkSource, weights: Mapping[str, Any] | None = None) -> None:
    """Register a network as an encoder of segmentation_models_pytorch.

    Args:
        name: name of the encoder.
        source: the network, as in `designspace.library.backbone`. The weights of a folder, a run or a module are loaded
            with ``encoder_weights="trained"``.
        weights: for a published network, sources of weights by value of ``encoder_weights``; None for its published
            ones: ``"imagenet"`` for the default, and each tag, such as ``"timm:in1k"``.

    Raises:
        InputError: the network does not exist, or an encoder of another kind has this name.
        RunError: a file is missing or damaged.
    """
    encoders: dict[str, dict[str, Any]] = smp.encoders.encoders
    if name in encoders and encoders[name]["encoder"] is not Encoder:
        raise InputError(f"segmentation_models_pytorch has an encoder {name!r} of its own: choose another name")
    if name.startswith(("tu-", "timm-")):
        raise InputError(f"segmentation_models_pytorch looks for {name!r} in timm: choose a name without that prefix")
    settings: Mapping[str, Any] = {}
    if isinstance(source, Network):
        network = source
    elif is_published_name(source):
        network = catalog.get(source)
        settings = weights if weights is not None else _published_settings(source)
    else:
        network, settings = find_model(source).network, {TRAINED: True}
    _sources[name] = source, settings
    encoders[name] = {
        "encoder": Encoder,
        "params": {"network": network},
        "pretrained_settings": {value: {"repo_id": f"{_SCHEME}{name}", "revision": value} for value in settings},
    }


_SCHEME = "designspace://"
"""Beginning of the addresses of our weights, where segmentation_models_pytorch has repositories of a hub."""
_sources: dict[str, tuple[NetworkSource, Mapping[str, Any]]] = {}
"""Networks of the registered encoders, and their sources of weights by value of ``encoder_weights``."""


def _published_settings(name: str) -> dict[str, Any]:
    """Return the sources of a published network's weights by value of ``encoder_weights``."""
    tags = {file.qualified_tag: file.qualified_tag for file in available(name)}
    return {"imagenet": True, **tags} if tags else {}


def _has_all_maps(network: Network) -> bool:
    """Return whether a network has feature maps of strides 2, 4, ..., 32, unlike ConvNeXt and ShuffleNetV2."""
    stem = stems.get(network.stem.kind)
    first = stem.stride // 2 if stem.has_pool else stem.stride
    strides = {first, *(total_stride(network, stages) for stages in range(1, len(network.stages) + 1))}
    return all(2**k in strides for k in range(1, MAX_DEPTH + 1))


def _indices(network: Network, depth: int) -> list[int]:
    """Return the indices of the feature maps with strides 2, 4, ..., 2^depth: of each stride the last one.

    Raises:
        InputError: a stride is missing.
    """
    strides = [entry["reduction"] for entry in Backbone(_skeleton(network)).feature_info.get_dicts()]
    last = {int(stride): index for index, stride in enumerate(strides)}
    fitting = next((k for k in range(MAX_DEPTH) if 2 ** (k + 1) not in last), MAX_DEPTH)
    if depth > fitting:
        advice = f"use encoder_depth={fitting} or less" if fitting else "it cannot be an encoder"
        raise InputError(
            f"an encoder of depth {depth} needs feature maps of strides 2 to {2**depth}, but network {network.id} has "
            f"those of strides {', '.join(str(stride) for stride in sorted(last))}: {advice}"
        )
    return [last[2 ** (k + 1)] for k in range(depth)]


def _skeleton(network: Network) -> AnyNet:
    """Return the module of a network without memory for its weights."""
    with torch.device("meta"):
        return AnyNet(network)


@functools.cache
def _temporary_folder() -> Path:
    """Return a folder that is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="designspace-encoders-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


_download = smp.encoders.hf_hub_download


def hf_hub_download(repo_id: str, filename: str, **options: Any) -> str:
    """Return the path of a file of weights, as the hub's function of this name does, which it replaces in smp.

    ``smp.encoders.get_encoder`` and ``get_preprocessing_params`` call it for ``config.json`` and ``model.safetensors``.
    For our encoders, these files are written from weights that our own code fetched, checked and converted.

    Raises:
        InputError: the weights do not exist, or are for another network.
        RunError: the weights cannot be fetched, or their file is damaged.
    """
    if not repo_id.startswith(_SCHEME):
        return str(_download(repo_id, filename=filename, **options))
    name, value = repo_id.removeprefix(_SCHEME), str(options["revision"])
    source, settings = _sources[name]
    path = _temporary_folder() / hashlib.sha256(f"{name} {value}".encode()).hexdigest()[:16] / filename
    path.parent.mkdir(exist_ok=True)
    if filename == "config.json":
        preset = _preset(source, settings[value])
        fields = {"input_space": "RGB", "input_range": [0, 1]}
        path.write_text(json.dumps(fields if preset is None else {**fields, "mean": preset.mean, "std": preset.std}))
    else:
        state = find_model(source, weights=settings[value]).state_dict()
        safetensors.torch.save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return str(path)


def _preset(source: NetworkSource, weight_source: Any) -> Preset | None:
    """Return how images must be prepared for weights; None if it is not known."""
    if is_published_name(source):
        tags = [file.qualified_tag for file in available(source)]
        return find_weights(source, weight_source).preset if weight_source in tags else default_preset(source)
    info = find_model(source).weights
    return None if info is None else info.preset


smp.encoders.hf_hub_download = hf_hub_download
for _name in list_models():
    if _has_all_maps(catalog.get(_name)):
        register_encoder(f"{PREFIX}{_name}", _name)
