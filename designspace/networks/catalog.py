"""Table of the published networks: name -> `Network`, with the published accuracy of each.

RegNetX/Y: "Designing Network Design Spaces" (arXiv 2003.13678), figures 15 and 16, with the unrounded generator
parameters from pycls's configuration files. ResNet and ResNeXt: arXiv 1512.03385 and 1611.05431, in the form that the
RegNet and ResNeSt papers compare with (stride in the 3x3 convolution). ResNeSt: arXiv 2004.08955; shapes that the paper
does not print are those of the authors' code. EfficientNet: arXiv 1905.11946, with the shapes and the accuracy of
pycls. ConvNeXt: arXiv 2201.03545. ShuffleNetV2: arXiv 1807.11164.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from designspace.networks.network import Network, Stage, Stem
from designspace.networks.parameters import Value
from designspace.networks.published_names import normalise_pattern, parse_name, without_weight_tag
from designspace.networks.regnet import RegNetParameters
from designspace.support.errors import InputError, unknown

_DDS = "Designing Network Design Spaces (arXiv 2003.13678), as measured again in pycls's dev/model_error.json"
_DDS_TABLE = "Designing Network Design Spaces (arXiv 2003.13678), table of comparisons: mean of five runs"
_RESNEST = "ResNeSt: Split-Attention Networks (arXiv 2004.08955), README and ablation table of the authors' code"
_TIMM = "timm's results on ImageNet for gluon's weights; the paper does not print it"
_TV = "torchvision's IMAGENET1K_V1 weights"
_CONVNEXT = "A ConvNet for the 2020s (arXiv 2201.03545), table 1"
_SHUFFLENET = "ShuffleNet V2 (arXiv 1807.11164), table 8"


class PublishedAccuracy(NamedTuple):
    """Published accuracy of a network on ImageNet (ILSVRC 2012), for one centre crop of the validation images."""

    top1: float
    """Images whose most likely class is correct, in percent."""
    resolution: int
    """Height and width of the crop, in pixels."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _RegNet:
    """A RegNet with b = 1, a stem of width 32 and four stages of stride 2."""

    depth: int
    w_0: int
    w_a: float
    w_m: float
    group_width: int
    se_ratio: float = 0.0
    top1: float
    resolution: int = 224
    source: str = _DDS

    def network(self) -> Network:
        """Build the network from its RegNet parameters."""
        parameters = RegNetParameters(self.depth, self.w_0, self.w_a, self.w_m, 1, self.group_width)
        return Network(Stem("imagenet", 32), parameters.stages(), se_ratio=self.se_ratio)


@dataclass(frozen=True, slots=True)
class _TorchvisionRegNet:
    """A RegNet with torchvision's rounding of widths, which torchvision's weights need.

    It differs from pycls's rounding where group widths do not divide the widths.
    """

    original: str
    """Name of the network with pycls's widths."""
    widths: tuple[int, ...]
    """Widths of the stages."""
    top1: float
    resolution: int = 224
    source: str = _TV

    def network(self) -> Network:
        """Build the network by replacing the widths of the original."""
        network = _TABLE[self.original].network()
        stages = zip(network.stages, self.widths, strict=True)
        return dataclasses.replace(network, stages=tuple(dataclasses.replace(s, width=width) for s, width in stages))


@dataclass(frozen=True, slots=True)
class _ResNet:
    """A ResNet or ResNeXt."""

    depths: tuple[int, ...]
    cardinality: int
    group_width: int
    """Width of a group in the first stage."""
    top1: float
    resolution: int = 224
    source: str = _DDS_TABLE

    def network(self) -> Network:
        """Build the network with a stem of width 64."""
        return Network(Stem("resnet", 64), _resnet_stages(self.depths, self.cardinality, self.group_width))


