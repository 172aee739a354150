"""The published networks as a table: name -> `Network`, and what was published about each.

RegNetX/Y: "Designing Network Design Spaces" (arXiv 2003.13678), figures 15 and 16, with the unrounded generator
parameters of pycls's configuration files. ResNet and ResNeXt: arXiv 1512.03385 and 1611.05431, in the form that both
papers compare with (stride in the 3x3 convolution). ResNeSt: arXiv 2004.08955, with the authors' code for the models
whose shapes the paper does not print.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from typing import NamedTuple

from designspace.networks.network import Network, Stage, Stem
from designspace.networks.published_names import read_name, tidy_pattern, without_tag
from designspace.networks.regnet import RegNetParameters
from designspace.support.errors import InputError, unknown

# name: depth, w_0, w_a, w_m, group width. All have b = 1, a stem of width 32 and four stages of stride 2.
_REGNETX = {
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (22, 24, 24.48, 2.54, 16),
    "600mf": (16, 48, 36.97, 2.24, 24),
    "800mf": (16, 56, 35.73, 2.28, 16),
    "1_6gf": (18, 80, 34.01, 2.25, 24),
    "3_2gf": (25, 88, 26.31, 2.25, 48),
    "4_0gf": (23, 96, 38.65, 2.43, 40),
    "6_4gf": (17, 184, 60.83, 2.07, 56),
    "8_0gf": (23, 80, 49.56, 2.88, 120),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (22, 216, 55.59, 2.1, 128),
    "32gf": (23, 320, 69.86, 2.0, 168),
}
_REGNETY = {
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (16, 48, 27.89, 2.09, 8),
    "600mf": (15, 48, 32.54, 2.32, 16),
    "800mf": (14, 56, 38.84, 2.4, 16),
    "1_6gf": (27, 48, 20.71, 2.65, 24),
    "3_2gf": (21, 80, 42.63, 2.66, 24),
    "4_0gf": (22, 96, 31.41, 2.24, 64),
    "6_4gf": (25, 112, 33.22, 2.27, 72),
    "8_0gf": (17, 192, 76.82, 2.19, 56),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (18, 200, 106.23, 2.48, 112),
    "32gf": (20, 232, 115.89, 2.53, 232),
}
# torchvision rounds widths that group widths do not divide otherwise than pycls, which its weights need. name: the
# network that it differs from, widths of the stages.
_TORCHVISION = {
    "regnetx_400mf_tv": ("regnetx_400mf", (32, 64, 160, 400)),
    "regnety_800mf_tv": ("regnety_800mf", (64, 144, 320, 784)),
    "regnety_8_0gf_tv": ("regnety_8_0gf", (224, 448, 896, 2016)),
}
# name: depths, cardinality, width of a group in the first stage.
_RESNETS = {
    "resnet50": ((3, 4, 6, 3), 1, 64),
    "resnet101": ((3, 4, 23, 3), 1, 64),
    "resnet152": ((3, 8, 36, 3), 1, 64),
    "resnext50_32x4d": ((3, 4, 6, 3), 32, 4),
    "resnext101_32x4d": ((3, 4, 23, 3), 32, 4),
    "resnext152_32x4d": ((3, 8, 36, 3), 32, 4),
}
# name: depths, radix, cardinality, width of a group in the first stage, stem width, where avd stands.
_RESNESTS = {
    "resnest14": ((1, 1, 1, 1), 2, 1, 64, 64, "after"),
    "resnest26": ((2, 2, 2, 2), 2, 1, 64, 64, "after"),
    "resnest50": ((3, 4, 6, 3), 2, 1, 64, 64, "after"),
    "resnest101": ((3, 4, 23, 3), 2, 1, 64, 128, "after"),
    "resnest200": ((3, 24, 36, 3), 2, 1, 64, 128, "after"),
    "resnest269": ((3, 30, 48, 8), 2, 1, 64, 128, "after"),
    "resnest50_fast_1s1x64d": ((3, 4, 6, 3), 1, 1, 64, 64, "before"),
    "resnest50_fast_2s1x64d": ((3, 4, 6, 3), 2, 1, 64, 64, "before"),
    "resnest50_fast_4s1x64d": ((3, 4, 6, 3), 4, 1, 64, 64, "before"),
    "resnest50_fast_1s2x40d": ((3, 4, 6, 3), 1, 2, 40, 64, "before"),
    "resnest50_fast_2s2x40d": ((3, 4, 6, 3), 2, 2, 40, 64, "before"),
    "resnest50_fast_4s2x40d": ((3, 4, 6, 3), 4, 2, 40, 64, "before"),
    "resnest50_fast_1s4x24d": ((3, 4, 6, 3), 1, 4, 24, 64, "before"),
}


class Published(NamedTuple):
    """What the authors say of a network on ImageNet (ILSVRC 2012), for one centre crop of the validation images."""

    top1: float
    """Images whose likeliest class is right, in per cent."""
    resolution: int
    """Height and width of the crop, in pixels."""
    source: str


_DDS = "Designing Network Design Spaces (arXiv 2003.13678), as measured again in pycls's dev/model_error.json"
_DDS_TABLE = "Designing Network Design Spaces (arXiv 2003.13678), table of comparisons: mean of five runs"
_RESNEST = "ResNeSt: Split-Attention Networks (arXiv 2004.08955), README and ablation table of the authors' code"
_TIMM = "timm's results on ImageNet for gluon's weights; the paper does not print it"
_TV = "torchvision's IMAGENET1K_V1 weights"
# name: top-1 in per cent, crop, source. Errors are printed in the papers; 100 - error stands here.
_PUBLISHED = {
    **{
        f"regnetx_{size}": Published(top1, 224, _DDS)
        for size, top1 in zip(
            _REGNETX,
            (68.912, 72.618, 74.136, 75.154, 76.962, 78.264, 78.644, 79.156, 79.272, 79.712, 80.044, 80.502),
            strict=True,
        )
    },
    **{
        f"regnety_{size}": Published(top1, 224, _DDS)
        for size, top1 in zip(
            _REGNETY,
            (70.342, 74.102, 75.46, 76.316, 77.934, 78.926, 79.36, 79.89, 79.948, 80.33, 80.392, 80.934),
            strict=True,
        )
    },
    "regnetx_400mf_tv": Published(72.834, 224, _TV),
    "regnety_800mf_tv": Published(76.42, 224, _TV),
    "regnety_8_0gf_tv": Published(80.032, 224, _TV),
    "resnet50": Published(76.8, 224, _DDS_TABLE),
    "resnet101": Published(78.6, 224, _DDS_TABLE),
    "resnet152": Published(79.1, 224, _DDS_TABLE),
    "resnext50_32x4d": Published(78.1, 224, _DDS_TABLE),
    "resnext101_32x4d": Published(79.3, 224, _DDS_TABLE),
    "resnext152_32x4d": Published(79.6, 224, _DDS_TABLE),
    "resnest14": Published(75.52, 224, _TIMM),
    "resnest26": Published(78.48, 224, _TIMM),
    "resnest50": Published(81.03, 224, _RESNEST),
    "resnest101": Published(82.83, 256, _RESNEST),
    "resnest200": Published(83.84, 320, _RESNEST),
    "resnest269": Published(84.54, 416, _RESNEST),
    "resnest50_fast_1s1x64d": Published(80.33, 224, _RESNEST),
    "resnest50_fast_2s1x64d": Published(80.53, 224, _RESNEST),
    "resnest50_fast_4s1x64d": Published(80.76, 224, _RESNEST),
    "resnest50_fast_1s2x40d": Published(80.59, 224, _RESNEST),
    "resnest50_fast_2s2x40d": Published(80.61, 224, _RESNEST),
    "resnest50_fast_4s2x40d": Published(81.14, 224, _RESNEST),
    "resnest50_fast_1s4x24d": Published(80.99, 224, _RESNEST),
}


def names(pattern: str = "*") -> list[str]:
    """The names of the published networks that match a shell pattern, in order of the table."""
    everything = [
        *(f"regnetx_{size}" for size in _REGNETX),
        *(f"regnety_{size}" for size in _REGNETY),
        *_TORCHVISION,
        *_RESNETS,
        *_RESNESTS,
    ]
    return [name for name in everything if fnmatch.fnmatchcase(name, tidy_pattern(pattern))]


def canonical_name(name: str) -> str:
    """The name as this table has it; the names of the papers, pycls, timm and torchvision are understood too.

    Raises:
        InputError: there is no such network; the error names the nearest one, or lists all.

    >>> canonical_name("RegNetY-4.0GF"), canonical_name("regnetx_080"), canonical_name("ResNeSt-50")
    ('regnety_4_0gf', 'regnetx_8_0gf', 'resnest50')
    """
    understood = read_name(name) if isinstance(name, str) else ""
    if understood in _PUBLISHED:
        return understood
    if nearest := difflib.get_close_matches(read_name(without_tag(name)) if understood else "", names(), 1):
        raise InputError(f"unknown network {name!r}; did you mean {nearest[0]}? list_models() lists all names")
    raise unknown("network", name, names())


def published(name: str) -> Published:
    """What was published about a network.

    Raises:
        InputError: there is none of that name; the error lists those that there are.
    """
    return _PUBLISHED[canonical_name(name)]


def get(name: str) -> Network:
    """The published network of that name.

    Raises:
        InputError: there is none; the error lists those that there are.
    """
    name = canonical_name(name)
    if name in _TORCHVISION:
        original, widths = _TORCHVISION[name]
        network = get(original)
        stages = zip(network.stages, widths, strict=True)
        return dataclasses.replace(network, stages=tuple(dataclasses.replace(s, width=width) for s, width in stages))
    if name in _RESNETS:
        depths, cardinality, group_width = _RESNETS[name]
        return Network(Stem("resnet", 64), _resnet_stages(depths, cardinality, group_width))
    if name in _RESNESTS:
        depths, radix, cardinality, group_width, stem_width, avd = _RESNESTS[name]
        return Network(
            Stem("deep", stem_width),
            _resnet_stages(depths, cardinality, group_width),
            radix=radix,
            shortcut="avg_pool",
            downsampling=f"avg_pool_{avd}",
        )
    family, _, size = name.partition("_")
    return _regnet(_REGNETX[size]) if family == "regnetx" else _regnet(_REGNETY[size], se_ratio=0.25)


def _regnet(parameters: tuple[int, int, float, float, int], se_ratio: float = 0.0) -> Network:
    """A RegNet with b = 1."""
    depth, w_0, w_a, w_m, group_width = parameters
    stages = RegNetParameters(depth, w_0, w_a, w_m, 1, group_width).stages()
    return Network(Stem("imagenet", 32), stages, se_ratio=se_ratio)


def _resnet_stages(depths: tuple[int, ...], cardinality: int, group_width: int) -> tuple[Stage, ...]:
    """Stages of widths 256, 512, 1024, 2048, where inner and group widths double from stage to stage."""
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
