"""Our networks as backbones of MMDetection, MMSegmentation and whatever else is built on MMEngine.

``custom_imports = dict(imports=["designspace.integrations.openmmlab"])`` in a configuration registers `AnyNet`, which
``type="designspace.AnyNet"`` then builds in the registry of any of these libraries.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from designspace.integrations.sources import load_weights_into, resolve_source, translate_keys
from designspace.library.backbones import NetworkSource, find_model
from designspace.models import Backbone
from designspace.models.norms import convert_norms
from designspace.models.weights import load_layout, read_state_dict
from designspace.models.weights.wrappers import state_dict_in
from designspace.models.zoo import Pretrained
from designspace.networks.network import Network
from designspace.support.checks import flag, mapping, whole
from designspace.support.errors import InputError, RunError, unknown
from designspace.support.folders import expanded

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # mmengine 0.10 imports parts of torch that warn
        from mmengine.model import BaseModule
        from mmengine.model.weight_init import PretrainedInit
        from mmengine.registry import MODELS as MMENGINE_MODELS
        from mmengine.registry import Registry
except ImportError as error:
    raise ImportError(
        f"designspace.integrations.openmmlab needs MMEngine ({error}): pip install network-design-spaces[openmmlab]"
    ) from error

log = logging.getLogger(__name__)

MODELS = Registry("model", parent=MMENGINE_MODELS, scope="designspace")
"""Our registry, a child of MMEngine's like those of MMDetection and MMSegmentation."""
NORM_TYPES = {"BN": "batch", "BN2d": "batch", "SyncBN": "sync", "MMSyncBN": "sync", "FrozenBN": "frozen"}
"""Types of ``norm_cfg`` -> kinds in `designspace.models.norms.NORMS`."""


