"""The published networks as a table: name -> `Network`.

RegNetX/Y: "Designing Network Design Spaces" (arXiv 2003.13678), figures 15 and 16, with the unrounded generator
parameters of pycls's configuration files. ResNet and ResNeXt: arXiv 1512.03385 and 1611.05431, in the form that both
papers compare with (stride in the 3x3 convolution). ResNeSt: arXiv 2004.08955, with the authors' code for the models
whose shapes the paper does not print.
"""

from __future__ import annotations

import fnmatch

from designspace.networks.network import Network, Stage, Stem
from designspace.networks.regnet import RegNetParameters
from designspace.support.errors import unknown

# name: depth, w_0, w_a, w_m, group width. All have b = 1, a stem of width 32 and four stages of stride 2.
_REGNETX = {
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (22, 24, 24.48, 2.54, 16),
    "600mf": (16, 48, 36.97, 2.24, 24),
    "800mf": (16, 56, 35.73, 2.28, 16),
    "1.6gf": (18, 80, 34.01, 2.25, 24),
    "3.2gf": (25, 88, 26.31, 2.25, 48),
    "4.0gf": (23, 96, 38.65, 2.43, 40),
    "6.4gf": (17, 184, 60.83, 2.07, 56),
    "8.0gf": (23, 80, 49.56, 2.88, 120),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (22, 216, 55.59, 2.1, 128),
    "32gf": (23, 320, 69.86, 2.0, 168),
}
_REGNETY = {
    "200mf": (13, 24, 36.44, 2.49, 8),
    "400mf": (16, 48, 27.89, 2.09, 8),
    "600mf": (15, 48, 32.54, 2.32, 16),
    "800mf": (14, 56, 38.84, 2.4, 16),
    "1.6gf": (27, 48, 20.71, 2.65, 24),
    "3.2gf": (21, 80, 42.63, 2.66, 24),
    "4.0gf": (22, 96, 31.41, 2.24, 64),
    "6.4gf": (25, 112, 33.22, 2.27, 72),
    "8.0gf": (17, 192, 76.82, 2.19, 56),
    "12gf": (19, 168, 73.36, 2.37, 112),
    "16gf": (18, 200, 106.23, 2.48, 112),
    "32gf": (20, 232, 115.89, 2.53, 232),
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


def names(pattern: str = "*") -> list[str]:
    """The names of the published networks that match a shell pattern, in order of the table."""
    everything = [
        *(f"regnetx_{size}" for size in _REGNETX),
        *(f"regnety_{size}" for size in _REGNETY),
        *_RESNETS,
        *_RESNESTS,
    ]
    return [name for name in everything if fnmatch.fnmatch(name, pattern)]


def get(name: str) -> Network:
    """The published network of that name.

    Raises:
        InputError: there is none; the error lists those that there are.
    """
    family, _, size = name.partition("_")
    if family == "regnetx" and size in _REGNETX:
        return _regnet(_REGNETX[size], se_ratio=0.0)
    if family == "regnety" and size in _REGNETY:
        return _regnet(_REGNETY[size], se_ratio=0.25)
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
    raise unknown("network", name, names())


def _regnet(parameters: tuple[int, int, float, float, int], se_ratio: float) -> Network:
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
