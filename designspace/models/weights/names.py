"""Names of the published networks' modules in each source: the tables for `designspace.models.weights.layouts`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from designspace.networks.network import Network


@dataclass(frozen=True)
class Names:
    """Names of the modules of one family of networks in one source."""

    stem: Mapping[str, str]
    """Our modules of the stem -> the source's."""
    block: str
    """Prefix of a block in the source. Stages are numbered from 1 (``stage1``) or 2 (``stage2``), and blocks from 0
    (``block``) or 1 (``block1``)."""
    inside: Mapping[str, str]
    """Our modules of a block -> the source's."""
    classifier: str
    norm_leaves: Mapping[str, str] = field(default_factory=dict)
    """Our tensors of a batch-norm -> the source's, if they differ."""
    counts_batches: bool = True
    """Whether the source's batch-norms count batches."""
    bgr: bool = False
    """Whether the source's images are in the order blue, green, red."""
    blocks: tuple[str, ...] = ("bottleneck",)
    """Kinds of blocks of which the source has a module (see `designspace.networks.network.Network.block`)."""
    extra: tuple[str, ...] = ()
    """Modules that files of the source may have besides, and that nothing needs."""


_PYCLS_BLOCK = {
    "transform.conv1.conv": "f.a",
    "transform.conv1.norm": "f.a_bn",
    "transform.conv2.conv": "f.b",
    "transform.conv2.norm": "f.b_bn",
    "transform.se.squeeze": "f.se.f_ex.0",
    "transform.se.excite": "f.se.f_ex.2",
    "transform.conv3.conv": "f.c",
    "transform.conv3.norm": "f.c_bn",
    "shortcut.conv": "proj",
    "shortcut.norm": "bn",
}
_TIMM_REGNET_BLOCK = {
    "transform.conv1.conv": "conv1.conv",
    "transform.conv1.norm": "conv1.bn",
    "transform.conv2.conv": "conv2.conv",
    "transform.conv2.norm": "conv2.bn",
    "transform.se.squeeze": "se.fc1",
    "transform.se.excite": "se.fc2",
    "transform.conv3.conv": "conv3.conv",
    "transform.conv3.norm": "conv3.bn",
    "shortcut.conv": "downsample.conv",
    "shortcut.norm": "downsample.bn",
}
_TORCHVISION_REGNET_BLOCK = {
    "transform.conv1.conv": "f.a.0",
    "transform.conv1.norm": "f.a.1",
    "transform.conv2.conv": "f.b.0",
    "transform.conv2.norm": "f.b.1",
    "transform.se.squeeze": "f.se.fc1",
    "transform.se.excite": "f.se.fc2",
    "transform.conv3.conv": "f.c.0",
    "transform.conv3.norm": "f.c.1",
    "shortcut.conv": "proj.0",
    "shortcut.norm": "proj.1",
}
_RESNET_BLOCK = {
    "transform.conv1.conv": "conv1",
    "transform.conv1.norm": "bn1",
    "transform.conv2.conv": "conv2",
    "transform.conv2.norm": "bn2",
    "transform.conv3.conv": "conv3",
    "transform.conv3.norm": "bn3",
    "shortcut.conv": "downsample.0",
    "shortcut.norm": "downsample.1",
}
_RESNEST_STEM = {  # a sequence in which activations have numbers too
    "stem.conv1.conv": "conv1.0",
    "stem.conv1.norm": "conv1.1",
    "stem.conv2.conv": "conv1.3",
    "stem.conv2.norm": "conv1.4",
    "stem.conv3.conv": "conv1.6",
    "stem.conv3.norm": "bn1",
}
_RESNEST_BLOCK = {
    "transform.conv1.conv": "conv1",
    "transform.conv1.norm": "bn1",
    "transform.conv2.splits.conv": "conv2.conv",
    "transform.conv2.splits.norm": "conv2.bn0",
    "transform.conv2.squeeze": "conv2.fc1",
    "transform.conv2.norm": "conv2.bn1",
    "transform.conv2.attend": "conv2.fc2",
    "transform.conv3.conv": "conv3",
    "transform.conv3.norm": "bn3",
    "shortcut.project.conv": "downsample.1",  # downsample.0 is the pool
    "shortcut.project.norm": "downsample.2",
}
_GLUON_LEAVES = {"weight": "gamma", "bias": "beta"}

_AVERAGED_SHORTCUT = {  # downsample.0 is the pool
    "shortcut.project.conv": "downsample.1",
    "shortcut.project.norm": "downsample.2",
}
_MMDET_DEEP_STEM = {
    "stem.conv1.conv": "stem.0",
    "stem.conv1.norm": "stem.1",
    "stem.conv2.conv": "stem.3",
    "stem.conv2.norm": "stem.4",
    "stem.conv3.conv": "stem.6",
    "stem.conv3.norm": "stem.7",
}
_DETECTRON2_DEEP_STEM = {
    f"stem.conv{number}.{ours}": f"stem.conv1_{number}{theirs}"
    for number in (1, 2, 3)
    for ours, theirs in (("conv", ""), ("norm", ".norm"))
}
_DETECTRON2_BLOCK = {
    f"{ours}.{layer}": f"{theirs}.norm" if layer == "norm" else theirs
    for ours, theirs in (
        ("transform.conv1", "conv1"),
        ("transform.conv2", "conv2"),
        ("transform.conv3", "conv3"),
        ("shortcut", "shortcut"),
        ("shortcut.project", "shortcut"),
    )
    for layer in ("conv", "norm")
}
_DETECTRON2_RESNEST_BLOCK = {
    **{ours: theirs for ours, theirs in _DETECTRON2_BLOCK.items() if not ours.startswith("transform.conv2")},
    **{ours: theirs for ours, theirs in _RESNEST_BLOCK.items() if ours.startswith("transform.conv2")},
}
_DETECTRON2_CLASSIFIER = ("stem.fc.",)  # the name that its converter of torchvision's weights gives to it
_BASIC = ("bottleneck", "basic")

