"""Our networks in transformers: importing this module registers them with ``AutoConfig`` and the classes of models.

``AutoBackbone`` then builds a backbone for detectors and segmenters, and ``AutoModelForImageClassification`` a
classifier. Both read repositories that `designspace.integrations.huggingface.push_to_hub` wrote, and what their own
``save_pretrained`` wrote; their classes here also read model folders.
"""

# transformers does not annotate its decorators and hooks.
# mypy: disable-error-code="no-untyped-call, untyped-decorator"

from __future__ import annotations

import copy
import dataclasses
import json
import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin, filter_output_hidden_states
from transformers.modeling_outputs import BackboneOutput, ImageClassifierOutputWithNoAttention
from transformers.utils.generic import can_return_tuple

from designspace.library.backbones import NetworkSource, find_model
from designspace.library.metadata import LIBRARY
from designspace.models import AnyNet, Backbone
from designspace.models.zoo import Pretrained
from designspace.networks import catalog
from designspace.networks.network import Network
from designspace.support.errors import InputError, RunError

__all__ = ["DesignspaceBackbone", "DesignspaceConfig", "DesignspaceForImageClassification"]
_DEFAULT = "resnest50"
"""Network of a configuration without one."""
_KEYS_OF_FOLDERS = ("architecture", "library_name", "model_args", "num_classes", "num_features", "pretrained_cfg")
"""Keys of a model folder's ``config.json`` that are for timm and the hub."""


class DesignspaceConfig(BackboneConfigMixin, PreTrainedConfig):
    """Configuration of a network in transformers.

    Args:
        network: the network as parsed JSON (`Network.to_json`); None for ResNeSt-50.
        num_channels: channels of the images; None for those of the network.
        output_stride: ratio of the image's size to that of the last feature map; None for that of the network.
        kwargs: ``out_features`` or ``out_indices``: the feature maps of a backbone, by name (``"stem"``, ``"stage1"``,
            ...) or index; ``num_labels`` or ``id2label``: the classes, by default those of the network.

    Raises:
        InputError: no network can be built from these values.
    """

    model_type = LIBRARY

    network: dict[str, Any] | None = None
    num_channels: int | None = None
    output_stride: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        network = catalog.get(_DEFAULT) if self.network is None else Network.from_dict(copy.deepcopy(self.network))
        self.network = json.loads(network.to_json())
        self.num_channels = network.in_channels if self.num_channels is None else self.num_channels
        self.stage_names = ["stem", *(f"stage{number}" for number in range(1, 1 + len(network.stages)))]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        for name in _KEYS_OF_FOLDERS:
            kwargs.pop(name, None)
        classes = kwargs.pop("label_names", None)
        if self.id2label is None and "num_labels" not in kwargs:
            if classes:
                self.id2label = dict(enumerate(classes))
                self.label2id = {name: number for number, name in enumerate(classes)}
            else:
                kwargs["num_labels"] = network.num_classes
        super().__post_init__(**kwargs)

    def to_network(self) -> Network:
        """Return the network with the numbers of classes and channels of the configuration."""
        network, classes, channels = Network.from_dict(copy.deepcopy(self.network)), self.num_labels, self.num_channels
        assert classes is not None
        assert channels is not None
        return dataclasses.replace(network, num_classes=classes, in_channels=channels)


