"""Networks as frozen values, which describe the whole shape of a network and nothing of its training.

RegNetX-400MF, ResNet-50, ResNeXt-50, ResNeSt-50 and all networks drawn from spaces are values of the same class
`Network`, built by the same module (`designspace.models.AnyNet`) and counted by the same code
(`designspace.networks.complexity`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from designspace.networks import blocks
from designspace.support.checks import at_most, make_plain, mapping, number, text, whole
from designspace.support.display import html_table, shortened
from designspace.support.errors import InputError, unknown
from designspace.support.reading import parse_json
from designspace.support.text import shown

STEMS = tuple(blocks.STEM_STRIDES)
BLOCKS = ("bottleneck", "bottleneck_linear", *blocks.PLAIN_CONVS)
SHORTCUTS = ("conv", "avg_pool")
DOWNSAMPLINGS = ("conv", "avg_pool_before", "avg_pool_after")
MAX_STAGES = 100
MAX_DEPTH = 10_000
"""Most blocks in a stage. All limits here are far above any real network; they reject damaged files."""
MAX_WIDTH = 1 << 20
"""Most channels of a stem, a stage, a head or the images, and most classes."""
MAX_RATIO = 64
"""Bottleneck ratios are from 1/64 to 64, squeeze-and-excitation ratios and radices at most 64."""


@dataclass(frozen=True, slots=True)
class Stem:
    """The layers before the first stage.

    ``imagenet`` is RegNet's 3x3 convolution of stride 2, ``cifar`` the same with stride 1, ``resnet`` the 7x7
    convolution of stride 2 and the 3x3 max pool of stride 2, ``deep`` three 3x3 convolutions (the first of stride 2)
    and the max pool (ResNeSt, "ResNet-D").
    """

    kind: str = "imagenet"
    width: int = 32
    """Output channels of the stem. The first two convolutions of a deep stem have half as many."""

    def __post_init__(self) -> None:
        make_plain(self)
        if text("stem kind", self.kind) not in STEMS:
            raise unknown("stem", self.kind, STEMS)
        at_most("stem width", whole("stem width", self.width, 1), MAX_WIDTH)
        if self.kind == "deep" and self.width % 2:
            raise InputError(
                f"the width of a deep stem must be even (twice that of its first convolution), not {self.width}"
            )


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive blocks of one width ("Designing Network Design Spaces", section 3.2)."""

    depth: int
    """Number of blocks d."""
    width: int
    """Output channels w of each block."""
    stride: int = 2
    """Stride of the first block; the others have 1."""
    bottleneck_ratio: float = 1
    """b: the inner width is width / b. Below 1 for an inverted bottleneck."""
    group_width: int = 1
    """g: channels per group of the 3x3 convolution. A divisor of the inner width."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name, high in (("depth", MAX_DEPTH), ("width", MAX_WIDTH), ("stride", 1024), ("group_width", MAX_WIDTH**2)):
            at_most(name, whole(name, getattr(self, name), 1), high)
        if not number("bottleneck_ratio", self.bottleneck_ratio) > 0:
            raise InputError(f"bottleneck_ratio must be a positive number, not {self.bottleneck_ratio!r}")
        at_most("width / bottleneck_ratio", self.width / self.bottleneck_ratio, MAX_WIDTH * MAX_RATIO)

    @property
    def inner_width(self) -> int:
        """Channels of the block's 3x3 convolution: width / b."""
        return int(blocks.inner_width(self.width, self.bottleneck_ratio))

    @property
    def cardinality(self) -> int:
        """Number of groups of the 3x3 convolution, not counting the splits of a radix."""
        return self.inner_width // self.group_width


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the AnyNet family: stem, stages of equal blocks, average pool, linear classifier.

    A `Network` is always *realised*: its group widths divide its inner widths, so that it can be built as it is.
    `designspace.networks.blocks.compatible_widths` turns drawn values into realised ones.

    Raises:
        InputError: on creation, for values that no module could be built from.
    """

    stem: Stem
    stages: tuple[Stage, ...]
    block: str = "bottleneck"
    """``bottleneck``: 1x1, 3x3, 1x1 with shortcut (the X block; with `se_ratio` the Y block); ``bottleneck_linear``:
    the same without a final activation and with identity shortcuts only; ``basic``: two 3x3 with shortcut;
    ``vanilla``: two 3x3; ``single_residual`` and ``single``: one 3x3 with and without shortcut (VR and V)."""
    se_ratio: float = 0.0
    """Squeeze-and-excitation width as a fraction of the block's *input* width; 0 for none."""
    radix: int = 0
    """Splits of split attention (ResNeSt, section 3.1), which replaces the 3x3 convolution; 0 for a plain convolution.
    Any squeeze-and-excitation follows it."""
    shortcut: str = "conv"
    """Shortcut where the shape changes: a strided 1x1 ``conv``, or ``avg_pool`` and a 1x1 convolution (ResNet-D)."""
    downsampling: str = "conv"
    """Layer in which the first block of a stage applies a stride above 1: its 3x3 ``conv``, or a 3x3 average pool
    before or after it (ResNeSt's *avd*)."""
    head_width: int = 0
    """Channels of a 1x1 convolution before the average pool; 0 for none."""
    num_classes: int = 1000
    """Outputs of the classifier; 0 for no classifier, so that the pooled features are the output."""
    in_channels: int = 3

    def __post_init__(self) -> None:
        make_plain(self)
        for name, allowed in (("block", BLOCKS), ("shortcut", SHORTCUTS), ("downsampling", DOWNSAMPLINGS)):
            if text(name, getattr(self, name)) not in allowed:
                raise unknown(name, getattr(self, name), allowed)
        if not isinstance(self.stages, tuple) or not self.stages:
            raise InputError(f"stages must be a tuple of at least one Stage, not {shown(self.stages)}")
        if len(self.stages) > MAX_STAGES:
            raise InputError(f"a network has at most {MAX_STAGES} stages, not {len(self.stages):,}")
        at_most("se_ratio", number("se_ratio", self.se_ratio, 0), MAX_RATIO)
        for name, low in (("radix", 0), ("head_width", 0), ("num_classes", 0), ("in_channels", 1)):
            at_most(name, whole(name, getattr(self, name), low), MAX_RATIO if name == "radix" else MAX_WIDTH)
        for position, stage in enumerate(self.stages, start=1):
            self._check_stage(position, stage)

    def _check_stage(self, position: int, stage: Stage) -> None:
        """Raise if a stage's block cannot be built."""
        where = f"stage {position} ({stage})"
        if self.block in blocks.PLAIN_CONVS:
            if stage.bottleneck_ratio != 1 or stage.group_width != stage.width:
                raise InputError(
                    f"{where}: a {self.block} block has neither bottleneck nor groups, "
                    "so bottleneck_ratio must be 1 and group_width equal to width"
                )
            if self.radix or self.se_ratio or self.downsampling != "conv":
                raise InputError(f"{where}: radix, se_ratio and downsampling need a bottleneck block")
            return
        if stage.inner_width % stage.group_width:
            raise InputError(
                f"{where}: group_width {stage.group_width} must divide the inner width "
                f"{stage.inner_width} (= width {stage.width} / bottleneck_ratio {stage.bottleneck_ratio:g})"
            )
        if self.radix and stage.group_width % self.radix:
            raise InputError(f"{where}: group_width {stage.group_width} must be divisible by radix {self.radix}")

    def __repr__(self) -> str:
        blocks_ = "" if self.block == "bottleneck" else f"{self.block}, "
        parts = [f"d={shortened(self._of_stages('depth'))}, w={shortened(self._of_stages('width'))}"]
        if self.block not in blocks.PLAIN_CONVS:
            parts += [f"b={self._shared('bottleneck_ratio')}", f"g={self._shared('group_width')}"]
            parts += [f"{name}={value:g}" for name, value in (("se", self.se_ratio), ("radix", self.radix)) if value]
        stem = f"{self.stem.kind} stem of {self.stem.width}"
        return f"Network({self.id}: {blocks_}{stem}, {', '.join(parts)}, {self.num_classes} classes)"

    def _repr_html_(self) -> str:
        rows = [(name, *self._of_stages(name)[:24]) for name in ("depth", "width", "stride", "bottleneck_ratio")]
        rows += [("group_width", *self._of_stages("group_width")[:24])]
        return html_table(repr(self), rows)

    def _of_stages(self, name: str) -> list[Any]:
        """Return one parameter of each stage, rounded for display."""
        values = [getattr(stage, name) for stage in self.stages]
        return [f"{value:g}" if isinstance(value, float) else value for value in values]

    def _shared(self, name: str) -> str:
        """Return one parameter of the stages as text: a single value if all stages share it, else all values."""
        values = self._of_stages(name)
        return str(values[0]) if len(set(values)) == 1 else shortened(values)

    @property
    def depth(self) -> int:
        """Number of blocks in all stages."""
        return sum(stage.depth for stage in self.stages)

    @property
    def downsamples_after_conv(self) -> bool:
        """Whether an average pool after the 3x3 convolution applies the stride."""
        return self.downsampling == "avg_pool_after"

    @property
    def id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON, which identify this network everywhere."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Return the canonical JSON: sorted keys, no spaces, and no fields with their default value.

        Defaults are left out so that a field added in a later version does not change any id.
        """
        return canonical_json(self)

    @staticmethod
    def from_json(content: str) -> Network:
        """Return the network described by JSON that `to_json` wrote.

        Raises:
            InputError: the text is not JSON, or a field is missing, unknown or out of range.
        """
        try:
            fields = parse_json(content)
            return Network.from_dict(fields)
        except ValueError as error:
            raise InputError(f"not the JSON of a network ({error}): {content[:200]}") from error

    @staticmethod
    def from_dict(fields: Any) -> Network:
        """Return the network described by the parsed JSON of `to_json`.

        Raises:
            InputError: a field is missing, unknown or out of range.
        """
        values = dict(mapping("network", fields, _field_names(Network), ["stem", "stages"]))
        stages = values.pop("stages")
        if not isinstance(stages, list) or len(stages) > MAX_STAGES:
            raise InputError(f"stages must be a list of at most {MAX_STAGES} stages, not {shown(stages)}")
        required = ["depth", "width"]
        parsed_stages = tuple(Stage(**mapping("stage", stage, _field_names(Stage), required)) for stage in stages)
        stem = Stem(**mapping("stem", values.pop("stem"), _field_names(Stem)))
        return Network(stem=stem, stages=parsed_stages, **values)


def canonical_json(value: Network | Stage | Stem) -> str:
    """Return the canonical JSON of a value (see `Network.to_json`); that of a network contains those of its stages."""
    return json.dumps(_without_defaults(value), sort_keys=True, separators=(",", ":"))


def _field_names(kind: Any) -> list[str]:
    """Return the names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(kind)]


def _without_defaults(value: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults, also in nested values; whole numbers become ints."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        if content == field.default:
            continue
        if field.name == "stem":
            content = _without_defaults(content)
        elif field.name == "stages":
            content = [_without_defaults(stage) for stage in content]
        elif isinstance(content, float) and content.is_integer():
            content = int(content)
        fields[field.name] = content
    return fields