@dataclass(frozen=True, slots=True)
class _ResNeSt:
    """A ResNeSt."""

    depths: tuple[int, ...]
    _: KW_ONLY
    radix: int = 2
    cardinality: int = 1
    group_width: int = 64
    """Width of a group in the first stage."""
    stem_width: int = 64
    is_fast: bool = False
    """Whether it downsamples before the 3x3 convolution (the networks that the authors call fast) or after it."""
    top1: float
    resolution: int = 224
    source: str = _RESNEST

    def network(self) -> Network:
        """Build the network with split attention and average-pool shortcuts."""
        return Network(
            Stem("deep", self.stem_width),
            _resnet_stages(self.depths, self.cardinality, self.group_width),
            radix=self.radix,
            shortcut="avg_pool",
            downsampling="avg_pool_before" if self.is_fast else "avg_pool_after",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _EfficientNet:
    """An EfficientNet: seven stages, whose kernels, strides and expansions are those of B0."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_width: int
    head_width: int
    top1: float
    resolution: int
    source: str = _DDS_TABLE

    def network(self) -> Network:
        """Build the network with squeeze-and-excitation."""
        shapes = zip(self.depths, self.widths, (1, 2, 2, 2, 1, 2, 1), (3, 3, 5, 3, 5, 5, 3), strict=True)
        stages = tuple(
            _stage(depth, width, stride, kernel_size=kernel, expansion=6 if number else 1)
            for number, (depth, width, stride, kernel) in enumerate(shapes)
        )
        stem = Stem("imagenet", self.stem_width)
        return Network(stem, stages, block="mbconv", se_ratio=0.25, head_width=self.head_width)


@dataclass(frozen=True, slots=True)
class _ConvNeXt:
    """A ConvNeXt with four stages, each twice as wide as the one before."""

    depths: tuple[int, ...]
    width: int
    """Width of the stem and the first stage."""
    top1: float
    resolution: int = 224
    source: str = _CONVNEXT

    def network(self) -> Network:
        """Build the network with a stem of patches."""
        stages = tuple(_stage(depth, self.width * 2**i, min(2, i + 1)) for i, depth in enumerate(self.depths))
        return Network(Stem("patch", self.width), stages, block="convnext", head="layer_norm")


@dataclass(frozen=True, slots=True)
class _ShuffleNet:
    """A ShuffleNetV2 with three stages of stride 2."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    top1: float
    resolution: int = 224
    source: str = _SHUFFLENET

    def network(self) -> Network:
        """Build the network with a stem of width 24 and a head of width 1024."""
        stages = tuple(_stage(depth, width, 2) for depth, width in zip(self.depths, self.widths, strict=True))
        return Network(Stem("conv_pool", 24), stages, block="shufflenet", head_width=1024)


_Row = _RegNet | _TorchvisionRegNet | _ResNet | _ResNeSt | _EfficientNet | _ConvNeXt | _ShuffleNet

# Where a paper prints the error, top1 is 100 - error.
_TABLE: dict[str, _Row] = {
    "regnetx_200mf": _RegNet(depth=13, w_0=24, w_a=36.44, w_m=2.49, group_width=8, top1=68.912),
    "regnetx_400mf": _RegNet(depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16, top1=72.618),
    "regnetx_600mf": _RegNet(depth=16, w_0=48, w_a=36.97, w_m=2.24, group_width=24, top1=74.136),
    "regnetx_800mf": _RegNet(depth=16, w_0=56, w_a=35.73, w_m=2.28, group_width=16, top1=75.154),
    "regnetx_1_6gf": _RegNet(depth=18, w_0=80, w_a=34.01, w_m=2.25, group_width=24, top1=76.962),
    "regnetx_3_2gf": _RegNet(depth=25, w_0=88, w_a=26.31, w_m=2.25, group_width=48, top1=78.264),
    "regnetx_4_0gf": _RegNet(depth=23, w_0=96, w_a=38.65, w_m=2.43, group_width=40, top1=78.644),
    "regnetx_6_4gf": _RegNet(depth=17, w_0=184, w_a=60.83, w_m=2.07, group_width=56, top1=79.156),
    "regnetx_8_0gf": _RegNet(depth=23, w_0=80, w_a=49.56, w_m=2.88, group_width=120, top1=79.272),
    "regnetx_12gf": _RegNet(depth=19, w_0=168, w_a=73.36, w_m=2.37, group_width=112, top1=79.712),
    "regnetx_16gf": _RegNet(depth=22, w_0=216, w_a=55.59, w_m=2.1, group_width=128, top1=80.044),
    "regnetx_32gf": _RegNet(depth=23, w_0=320, w_a=69.86, w_m=2.0, group_width=168, top1=80.502),
    "regnety_200mf": _RegNet(depth=13, w_0=24, w_a=36.44, w_m=2.49, group_width=8, se_ratio=0.25, top1=70.342),
    "regnety_400mf": _RegNet(depth=16, w_0=48, w_a=27.89, w_m=2.09, group_width=8, se_ratio=0.25, top1=74.102),
    "regnety_600mf": _RegNet(depth=15, w_0=48, w_a=32.54, w_m=2.32, group_width=16, se_ratio=0.25, top1=75.46),
    "regnety_800mf": _RegNet(depth=14, w_0=56, w_a=38.84, w_m=2.4, group_width=16, se_ratio=0.25, top1=76.316),
    "regnety_1_6gf": _RegNet(depth=27, w_0=48, w_a=20.71, w_m=2.65, group_width=24, se_ratio=0.25, top1=77.934),
    "regnety_3_2gf": _RegNet(depth=21, w_0=80, w_a=42.63, w_m=2.66, group_width=24, se_ratio=0.25, top1=78.926),
    "regnety_4_0gf": _RegNet(depth=22, w_0=96, w_a=31.41, w_m=2.24, group_width=64, se_ratio=0.25, top1=79.36),
    "regnety_6_4gf": _RegNet(depth=25, w_0=112, w_a=33.22, w_m=2.27, group_width=72, se_ratio=0.25, top1=79.89),
    "regnety_8_0gf": _RegNet(depth=17, w_0=192, w_a=76.82, w_m=2.19, group_width=56, se_ratio=0.25, top1=79.948),
    "regnety_12gf": _RegNet(depth=19, w_0=168, w_a=73.36, w_m=2.37, group_width=112, se_ratio=0.25, top1=80.33),
    "regnety_16gf": _RegNet(depth=18, w_0=200, w_a=106.23, w_m=2.48, group_width=112, se_ratio=0.25, top1=80.392),
    "regnety_32gf": _RegNet(depth=20, w_0=232, w_a=115.89, w_m=2.53, group_width=232, se_ratio=0.25, top1=80.934),
    "regnetx_400mf_tv": _TorchvisionRegNet("regnetx_400mf", widths=(32, 64, 160, 400), top1=72.834),
    "regnety_800mf_tv": _TorchvisionRegNet("regnety_800mf", widths=(64, 144, 320, 784), top1=76.42),
    "regnety_8_0gf_tv": _TorchvisionRegNet("regnety_8_0gf", widths=(224, 448, 896, 2016), top1=80.032),
    "resnet50": _ResNet((3, 4, 6, 3), cardinality=1, group_width=64, top1=76.8),
    "resnet101": _ResNet((3, 4, 23, 3), cardinality=1, group_width=64, top1=78.6),
    "resnet152": _ResNet((3, 8, 36, 3), cardinality=1, group_width=64, top1=79.1),
    "resnext50_32x4d": _ResNet((3, 4, 6, 3), cardinality=32, group_width=4, top1=78.1),
    "resnext101_32x4d": _ResNet((3, 4, 23, 3), cardinality=32, group_width=4, top1=79.3),
    "resnext152_32x4d": _ResNet((3, 8, 36, 3), cardinality=32, group_width=4, top1=79.6),
    "resnest14": _ResNeSt((1, 1, 1, 1), top1=75.52, source=_TIMM),
    "resnest26": _ResNeSt((2, 2, 2, 2), top1=78.48, source=_TIMM),
    "resnest50": _ResNeSt((3, 4, 6, 3), top1=81.03),
    "resnest101": _ResNeSt((3, 4, 23, 3), stem_width=128, top1=82.83, resolution=256),
    "resnest200": _ResNeSt((3, 24, 36, 3), stem_width=128, top1=83.84, resolution=320),
    "resnest269": _ResNeSt((3, 30, 48, 8), stem_width=128, top1=84.54, resolution=416),
    "resnest50_fast_1s1x64d": _ResNeSt((3, 4, 6, 3), radix=1, is_fast=True, top1=80.33),
    "resnest50_fast_2s1x64d": _ResNeSt((3, 4, 6, 3), is_fast=True, top1=80.53),
    "resnest50_fast_4s1x64d": _ResNeSt((3, 4, 6, 3), radix=4, is_fast=True, top1=80.76),
    "resnest50_fast_1s2x40d": _ResNeSt((3, 4, 6, 3), radix=1, cardinality=2, group_width=40, is_fast=True, top1=80.59),
    "resnest50_fast_2s2x40d": _ResNeSt((3, 4, 6, 3), cardinality=2, group_width=40, is_fast=True, top1=80.61),
    "resnest50_fast_4s2x40d": _ResNeSt((3, 4, 6, 3), radix=4, cardinality=2, group_width=40, is_fast=True, top1=81.14),
    "resnest50_fast_1s4x24d": _ResNeSt((3, 4, 6, 3), radix=1, cardinality=4, group_width=24, is_fast=True, top1=80.99),
    "efficientnet_b0": _EfficientNet(
        depths=(1, 2, 2, 3, 3, 4, 1),
        widths=(16, 24, 40, 80, 112, 192, 320),
        stem_width=32,
        head_width=1280,
        top1=75.1,
        resolution=224,
    ),
    "efficientnet_b1": _EfficientNet(
        depths=(2, 3, 3, 4, 4, 5, 2),
        widths=(16, 24, 40, 80, 112, 192, 320),
        stem_width=32,
        head_width=1280,
        top1=75.9,
        resolution=240,
    ),
    "efficientnet_b2": _EfficientNet(
        depths=(2, 3, 3, 4, 4, 5, 2),
        widths=(16, 24, 48, 88, 120, 208, 352),
        stem_width=32,
        head_width=1408,
        top1=76.6,
        resolution=260,
    ),
    "efficientnet_b3": _EfficientNet(
        depths=(2, 3, 3, 5, 5, 6, 2),
        widths=(24, 32, 48, 96, 136, 232, 384),
        stem_width=40,
        head_width=1536,
        top1=77.5,
        resolution=300,
    ),
    "efficientnet_b4": _EfficientNet(
        depths=(2, 4, 4, 6, 6, 8, 2),
        widths=(24, 32, 56, 112, 160, 272, 448),
        stem_width=48,
        head_width=1792,
        top1=78.8,
        resolution=380,
    ),
    "efficientnet_b5": _EfficientNet(
        depths=(3, 5, 5, 7, 7, 9, 3),
        widths=(24, 40, 64, 128, 176, 304, 512),
        stem_width=48,
        head_width=2048,
        top1=78.5,
        resolution=456,
    ),
    "convnext_tiny": _ConvNeXt((3, 3, 9, 3), 96, top1=82.1),
    "convnext_small": _ConvNeXt((3, 3, 27, 3), 96, top1=83.1),
    "convnext_base": _ConvNeXt((3, 3, 27, 3), 128, top1=83.8),
    "shufflenet_v2_x1_0": _ShuffleNet((4, 8, 4), (116, 232, 464), top1=69.4),
}


def names(pattern: str = "*") -> list[str]:
    """Return the names of the published networks that match a shell pattern, in the order of the table."""
    return [name for name in _TABLE if fnmatch.fnmatchcase(name, normalise_pattern(pattern))]


def canonical_name(name: str) -> str:
    """Return a network's name in this table, from a name used in the papers, pycls, timm or torchvision.

    Raises:
        InputError: there is no such network; the error names the nearest one, or lists all.

    >>> canonical_name("RegNetY-4.0GF"), canonical_name("regnetx_080"), canonical_name("ResNeSt-50")
    ('regnety_4_0gf', 'regnetx_8_0gf', 'resnest50')
    """
    parsed = parse_name(name) if isinstance(name, str) else ""
    if parsed in _TABLE:
        return parsed
    if nearest := difflib.get_close_matches(parse_name(without_weight_tag(name)) if parsed else "", names(), 1):
        raise InputError(f"unknown network {name!r}; did you mean {nearest[0]}? list_models() lists all names")
    raise unknown("network", name, names())


def published(name: str) -> PublishedAccuracy:
    """Return the published accuracy of a network.

    Raises:
        InputError: there is no network of that name; the error names the nearest one, or lists all.
    """
    row = _TABLE[canonical_name(name)]
    return PublishedAccuracy(row.top1, row.resolution, row.source)


def get(name: str) -> Network:
    """Return the published network of a name.

    Raises:
        InputError: there is none; the error names the nearest one, or lists all.
    """
    return _TABLE[canonical_name(name)].network()


def _resnet_stages(depths: tuple[int, ...], cardinality: int, group_width: int) -> tuple[Stage, ...]:
    """Return stages of widths 256, 512, 1024 and 2048, whose inner and group widths also double from stage to stage."""
    return tuple(
        Stage(
            depth,
            width=256 * 2**i,
            stride=1 if i == 0 else 2,
            bottleneck_ratio=256 / (cardinality * group_width),
            group_width=group_width * 2**i,
        )
        for i, depth in enumerate(depths)
    )


def _stage(depth: int, width: int, stride: int, **parameters: Value) -> Stage:
    """Return a stage of blocks without bottleneck and groups, with own parameters."""
    return Stage(depth, width, stride, group_width=width, parameters=tuple(parameters.items()))