class _DesignspaceModel(PreTrainedModel):
    """Base class of backbone and classifier: initial weights, and loading that never leaves a weight random."""

    config_class = DesignspaceConfig
    main_input_name = "pixel_values"
    input_modalities = "image"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Set the weights of a layer to their initial values, as `designspace.models.layers.initialise` does."""
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=0.01)
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            for buffer, set_values in (
                (module.running_mean, init.zeros_),
                (module.running_var, init.ones_),
                (module.num_batches_tracked, init.zeros_),
            ):
                assert buffer is not None
                set_values(buffer)
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            init.zeros_(module.bias)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # with output_loading_info the result is a tuple
        cls, source: Any, *args: Any, ignore_mismatched_sizes: bool = False, **options: Any
    ) -> Any:
        """Load a model as transformers does, from a repository or a folder of this library or of ``save_pretrained``.

        Raises:
            RunError: weights are missing, surplus or of another shape, of which transformers would only warn. With
                ``ignore_mismatched_sizes=True`` a classifier for other labels is initialised anew.
        """
        with_info = options.pop("output_loading_info", False)
        loaded: Any = super().from_pretrained(
            source, *args, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
        model, info = loaded
        problems = [f"{name} is missing" for name in sorted(info["missing_keys"])]
        problems += [f"{name} is surplus" for name in sorted(info["unexpected_keys"])]
        problems += [
            f"{name} has shape {tuple(found)}, not {tuple(expected)}"
            for name, found, expected in sorted(info["mismatched_keys"])
            if not (ignore_mismatched_sizes and name.startswith("head.classifier."))
        ]
        if problems:
            raise RunError(f"{source} does not have the weights of this network: {problems[0]}")
        return (model, info) if with_info else model

    @classmethod
    def from_network(cls, source: NetworkSource, *, weights: Pretrained = True, **options: Any) -> Self:
        """Build a model from a network under any name, with its weights.

        Args:
            source: the network, as in `designspace.library.backbone`.
            weights: as in `designspace.library.backbone`.
            options: ``out_features``, ``out_indices`` and other fields of `DesignspaceConfig`.

        Raises:
            InputError: the network, its weights or an option does not exist.
            RunError: a file is missing or damaged, or weights cannot be fetched.
        """
        for name in ("network", "num_labels", "id2label", "num_channels"):
            if name in options:
                raise InputError(f"{name} is that of the network: leave it out, or change the network")
        model = find_model(source, weights=weights)
        if model.weights is not None and model.weights.classes:
            options["label_names"] = model.weights.classes
        config = DesignspaceConfig(network=json.loads(model.network.to_json()), **options)
        own = cls(config)
        names = own.state_dict().keys()
        own.load_state_dict({name: value for name, value in model.state_dict().items() if name in names})
        evaluated: Self = own.eval()
        return evaluated

    def save_pretrained(self, *args: Any, **options: Any) -> None:
        """Save the model in the form of transformers: ``config.json`` and ``model.safetensors``."""
        if hasattr(self.config, "transformers_weights"):
            del self.config.transformers_weights  # the name of the file in a model folder
        super().save_pretrained(*args, **options)


class DesignspaceBackbone(BackboneMixin, _DesignspaceModel):
    """A network as a backbone of transformers: ``pixel_values`` (N, C, H, W) -> feature maps, the largest first.

    The weights have the same names as in `AnyNet`, without those of the head.
    """

    has_attentions = False
    _keys_to_ignore_on_load_unexpected = [r"^head\."]  # noqa: RUF012  (transformers' own form)

    def __init__(self, config: DesignspaceConfig) -> None:
        super().__init__(config)
        backbone = Backbone(AnyNet(config.to_network(), output_stride=config.output_stride))
        self.stem, self.stages = backbone.stem, backbone.stages
        self.num_features = [entry.channels for entry in backbone.feature_info.features]
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs: Any) -> BackboneOutput:
        """Map images to a ``BackboneOutput``: ``feature_maps`` of ``out_features``, and ``hidden_states`` of all.

        Args:
            pixel_values: images (N, num_channels, H, W).
            output_hidden_states: whether to return the maps of all stages too.
            kwargs: ``return_dict=False`` for a tuple, as in all models of transformers.
        """
        maps = self._maps(pixel_values)
        chosen: Any = tuple(maps[self.stage_names.index(name)] for name in self.out_features)
        return BackboneOutput(feature_maps=chosen, hidden_states=maps if output_hidden_states else None)

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return all feature maps: that of the stem before its pool, and one per stage."""
        maps = []
        for name, layer in self.stem.named_children():
            if name == "pool":
                maps.append(x)
            x = layer(x)
        maps += [] if maps else [x]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class DesignspaceForImageClassification(_DesignspaceModel):
    """A network as a classifier of transformers: ``pixel_values`` (N, C, H, W) -> logits (N, num_labels).

    The weights have the same names as in `AnyNet`.
    """

    def __init__(self, config: DesignspaceConfig) -> None:
        super().__init__(config)
        model = AnyNet(config.to_network(), output_stride=config.output_stride)
        self.num_labels = config.num_labels
        self.stem, self.stages, self.head = model.stem, model.stages, model.head
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """Map images to logits, and with ``labels`` (N) also to the loss.

        Args:
            pixel_values: images (N, num_channels, H, W).
            labels: classes of the images.
            kwargs: ``return_dict=False`` for a tuple, as in all models of transformers.
        """
        logits = self.head(self.stages(self.stem(pixel_values)))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


AutoConfig.register(LIBRARY, DesignspaceConfig)
AutoBackbone.register(DesignspaceConfig, DesignspaceBackbone)
AutoModelForImageClassification.register(DesignspaceConfig, DesignspaceForImageClassification)
