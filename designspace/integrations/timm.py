"""Our networks in timm: ``import designspace.integrations.timm`` registers them.

Names that ``timm.create_model`` then accepts:

- ``designspace_<name>`` for every published network, such as ``designspace_resnest50``, with tags for its weights, such
  as ``designspace_resnest50.timm_in1k``;
- ``designspace/<folder>`` for a model folder or the best network of a run folder, such as ``designspace/runs/best``;
- ``local-dir:<folder>`` and ``hf-hub:<repository>`` for a model folder that has a ``config.json``.

As everywhere in timm, weights are loaded with ``pretrained=True`` only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from timm.models import _factory, build_model_with_cfg, generate_default_cfgs, is_model, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from designspace.integrations.timm_configs import PREFIX, published_configs, timm_config
from designspace.library.loading import load
from designspace.library.metadata import TIMM_ARCHITECTURE
from designspace.models import AnyNet, Backbone, list_models, weights
from designspace.models.checkpointing import CheckpointedSequential
from designspace.models.heads import Head
from designspace.models.info import published_info
from designspace.models.layers import global_average, initialise
from designspace.models.weights.keys import detect, infer_sizes
from designspace.networks import catalog
from designspace.networks.network import Network
from designspace.support.errors import InputError, suggest, unknown

FOLDER_PREFIX = "designspace/"
"""Prefix of a model folder or run folder in place of a name."""
_CLASSIFIER = "head.classifier."
__all__ = ["TimmNetwork", "designspace_network", "parse_model_name"]  # timm adds the names that it registers
_ARGUMENTS = {
    "num_classes": "num_classes",
    "in_chans": "in_channels",
    "drop_rate": "dropout",
    "drop_path_rate": "drop_path",
    "drop_block_rate": "drop_block",
    "output_stride": "output_stride",
    "zero_init_last": "zero_init_residual",
    "seed": "seed",
}
"""Names of our options in timm. ``global_pool`` and the arguments of feature extraction are accepted too."""
_FEATURE_ARGUMENTS = ("out_indices", "feature_cls")


class TimmNetwork(AnyNet):
    """An `AnyNet` with timm's methods and attributes; the weights have the same names.

    Args:
        network: the network; its numbers of classes and channels are those of the arguments, if they are given.
        published: name of the published network; None for others.
        cache_dir: folder for downloads of published weights; None for `designspace.support.folders.default_root`.
        num_classes: outputs of the classifier; 0 for none, so that the output is the pooled features.
        in_chans: channels of the images.
        global_pool: ``"avg"``; or ``""`` to return feature maps (N, C, H, W), which needs ``num_classes=0``.
        device: device of the module.
        dtype: type of its weights.
        options: ``drop_rate``, ``drop_path_rate``, ``drop_block_rate``, ``output_stride``, ``zero_init_last`` and
            ``seed``; the defaults are those of `AnyNet`.

    Raises:
        InputError: an argument does not exist or is out of range.
    """

    if TYPE_CHECKING:
        pretrained_cfg: dict[str, Any]  # timm sets it
        head: Head

    def __init__(
        self,
        network: Network,
        published: str | None = None,
        cache_dir: str | Path | None = None,
        *,
        global_pool: str = "avg",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        for name in options:
            if name in _FEATURE_ARGUMENTS:
                raise InputError(f"{name} is for feature maps: add features_only=True")
            if name not in _ARGUMENTS:
                allowed = (*_ARGUMENTS, "global_pool", "features_only", *_FEATURE_ARGUMENTS)
                raise InputError(f"unknown argument {name!r} of a model in timm; {suggest(name, allowed)}")
        if network.head != "linear":
            raise InputError(f"timm's interface needs a network with a linear head, not {network.head}")
        values = {_ARGUMENTS[name]: value for name, value in options.items()}
        sizes = {name: values.pop(name) for name in ("num_classes", "in_channels") if name in values}
        super().__init__(dataclasses.replace(network, **sizes), **values)
        self._published, self._cache = published, None if cache_dir is None else Path(cache_dir)
        self.num_classes, self.in_chans = self.network.num_classes, self.network.in_channels
        self.drop_rate = values.get("dropout", 0.0)
        self.num_features = self.network.stages[-1].width
        self.head_hidden_size = self.network.head_width or self.num_features
        self.global_pool = _check_pool(global_pool, self.num_classes)
        self.feature_info = _feature_info(self)
        self.to(device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_chans, H, W) to logits (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images to the last feature map (N, num_features, H', W')."""
        features: Tensor = self.stages(self.stem(x))
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the last feature map to logits, or with ``pre_logits`` to pooled features (N, head_hidden_size)."""
        x = self.head.conv(x)
        if not self.global_pool:
            return x
        x = self.head.dropout(global_average(x).flatten(1))
        logits: Tensor = x if pre_logits else self.head.classifier(x)
        return logits

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return feature maps (N, C, H', W') of the indices, and the last one unless ``intermediates_only``.

        Args:
            x: images (N, in_chans, H, W).
            indices: indices of ``feature_info``; a number for the last ones; None for all.
            norm: not used: these networks have no final norm.
            stop_early: leave out the stages after the last index.
            output_fmt: ``"NCHW"``.
            intermediates_only: return the feature maps alone.

        Raises:
            InputError: another ``output_fmt``.
        """
        if output_fmt != "NCHW":
            raise unknown("output_fmt", output_fmt, ["NCHW"])
        taken, last = feature_take_indices(len(self.feature_info), indices)
        maps = Backbone(self, range(last + 1) if stop_early else None)(x)
        intermediates = [maps[index] for index in taken]
        return intermediates if intermediates_only else (maps[-1], intermediates)

    def get_classifier(self) -> nn.Module:
        """Return the linear layer that computes the logits."""
        classifier: nn.Module = self.head.classifier
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Exchange the classifier for a new one, or with ``num_classes=0`` remove it."""
        self.global_pool = _check_pool(self.global_pool if global_pool is None else global_pool, num_classes)
        self.network = dataclasses.replace(self.network, num_classes=num_classes)
        self.num_classes = num_classes
        parameter = next(self.parameters())
        classifier = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()
        with torch.no_grad():
            initialise(classifier, torch.Generator().manual_seed(0))
        self.head.classifier = classifier.to(parameter.device, parameter.dtype)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass to save memory; the results are the same."""
        sequence = CheckpointedSequential if enable else nn.Sequential
        self.stages = nn.Sequential(*[sequence(*stage.children()) for stage in self.stages])

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return patterns of weight names that group the layers: by block, or ``coarse`` by stage."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    def load_pretrained(self, location: str, prefix: str = "") -> None:
        """Load published weights or those of a folder; timm calls it for ``pretrained=True``.

        Args:
            location: source of published weights, such as ``"timm:in1k"``; or a model folder or run folder.
            prefix: not used; timm passes it.

        Raises:
            InputError: the weights are not for this network, or cannot be adapted to ``in_chans``.
            RunError: the weights cannot be fetched, or a file is damaged.
        """
        if self._published is None:
            trained = load(location)
            state, info = trained.state_dict(), trained.weights
        else:
            loaded = weights.load_weights(self._published, location, cache=self._cache)
            state = loaded.state
            info = published_info(self._published, loaded, self.in_chans, self.num_classes)
        state = weights.adapt_weights(state, num_classes=self.num_classes, in_channels=self.in_chans)
        kept = {name: value for name, value in self.state_dict().items() if name.startswith(_CLASSIFIER)}
        self.load_state_dict({**kept, **state})
        self.weights = info


