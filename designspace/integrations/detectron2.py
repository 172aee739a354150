"""Our networks as backbones of Detectron2, for both kinds of its configurations.

An import registers ``build_designspace_backbone`` and ``build_designspace_fpn_backbone`` with Detectron2, and, for
configurations of the ResNeSt authors' fork, ``build_resnest_backbone`` and ``build_resnest_fpn_backbone``.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from designspace.integrations.sources import load_weights_into, resolve_source, translate_keys
from designspace.library.backbones import NetworkSource, find_model
from designspace.models import Backbone
from designspace.models.anynet import stem_stride
from designspace.models.norms import convert_norms
from designspace.models.zoo import Pretrained
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.checks import whole
from designspace.support.errors import InputError, suggest, unknown

try:
    from detectron2 import model_zoo
    from detectron2.config import CfgNode, get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY, FPN
    from detectron2.modeling import Backbone as Detectron2Backbone
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
except ImportError as error:
    raise ImportError(
        f"designspace.integrations.detectron2 needs Detectron2 ({error}), which is not on PyPI: "
        "pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2"
    ) from error

log = logging.getLogger(__name__)

NORMS = {"BN": "batch", "SyncBN": "sync", "nnSyncBN": "sync", "FrozenBN": "frozen"}
"""Detectron2's names of norms -> kinds in `designspace.models.norms.NORMS`."""
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3), 269: (3, 30, 48, 8)}
"""Blocks per stage by ``MODEL.RESNETS.DEPTH``."""
_RESNEST_KEYS = {"RADIX": 2, "BOTTLENECK_WIDTH": 64, "DEEP_STEM": True, "AVD": True, "AVG_DOWN": True}
"""Keys of ``MODEL.RESNETS`` that only the authors' fork has, with the values of ResNeSt."""
_DEFAULT_STEM_WIDTH = 64
"""Detectron2's default of ``MODEL.RESNETS.STEM_OUT_CHANNELS``."""


