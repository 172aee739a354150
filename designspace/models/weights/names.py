"""Names of the published networks' modules in each source: the tables for `designspace.models.weights.keys`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Names:
    """Names of the modules of one family of networks in one source."""

    stem: Mapping[str, str]
    """Our modules of the stem -> the source's."""
    block: str
    """Prefix of a block in the source. Stages and blocks are numbered from 0, or, as ``stage1``, ``block1``, from 1."""
    inside: Mapping[str, str]
    """Our modules of a block -> the source's."""
    classifier: str
    norm_leaves: Mapping[str, str] = field(default_factory=dict)
    """Our tensors of a batch-norm -> the source's, if they differ."""
    counts_batches: bool = True
    """Whether the source's batch-norms count batches."""
    bgr: bool = False
    """Whether the source's images are in the order blue, green, red."""


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
# Names by family and source. timm's and torchvision's ResNets share names, as do timm's ResNeSts and the authors'.
FAMILIES = {
    "regnet": {"pycls": _PYCLS_REGNET, "timm": _TIMM_REGNET, "torchvision": _TORCHVISION_REGNET},
    "resnet": {"pycls": _PYCLS_RESNET, "timm": _RESNET, "torchvision": _RESNET},
    "resnest": {"resnest": _RESNEST, "gluon": _GLUON, "timm": _RESNEST},
}