def _check_pool(global_pool: str, num_classes: int) -> str:
    """Return the kind of pooling; raise `InputError` unless the head can have it."""
    if global_pool not in ("avg", ""):
        raise unknown("global_pool", global_pool, ["avg", "''"])
    if not global_pool and num_classes:
        raise InputError("global_pool='' returns feature maps, which needs num_classes=0")
    return global_pool


def _feature_info(model: AnyNet) -> list[dict[str, Any]]:
    """Return timm's description of the feature maps: channels, reduction and module of each."""
    entries: list[dict[str, Any]] = [dict(entry) for entry in Backbone(model).feature_info.get_dicts()]
    if entries[0]["module"] == "stem":  # timm's FeatureListNet dissolves containers, so the last layer is named
        entries[0]["module"] = f"stem.{[name for name, _ in model.stem.named_children()][-1]}"
    return entries


def _own_names(state: Mapping[str, Tensor], model: TimmNetwork) -> dict[str, Tensor]:
    """Return the state dict of a file that timm loads, under our names.

    timm itself adapts the classifier and the first convolution, and needs to know for how many classes and channels the
    weights are. It loads what is left without a check, if the classifier is new: so all other names are checked here.

    Raises:
        InputError: the weights are not for this network.
    """
    own: dict[str, Tensor] = dict(state)
    if model._published is not None:
        source = detect(state, model._published)
        classes, channels = infer_sizes(state, model._published, source)
        own = weights.convert(state, name=model._published, source=source, num_classes=classes, in_channels=channels)
    config, expected = model.pretrained_cfg, model.state_dict()
    stem = f"{config['first_conv']}.weight"
    problems = [f"{name} is missing" for name in expected if name not in own and not name.startswith(_CLASSIFIER)]
    problems += [f"{name} is surplus" for name in own if name not in expected and not name.startswith(_CLASSIFIER)]
    problems += [
        f"{name} has shape {tuple(own[name].shape)}, not {tuple(value.shape)}"
        for name, value in expected.items()
        if name in own and own[name].shape != value.shape and name != stem and not name.startswith(_CLASSIFIER)
    ]
    if problems:
        raise InputError(f"these are not the weights of network {model.network.id}: {problems[0]}")
    if f"{_CLASSIFIER}weight" in own:
        config["num_classes"] = len(own[f"{_CLASSIFIER}weight"])
    config["input_size"] = (own[stem].shape[1], *config["input_size"][1:])
    return own