class DesignSpaceBackbone(Backbone, Detectron2Backbone):  # type: ignore[misc]
    """A backbone with Detectron2's interface: images (N, C, H, W), of any size -> a dict of feature maps.

    The names of its weights are those of `designspace.models.AnyNet`; checkpoints with the names of Detectron2's RegNet
    and ResNet, or of the fork's ResNeSt, load nevertheless, and are converted.

    Args:
        network: a published network by name; a model folder or run folder, for its best network; a `Network`; or
            MMDetection's parameters of a RegNet (`designspace.integrations.sources.regnet_of`).
        out_features: names of the maps: ``"stem"``, and ``"res2"`` or ``"s1"`` for the first stage, and so on. None for
            the last stage.
        norm: one of `NORMS`.
        freeze_at: number of parts that are not trained: 1 for the stem, 2 also for the first stage, and so on.
        weights: weights to load: True for those that the network has, the default of a named network; a file with the
            keys of any program in `designspace.models.weights.SOURCES`; a source or URL as in
            `designspace.models.create_model`; False for none.
        bgr: whether images are in the order blue, green, red, Detectron2's default ``input_format``. Their channels are
            then reversed, because all our weights are for red, green, blue.
        options: options of `designspace.models.AnyNet`, such as ``output_stride``; for a published network also
            ``in_channels``.

    Raises:
        InputError: the network, its weights, a map or an option does not exist, or a value is out of range.
        RunError: a file is missing or damaged, or weights cannot be fetched.
    """

    def __init__(
        self,
        network: NetworkSource | Mapping[str, Any],
        *,
        out_features: Sequence[str] | None = None,
        norm: str = "BN",
        freeze_at: int = 0,
        weights: Pretrained | None = None,
        bgr: bool = False,
        **options: Any,
    ) -> None:
        source = resolve_source(network)
        model = find_model(source, weights=False, **options)
        numbers = _numbers(out_features, len(model.network.stages))
        super().__init__(model, sorted(set(numbers.values())))
        if norm not in NORMS:
            raise unknown("norm", norm, NORMS)
        if weights is None:
            weights = not isinstance(source, Network)
        if weights:
            load_weights_into(self, source, weights)
        self.bgr = bgr
        self.freeze(whole("freeze_at", freeze_at, 0, 1 + len(self.stages)))
        convert_norms(self, NORMS[norm])
        features = self.feature_info.features
        strides = [stem_stride(self.network.stem), *(feature.reduction for feature in features[1:])]
        self._numbers, self._out_features = numbers, list(numbers)
        self._out_feature_channels = {name: features[number].channels for name, number in numbers.items()}
        self._out_feature_strides = {name: strides[number] for name, number in numbers.items()}

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Map images (N, C, H, W) to feature maps (N, channels, H', W') by name; the stem's is that after its pool."""
        maps = [self.stem(x.flip(1) if self.bgr else x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return {name: maps[number] for name, number in self._numbers.items()}

    def output_shape(self) -> dict[str, Any]:
        """Return channels and stride of each map by name, as ``ShapeSpec``."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        translate_keys(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def add_config(cfg: Any) -> None:
    """Add our keys to a configuration, and those of the ResNeSt authors' fork; to be called before files are merged.

    ``MODEL.DESIGNSPACE`` has ``NETWORK``, ``WEIGHTS``, ``OUT_FEATURES`` and ``OUTPUT_STRIDE``, which are arguments of
    `DesignSpaceBackbone`. ``MODEL.RESNETS`` has ``RADIX``, ``BOTTLENECK_WIDTH``, ``DEEP_STEM``, ``AVD`` and
    ``AVG_DOWN``, with the values of ResNeSt.
    """
    cfg.MODEL.DESIGNSPACE = CfgNode(
        {"NETWORK": None, "WEIGHTS": None, "OUT_FEATURES": ["res2", "res3", "res4", "res5"], "OUTPUT_STRIDE": None}
    )
    for key, value in _RESNEST_KEYS.items():
        if key not in cfg.MODEL.RESNETS:  # the fork has them already
            setattr(cfg.MODEL.RESNETS, key, value)


def read_config(*files: str | Path, options: Sequence[Any] = ()) -> Any:
    """Return a configuration: Detectron2's defaults with our keys, then the files, then ``options``.

    Args:
        files: YAML files, of which later ones prevail. Files of Detectron2's model zoo are found by name, such as
            ``"COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"``.
        options: keys and values in turn, as on the command line of Detectron2's tools.

    Raises:
        InputError: a key does not exist (the error suggests the closest one), or a file.
    """
    cfg = get_cfg()
    add_config(cfg)
    for file in files:
        path = str(file)
        if not Path(path).exists():
            try:
                path = model_zoo.get_config_file(path)
            except RuntimeError as error:
                raise InputError(f"there is no file {file}, and no such file in Detectron2's model zoo") from error
        _merge(cfg, cfg.merge_from_file, path, str(file))
    _merge(cfg, cfg.merge_from_list, list(options), "options")
    return cfg


def resnest_of(cfg: Any, in_channels: int = 3) -> Network:
    """Return the network that ``MODEL.RESNETS`` describes in the words of the ResNeSt authors' fork.

    As in the fork, a ``RADIX`` above 1 implies ``DEEP_STEM``, ``AVD`` and ``AVG_DOWN``, and a ``RADIX`` of 1 is a plain
    3x3 convolution without attention. The deep stem has 64 channels at depth 50 and 128 in deeper networks, unless
    ``STEM_OUT_CHANNELS`` is changed.

    Raises:
        InputError: the network cannot be built here: with deformable convolutions, a dilated last stage, strides in the
            1x1 convolutions, or of another depth.
    """
    resnets = cfg.MODEL.RESNETS
    depth, radix = resnets.DEPTH, resnets.RADIX
    if depth not in DEPTHS:
        raise unknown("MODEL.RESNETS.DEPTH", depth, DEPTHS)
    for key, allowed, reason in (
        ("STRIDE_IN_1X1", (False,), "strides are in the 3x3 convolutions, as in all published ResNeSts"),
        ("RES5_DILATION", (1,), "use build_designspace_backbone with MODEL.DESIGNSPACE.OUTPUT_STRIDE: 16"),
        ("DEFORM_ON_PER_STAGE", ([False] * 4, (False,) * 4), "there are no deformable convolutions"),
    ):
        if resnets[key] not in allowed:
            raise InputError(f"MODEL.RESNETS.{key} must be {allowed[0]}, not {resnets[key]}: {reason}")
    is_resnest = radix > 1
    is_deep = resnets.DEEP_STEM or is_resnest
    stem_width = resnets.STEM_OUT_CHANNELS
    if is_deep and stem_width == _DEFAULT_STEM_WIDTH:
        stem_width = 64 if depth == 50 else 128
    groups, width = resnets.NUM_GROUPS, resnets.RES2_OUT_CHANNELS
    inner = int(groups * resnets.WIDTH_PER_GROUP * resnets.BOTTLENECK_WIDTH / 64) * groups
    stages = tuple(
        Stage(blocks, width * 2**i, 1 if i == 0 else 2, width / inner, inner // groups * 2**i)
        for i, blocks in enumerate(DEPTHS[depth])
    )
    return Network(
        Stem("deep" if is_deep else "resnet", stem_width),
        stages,
        radix=radix if is_resnest else 0,
        shortcut="avg_pool" if resnets.AVG_DOWN or is_resnest else "conv",
        downsampling="avg_pool_after" if resnets.AVD or is_resnest else "conv",
        in_channels=in_channels,
    )


def build_designspace_backbone(cfg: Any, input_shape: Any) -> DesignSpaceBackbone:
    """Build the backbone of ``MODEL.DESIGNSPACE``, with ``MODEL.RESNETS.NORM`` and ``MODEL.BACKBONE.FREEZE_AT``.

    Raises:
        InputError: as `DesignSpaceBackbone`; or ``MODEL.PIXEL_MEAN`` or ``PIXEL_STD`` does not suit the weights.
    """
    _check_keys(cfg)
    ours = cfg.MODEL.DESIGNSPACE
    if ours.NETWORK is None:
        raise InputError("MODEL.DESIGNSPACE.NETWORK is missing: the name of a network, a model folder or a run folder")
    options = {} if ours.OUTPUT_STRIDE is None else {"output_stride": ours.OUTPUT_STRIDE}
    if input_shape.channels != 3:
        options["in_channels"] = input_shape.channels
    return _build(cfg, ours.NETWORK, ours.OUT_FEATURES, ours.WEIGHTS, options)


def build_resnest_backbone(cfg: Any, input_shape: Any) -> DesignSpaceBackbone:
    """Build the network of `resnest_of`, with the maps ``MODEL.RESNETS.OUT_FEATURES``.

    ``MODEL.DESIGNSPACE.WEIGHTS: true`` loads the published weights of a published network.

    Raises:
        InputError: as `resnest_of` and `build_designspace_backbone`.
    """
    _check_keys(cfg)
    network = resnest_of(cfg, input_shape.channels)
    weights = cfg.MODEL.DESIGNSPACE.WEIGHTS
    if weights is None or weights is False:
        return _build(cfg, network, cfg.MODEL.RESNETS.OUT_FEATURES, False, {})
    name = next((name for name in catalog.names() if catalog.get(name) == network), None)
    if name is None and weights is True:
        raise InputError(f"MODEL.DESIGNSPACE.WEIGHTS: there are no published weights of {network!r}")
    return _build(cfg, name or network, cfg.MODEL.RESNETS.OUT_FEATURES, weights, {})


def build_designspace_fpn_backbone(cfg: Any, input_shape: Any) -> Any:
    """Build `build_designspace_backbone` with a feature pyramid of ``MODEL.FPN`` on top."""
    return _pyramid(cfg, build_designspace_backbone(cfg, input_shape))


def build_resnest_fpn_backbone(cfg: Any, input_shape: Any) -> Any:
    """Build `build_resnest_backbone` with a feature pyramid of ``MODEL.FPN`` on top."""
    return _pyramid(cfg, build_resnest_backbone(cfg, input_shape))


def _build(cfg: Any, source: Any, out_features: Any, weights: Any, options: dict[str, Any]) -> DesignSpaceBackbone:
    """Return a backbone with what all builders read of a configuration."""
    backbone = DesignSpaceBackbone(
        source,
        out_features=out_features,
        norm=cfg.MODEL.RESNETS.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        weights=weights,
        bgr=cfg.INPUT.FORMAT == "BGR",
        **options,
    )
    _check_pixels(cfg, backbone)
    return backbone


def _check_pixels(cfg: Any, backbone: DesignSpaceBackbone) -> None:
    """Raise if images are not normalised as loaded weights need it."""
    if backbone.weights is None:
        return
    preset = backbone.weights.preset
    for key, values in (("PIXEL_MEAN", preset.mean), ("PIXEL_STD", preset.std)):
        expected = [round(255 * value, 3) for value in (reversed(values) if backbone.bgr else values)]
        given = list(cfg.MODEL[key])
        if len(given) != len(expected) or any(abs(a - b) > 0.01 * b for a, b in zip(given, expected, strict=True)):
            raise InputError(
                f"MODEL.{key} is {given}, but the weights of {cfg.MODEL.DESIGNSPACE.NETWORK or 'the network'} need "
                f"{expected} with INPUT.FORMAT: {cfg.INPUT.FORMAT}"
            )


def _pyramid(cfg: Any, bottom_up: DesignSpaceBackbone) -> Any:
    """Return a feature pyramid on top of a backbone."""
    strides = [bottom_up.output_shape()[name].stride for name in cfg.MODEL.FPN.IN_FEATURES]
    if any(b != 2 * a for a, b in itertools.pairwise(strides)):
        raise InputError(
            f"the maps {list(cfg.MODEL.FPN.IN_FEATURES)} (MODEL.FPN.IN_FEATURES) have the strides {strides}; a feature "
            "pyramid needs one map of each size, each half as large as the previous one"
        )
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _numbers(out_features: Sequence[str] | None, stages: int) -> dict[str, int]:
    """Return the number of each map by its name: 0 for the stem's, then one per stage."""
    names = [f"res{stages + 1}"] if out_features is None else list(out_features)
    numbers = {}
    for name in names:
        match = re.fullmatch(r"stem|(res|s)(\d+)", str(name))
        number = -1 if match is None else int(match[2] or 0) - (match[1] == "res")
        if not (1 <= number <= stages or name == "stem"):
            raise unknown("feature map", name, ["stem", *(f"res{stage + 2}" for stage in range(stages))])
        numbers[name] = number
    if not numbers:
        raise InputError("out_features is empty; give at least one map, such as res5")
    return numbers


def _check_keys(cfg: Any) -> None:
    """Raise if `add_config` was not called."""
    if "DESIGNSPACE" not in cfg.MODEL:
        raise InputError(
            "MODEL.DESIGNSPACE is missing: call designspace.integrations.detectron2.add_config(cfg) before files are "
            "merged, or read them with read_config"
        )


def _merge(cfg: Any, merge: Any, content: Any, origin: str) -> None:
    """Merge into a configuration; an unknown key is an error that suggests the closest one."""
    try:
        merge(content)
    except (KeyError, AssertionError) as error:
        match = re.search(r"Non-existent (?:config )?key: ([\w.]+)", str(error))
        if match is None:
            raise
        raise InputError(f"{origin}: unknown key {match[1]}; {suggest(match[1], _keys(cfg))}") from error


def _keys(cfg: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the full names of all keys of a configuration."""
    names = []
    for key, value in cfg.items():
        names += _keys(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [f"{prefix}{key}"]
    return names


for _builder in (
    build_designspace_backbone,
    build_designspace_fpn_backbone,
    build_resnest_backbone,
    build_resnest_fpn_backbone,
):
    if _builder.__name__ in BACKBONE_REGISTRY:
        log.warning("%s is registered by another package, whose function is used", _builder.__name__)
    else:
        BACKBONE_REGISTRY.register(_builder)