_PYCLS_REGNET = Names(
    {"stem.conv": "stem.conv", "stem.norm": "stem.bn"}, "s{stage1}.b{block1}", _PYCLS_BLOCK, "head.fc", bgr=True
)
_PYCLS_RESNET = Names(
    {"stem.conv1.conv": "stem.conv", "stem.conv1.norm": "stem.bn"},
    "s{stage1}.b{block1}",
    _PYCLS_BLOCK,
    "head.fc",
    bgr=True,
)
_TIMM_REGNET = Names(
    {"stem.conv": "stem.conv", "stem.norm": "stem.bn"}, "s{stage1}.b{block1}", _TIMM_REGNET_BLOCK, "head.fc"
)
_TORCHVISION_REGNET = Names(
    {"stem.conv": "stem.0", "stem.norm": "stem.1"},
    "trunk_output.block{stage1}.block{stage1}-{block}",
    _TORCHVISION_REGNET_BLOCK,
    "fc",
)
_RESNET = Names({"stem.conv1.conv": "conv1", "stem.conv1.norm": "bn1"}, "layer{stage1}.{block}", _RESNET_BLOCK, "fc")
_RESNEST = Names(_RESNEST_STEM, "layer{stage1}.{block}", _RESNEST_BLOCK, "fc")
_GLUON = Names(
    _RESNEST_STEM,
    "layer{stage1}.{block}",
    {**_RESNEST_BLOCK, "transform.conv2.splits.norm": "conv2.bn"},
    "fc",
    norm_leaves=_GLUON_LEAVES,
    counts_batches=False,
)
_MMDET_REGNET = Names(  # weights of its RegNets are pycls's, and its configurations keep their order of channels
    {"stem.conv": "conv1", "stem.norm": "bn1"}, "layer{stage1}.{block}", _RESNET_BLOCK, "fc", bgr=True
)
_MMDET_RESNET = Names(
    {"stem.conv1.conv": "conv1", "stem.conv1.norm": "bn1"},
    "layer{stage1}.{block}",
    {**_RESNET_BLOCK, **_AVERAGED_SHORTCUT},
    "fc",
    blocks=_BASIC,
)
_MMDET_RESNET_D = dataclasses.replace(_MMDET_RESNET, stem=_MMDET_DEEP_STEM)
_MMDET_RESNEST = Names(_MMDET_DEEP_STEM, "layer{stage1}.{block}", _RESNEST_BLOCK, "fc")
_DETECTRON2_RESNET = Names(
    {"stem.conv1.conv": "stem.conv1", "stem.conv1.norm": "stem.conv1.norm"},
    "res{stage2}.{block}",
    _DETECTRON2_BLOCK,
    "linear",
    blocks=_BASIC,
    extra=_DETECTRON2_CLASSIFIER,
)
_DETECTRON2_RESNET_D = dataclasses.replace(_DETECTRON2_RESNET, stem=_DETECTRON2_DEEP_STEM)
_DETECTRON2_RESNEST = Names(
    _DETECTRON2_DEEP_STEM, "res{stage2}.{block}", _DETECTRON2_RESNEST_BLOCK, "linear", extra=_DETECTRON2_CLASSIFIER
)
# Names by family and source. timm's, torchvision's and MMDetection's ResNets share names, as do timm's ResNeSts and the
# authors', and Detectron2's RegNets and pycls's. Detectron2's ResNeSts are those of the authors' fork.
FAMILIES = {
    "regnet": {
        "pycls": _PYCLS_REGNET,
        "timm": _TIMM_REGNET,
        "torchvision": _TORCHVISION_REGNET,
        "mmdet": _MMDET_REGNET,
        "detectron2": _PYCLS_REGNET,
    },
    "resnet": {
        "pycls": _PYCLS_RESNET,
        "timm": _RESNET,
        "torchvision": _RESNET,
        "mmdet": _MMDET_RESNET,
        "detectron2": _DETECTRON2_RESNET,
    },
    "resnet_d": {"mmdet": _MMDET_RESNET_D, "detectron2": _DETECTRON2_RESNET_D},
    "resnest": {
        "resnest": _RESNEST,
        "gluon": _GLUON,
        "timm": _RESNEST,
        "mmdet": _MMDET_RESNEST,
        "detectron2": _DETECTRON2_RESNEST,
    },
}


def family_of(network: Network) -> str | None:
    """Return the family of a network in `FAMILIES`, by its stem and its radix; None if there is none.

    Families are ``regnet``, ``resnet`` (also ResNeXt), ``resnet_d`` (with a deep stem) and ``resnest``.
    """
    kind = network.stem.kind
    if kind in ("imagenet", "cifar"):
        return None if network.radix else "regnet"
    if kind == "deep":
        return "resnest" if network.radix else "resnet_d"
    return "resnet" if kind == "resnet" and not network.radix else None