def _create(
    variant: str,
    network: Network,
    published: str | None,
    pretrained: bool,
    cache_dir: str | Path | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build a network as timm builds its own models."""

    def build(**options: Any) -> TimmNetwork:
        return TimmNetwork(network, published, cache_dir, **options)

    parts = 1 + len(network.stages)
    model: nn.Module = build_model_with_cfg(
        build,
        variant,
        pretrained,
        feature_cfg={"out_indices": tuple(range(parts)), "flatten_sequential": True},
        pretrained_filter_fn=_own_names,
        cache_dir=cache_dir,
        **kwargs,
    )
    return model


def designspace_network(
    pretrained: bool = False, network: Network | Mapping[str, Any] | None = None, **kwargs: Any
) -> nn.Module:
    """Build any network: ``timm.create_model("designspace_network", network=...)``.

    ``network`` is a `Network` or its parsed JSON, as in the ``config.json`` of a model folder.

    Raises:
        InputError: ``network`` is missing, or cannot be built.
    """
    if network is None:
        raise InputError(f"{TIMM_ARCHITECTURE} needs an argument network=..., a Network or its parsed JSON")
    value = network if isinstance(network, Network) else Network.from_dict(network)
    if not kwargs.get("pretrained_cfg"):
        kwargs["pretrained_cfg"] = timm_config(value, published_info("resnet50", None, value.in_channels))
    return _create(TIMM_ARCHITECTURE, value, None, pretrained, **kwargs)


def _entry_point(name: str, create: Callable[..., nn.Module], doc: str) -> None:
    """Register a function under a name, as timm's own are."""
    create.__name__ = create.__qualname__ = name
    create.__module__ = __name__
    create.__doc__ = doc
    globals()[name] = create
    register_model(create)


def _register_published(name: str) -> None:
    """Register a published network."""
    variant, network = f"{PREFIX}{name}", catalog.get(name)

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(variant, network, name, pretrained, **kwargs)

    _entry_point(variant, create, f"Build {name} (see `designspace.models.create_model`).")


_folders: dict[str, tuple[Network, dict[str, Any]]] = {}
"""Networks of registered folders, and the configurations of their weights, by name in timm's registry."""


def _register_folder(path: Path) -> str:
    """Register the network of a model folder or run folder, and return its name in timm's registry.

    Raises:
        InputError: the path is not such a folder.
        RunError: a file is missing or damaged.
    """
    trained = load(path)
    network, info = trained.network, trained.weights
    assert info is not None
    absolute = path.resolve()
    digest = hashlib.sha256(f"{absolute} {network.id}".encode(errors="surrogateescape")).hexdigest()[:8]
    name = f"{PREFIX}{re.sub(r'[^a-z0-9]+', '_', absolute.name.lower())}_{digest}"
    _folders[name] = network, timm_config(network, info, file=str(absolute), custom_load=True)
    if is_model(name):
        return name

    def create(pretrained: bool = False, pretrained_cfg: Any = None, **kwargs: Any) -> nn.Module:
        network, config = _folders[name]
        model = _create(name, network, None, pretrained, pretrained_cfg=pretrained_cfg or config, **kwargs)
        vars(model)["_model_args"] = {"network": json.loads(network.to_json())}  # timm's save_for_hf writes it
        return model

    default_cfgs[name] = _folders[name][1]
    _entry_point(name, create, f"Build network {network.id} of {path}.")
    return name


_parse_model_name: Callable[[str], tuple[str | None, str]] = _factory.parse_model_name


def parse_model_name(model_name: str) -> tuple[str | None, str]:
    """Return source and name as timm's function of this name does, which it replaces; register a folder if it is one.

    timm rejects names with a slash, so this does not change the meaning of any name.

    Raises:
        InputError: the name begins with ``designspace/``, but no such folder has a model.
        RunError: a file of the folder is missing or damaged.
    """
    if model_name.startswith(FOLDER_PREFIX):
        model_name = _register_folder(Path(model_name.removeprefix(FOLDER_PREFIX)))
    return _parse_model_name(model_name)


default_cfgs: dict[str, Any] = generate_default_cfgs(published_configs())
"""Configurations of weights by name of the model; timm reads them when a model of this module is registered."""
register_model(designspace_network)
for _name in list_models():
    _register_published(_name)
_factory.parse_model_name = parse_model_name