@MODELS.register_module()
class AnyNet(Backbone, BaseModule):  # type: ignore[misc]
    """A backbone with the arguments of MMDetection's: images (N, C, H, W) -> a tuple of maps, the largest first.

    The names of its weights are those of `designspace.models.AnyNet`; checkpoints of detectors with MMDetection's own
    RegNet, ResNet or ResNeSt load nevertheless, and are converted. As usual in MMEngine, a module has random weights
    until `init_weights` is called, which a ``Runner`` does before training.

    Args:
        network: a published network by name (also in MMDetection's spelling, such as ``"regnetx_3.2gf"``); a model
            folder or run folder, for its best network; a `Network`; or the ``arch`` of MMDetection's RegNet, a dict
            with ``w0``, ``wa``, ``wm``, ``depth``, ``group_w`` and ``bot_mul``.
        out_indices: indices of the stages whose maps are returned: 0 for the first stage, as in MMDetection. None for
            all stages.
        frozen_stages: -1 to train everything, 0 to freeze the stem, 1 also the first stage, and so on.
        norm_eval: keep batch-norms in evaluation mode during training, MMDetection's default. Use False to train from
            scratch, and with ``SyncBN``.
        norm_cfg: ``type``, one of `NORM_TYPES`, and optionally ``requires_grad``. None for ordinary batch-norms.
        weights: weights that `init_weights` loads: True for those that the network has, which are the default of a
            named network without ``init_cfg``; a file, source or URL as in `designspace.models.create_model`; False
            for none.
        bgr: whether images are in the order blue, green, red (``bgr_to_rgb=False`` in the data preprocessor). Their
            channels are then reversed, because all our weights are for red, green, blue.
        with_cp: save memory by recomputing blocks in the backward pass.
        init_cfg: as of any module of MMEngine. With ``type="Pretrained"`` the file may have our keys, MMDetection's, or
            those of another program in `designspace.models.weights.SOURCES`, with any prefix; it must have all weights
            of the backbone, and no others with their prefix. ``bgr`` tells whether the file's weights are for blue,
            green, red, if that differs from the program's custom (see `designspace.models.weights.to_layout`).
        options: options of `designspace.models.AnyNet`, such as ``output_stride`` or ``drop_path``.

    Raises:
        InputError: the network or an option does not exist, or a value is out of range.
    """

    def __init__(
        self,
        network: NetworkSource | Mapping[str, Any],
        *,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = True,
        norm_cfg: Mapping[str, Any] | None = None,
        weights: Pretrained | None = None,
        bgr: bool = False,
        with_cp: bool = False,
        init_cfg: Any = None,
        **options: Any,
    ) -> None:
        if options.pop("style", "pytorch") != "pytorch":
            raise InputError('style must be "pytorch": strides are in the 3x3 convolutions')
        source = resolve_source(network)
        if with_cp:
            options["checkpointing"] = True
        model = find_model(source, weights=False, **options)
        super().__init__(model, _indices(out_indices, len(model.network.stages)))
        self.init_cfg, self.norm_eval, self.bgr = _checked_init(init_cfg, weights), norm_eval, bgr
        self.source = source
        if weights is None:
            weights = self.init_cfg is None and not isinstance(source, Network)
        self.source_weights = weights
        self.freeze(1 + whole("frozen_stages", frozen_stages, -1, len(self.stages)))
        _apply_norms(self, norm_cfg)
        if norm_eval and not weights and self.init_cfg is None:
            log.warning("norm_eval=True with random weights: batch-norms never adapt; to train from scratch, use False")

    def init_weights(self) -> None:
        """Load the weights, or initialise them as ``init_cfg`` says.

        Raises:
            InputError: the weights are those of another network; the error lists the differences.
            RunError: a file is missing or damaged, or weights cannot be fetched.
        """
        init_cfg = self.init_cfg
        configs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or [])
        pretrained = [config for config in configs if _is_pretrained(config)]
        is_first = not self.is_init
        self.init_cfg = [config for config in configs if not _is_pretrained(config)] or None
        try:
            super().init_weights()
        finally:
            self.init_cfg = init_cfg
        if not is_first:
            return
        if self.source_weights:
            load_weights_into(self, self.source, self.source_weights)
        for config in pretrained:
            _load_pretrained(self, config)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        translate_keys(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Map images (N, C, H, W) to a tuple of feature maps (N, channels, H', W')."""
        return tuple(super().forward(x.flip(1) if self.bgr else x))

    def train(self, mode: bool = True) -> AnyNet:
        """Set the mode of the module; with ``norm_eval`` its batch-norms stay in evaluation mode."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _indices(out_indices: Sequence[int] | None, stages: int) -> list[int]:
    """Return indices of stages as those of `Backbone`, whose first map is the stem's."""
    if out_indices is None:
        return list(range(1, stages + 1))
    if isinstance(out_indices, int | str):
        raise InputError(f"out_indices must be a list of indices of stages, not {out_indices!r}")
    checked = [whole("out_indices", index, -stages, stages - 1) for index in out_indices]
    return [index + 1 if index >= 0 else index + stages + 1 for index in checked]


def _apply_norms(module: nn.Module, norm_cfg: Mapping[str, Any] | None) -> None:
    """Make the batch-norms of a module those of a ``norm_cfg``; frozen ones stay frozen."""
    values = dict(mapping("norm_cfg", dict(norm_cfg or {}), ("type", "requires_grad")))
    kind = values.get("type", "BN")
    if kind not in NORM_TYPES:
        raise unknown("type of norm_cfg", kind, NORM_TYPES)
    convert_norms(module, NORM_TYPES[kind])
    if not flag("requires_grad", values.get("requires_grad", True)):
        for norm in module.modules():
            if isinstance(norm, _BatchNorm):
                norm.requires_grad_(False)


def _is_pretrained(config: Mapping[str, Any]) -> bool:
    """Return whether an ``init_cfg`` loads a file."""
    return config.get("type") in ("Pretrained", PretrainedInit)


def _checked_init(init_cfg: Any, weights: Pretrained | None) -> Any:
    """Return an ``init_cfg`` after checking what `AnyNet` itself reads of it."""
    configs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or [])
    for config in configs:
        if _is_pretrained(config):
            allowed = ("type", "checkpoint", "prefix", "map_location", "bgr")
            mapping("init_cfg", dict(config), allowed, ("type", "checkpoint"))
            if weights:
                raise InputError("give the weights either as weights=... or as init_cfg, not as both")
    return init_cfg


def _load_pretrained(module: Backbone, config: Mapping[str, Any]) -> None:
    """Load the file of an ``init_cfg`` of type ``Pretrained``."""
    checkpoint, prefix = str(config["checkpoint"]), config.get("prefix")
    state = _read(checkpoint)
    if prefix:
        prefix = prefix if prefix.endswith(".") else f"{prefix}."
        state = {key.removeprefix(prefix): value for key, value in state.items() if str(key).startswith(prefix)}
        if not state:
            raise InputError(f"{checkpoint} has no weights with the prefix {prefix!r}")
    try:
        load_layout(module, state, bgr=config.get("bgr"))
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    log.info("loaded the weights of %s", checkpoint)


def _read(checkpoint: str) -> dict[str, Tensor]:
    """Return the weights in a file, or in what MMEngine finds at an address such as ``open-mmlab://resnest50``."""
    if "://" not in checkpoint:
        path = expanded(Path(checkpoint))
        if not path.exists():
            raise RunError(f"there is no file {path}")
        return read_state_dict(path)
    from mmengine.runner.checkpoint import CheckpointLoader  # imports OpenCV, which nothing else here needs

    state: dict[str, Tensor] = state_dict_in(CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu"))
    return state
