"""Parsing of the names that papers, pycls, timm and torchvision give to the published networks."""

from __future__ import annotations

import re

REGNET_SIZES = {  # millions of multiply-adds: name in the table
    200: "200mf",
    400: "400mf",
    600: "600mf",
    800: "800mf",
    1600: "1_6gf",
    3200: "3_2gf",
    4000: "4_0gf",
    6400: "6_4gf",
    8000: "8_0gf",
    12000: "12gf",
    16000: "16gf",
    32000: "32gf",
}
_REGNET = re.compile(r"regnet_?([xy])_?(?:(\d+(?:_\d+)?)_?([mg])f|(\d{3}))(_tv)?")
_RESNEST = re.compile(r"resnest_?(\d+)[de]?(?:_fast)?(?:_(\d+s\d+x\d+d))?")
_RESNET = re.compile(r"(resnet|resnext)_?(\d+)(_\d+x\d+d)?")
_EFFICIENTNET = re.compile(r"(?:efficientnet|en)_?(b\d)")
_CONVNEXT = re.compile(r"convnext_?(t|s|b|tiny|small|base)")
_SHUFFLENET = re.compile(r"shufflenet_?v2_?(?:x(\d_\d)|(\d_\d)x)")


def normalise_name(name: str) -> str:
    """Return a name in lower case, with underscores for dots, hyphens and spaces, without folder and file extension.

    >>> normalise_name("RegNetX-1.6GF"), normalise_name("regnetx/RegNetX-400MF_dds_8gpu.yaml")
    ('regnetx_1_6gf', 'regnetx_400mf')
    """
    stem = re.sub(r"(_dds_\d+gpu)?(\.yaml)?$", "", name.strip().rpartition("/")[2], flags=re.IGNORECASE)
    return re.sub(r"[-. ]+", "_", stem.lower())


def normalise_pattern(pattern: str) -> str:
    """Return a shell pattern normalised like a name, except that brackets keep their hyphens.

    >>> normalise_pattern("RegNetY-[2-8]00MF")
    'regnety_[2-8]00mf'
    """
    parts = re.split(r"(\[[^]]*\])", pattern.lower())
    return "".join(part if part.startswith("[") else re.sub(r"[-. ]", "_", part) for part in parts)


def without_weight_tag(name: str) -> str:
    """Return a name without timm's tag of weights.

    >>> without_weight_tag("regnety_016.tv2_in1k"), without_weight_tag("RegNetX-1.6GF")
    ('regnety_016', 'RegNetX-1.6GF')
    """
    return re.sub(r"\.[a-z]\w*$", "", name)


def parse_name(name: str) -> str:
    """Return the table's form of a name, as far as the name can be parsed.

    timm names a RegNet by its hundreds of megaflops; torchvision writes ``regnet_x``. If torchvision's widths differ
    from pycls's, torchvision's name stands for torchvision's widths, and the returned name ends in ``_tv``.

    >>> [parse_name(name) for name in ("regnety_032", "regnet_x_400mf", "RegNetY-4GF", "ResNeSt-50", "resnest101e")]
    ['regnety_3_2gf', 'regnetx_400mf_tv', 'regnety_4_0gf', 'resnest50', 'resnest101']
    >>> [parse_name(name) for name in ("EfficientNet-B0", "ConvNeXt-T", "ShuffleNetV2-x1.0")]
    ['efficientnet_b0', 'convnext_tiny', 'shufflenet_v2_x1_0']
    """
    normalised = normalise_name(name)
    if match := _REGNET.fullmatch(normalised):
        letter, number, unit, hundreds, suffix = match.groups()
        megaflops = float(number.replace("_", ".")) * (1000 if unit == "g" else 1) if number else 100 * int(hundreds)
        base = f"regnet{letter}_{REGNET_SIZES.get(round(megaflops), normalised.partition('_')[2])}"
        is_torchvisions = name.startswith(f"regnet_{letter}_") and base in _TORCHVISION_WIDTHS
        return f"{base}_tv" if suffix or is_torchvisions else base
    if match := _RESNEST.fullmatch(normalised):
        depth, variant = match.groups()
        return f"resnest{depth}_fast_{variant}" if variant else f"resnest{depth}"
    if match := _RESNET.fullmatch(normalised):
        family, depth, groups = match.groups()
        return f"{family}{depth}{groups or ''}"
    if match := _EFFICIENTNET.fullmatch(normalised):
        return f"efficientnet_{match[1]}"
    if match := _CONVNEXT.fullmatch(normalised):
        return f"convnext_{_CONVNEXT_SIZES.get(match[1], match[1])}"
    if match := _SHUFFLENET.fullmatch(normalised):
        return f"shufflenet_v2_x{match[1] or match[2]}"
    return normalised


_TORCHVISION_WIDTHS = ("regnetx_400mf", "regnety_800mf", "regnety_8_0gf")
"""Networks to which torchvision gives other widths than pycls."""
_CONVNEXT_SIZES = {"t": "tiny", "s": "small", "b": "base"}
