"""Networks as frozen values, which describe the whole shape of a network and nothing of its training.

RegNetX-400MF, ResNet-50, ResNeXt-50, ResNeSt-50 and all networks drawn from spaces are values of the same class
`Network`, built by the same module (`designspace.models.AnyNet`) and counted by the same code
(`designspace.networks.complexity`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.networks import blocks, heads, stems
from designspace.networks.blocks.kind import SHARED
from designspace.networks.blocks.widths import inner_width
from designspace.networks.parameters import Pairs, check_pairs
from designspace.support.checks import at_most, make_plain, mapping, number, text, whole
from designspace.support.display import html_table, shortened
from designspace.support.errors import InputError, unknown
from designspace.support.imported import check_import_name, is_import_name
from designspace.support.reading import parse_json
from designspace.support.text import shown

STEMS = tuple(stems.STEMS)
BLOCKS = tuple(blocks.BLOCKS)
HEADS = tuple(heads.HEADS)
SHORTCUTS = ("conv", "avg_pool")
DOWNSAMPLINGS = ("conv", "avg_pool_before", "avg_pool_after")
MODEL_FILE = "network.json"
"""File of a model folder that describes its network, the last one to be written."""
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
    and the max pool (ResNeSt, "ResNet-D"), ``conv_pool`` a 3x3 convolution of stride 2 and the max pool (ShuffleNetV2),
    and ``patch`` a 4x4 convolution of stride 4 and a layer norm (ConvNeXt). A name such as ``mine:Patchify`` is a
    module in a file of the user's.
    """

    kind: str = "imagenet"
    width: int = 32
    """Output channels of the stem. The first two convolutions of a deep stem have half as many."""

    def __post_init__(self) -> None:
        make_plain(self)
        _check_kind("stem", self.kind, STEMS)
        at_most("stem width", whole("stem width", self.width, 1), MAX_WIDTH)
        if stems.is_doubled(self.kind) and self.width % 2:
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
    parameters: Pairs = ()
    """Own parameters of the block, such as ``(("kernel_size", 5),)``; those of a built-in block without defaults."""

    def __post_init__(self) -> None:
        make_plain(self)
        object.__setattr__(self, "parameters", check_pairs("stage", self.parameters))
        for name, high in (("depth", MAX_DEPTH), ("width", MAX_WIDTH), ("stride", 1024), ("group_width", MAX_WIDTH**2)):
            at_most(name, whole(name, getattr(self, name), 1), high)
        if not number("bottleneck_ratio", self.bottleneck_ratio) > 0:
            raise InputError(f"bottleneck_ratio must be a positive number, not {self.bottleneck_ratio!r}")
        at_most("width / bottleneck_ratio", self.width / self.bottleneck_ratio, MAX_WIDTH * MAX_RATIO)

    @property
    def inner_width(self) -> int:
        """Channels of the block's 3x3 convolution: width / b."""
        return int(inner_width(self.width, self.bottleneck_ratio))

    @property
    def cardinality(self) -> int:
        """Number of groups of the 3x3 convolution, not counting the splits of a radix."""
        return self.inner_width // self.group_width


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the AnyNet family: stem, stages of equal blocks, head.

    A `Network` is always *realised*: its group widths divide its inner widths, so that it can be built as it is.
    `designspace.networks.blocks.widths.compatible_widths` turns drawn values into realised ones.

    Raises:
        InputError: on creation, for values that no module could be built from.
    """

    stem: Stem
    stages: tuple[Stage, ...]
    block: str = "bottleneck"
    """``bottleneck``: 1x1, 3x3, 1x1 with shortcut (the X block; with `se_ratio` the Y block); ``bottleneck_linear``:
    the same without a final activation and with identity shortcuts only; ``basic``: two 3x3 with shortcut;
    ``vanilla``: two 3x3; ``single_residual`` and ``single``: one 3x3 with and without shortcut (VR and V); ``mbconv``,
    ``convnext`` and ``shufflenet``: see `designspace.networks.blocks`. A name such as ``mine:Block`` is a module in a
    file of the user's."""
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
    head: str = "linear"
    """``linear``: average pool and linear classifier; ``layer_norm``: the same with a layer norm between them
    (ConvNeXt); ``dense``: a classifier of each pixel of the last map, whose logits are (N, num_classes, H, W). A name
    such as ``mine:Head`` is a module in a file of the user's."""
    parameters: Pairs = ()
    """Own parameters of the block that a network has once, and those of the stem and the head, whose names begin with
    ``stem_`` and ``head_``."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name, allowed in (("shortcut", SHORTCUTS), ("downsampling", DOWNSAMPLINGS)):
            if text(name, getattr(self, name)) not in allowed:
                raise unknown(name, getattr(self, name), allowed)
        _check_kind("block", self.block, BLOCKS)
        _check_kind("head", self.head, HEADS)
        if not isinstance(self.stages, tuple) or not self.stages:
            raise InputError(f"stages must be a tuple of at least one Stage, not {shown(self.stages)}")
        if len(self.stages) > MAX_STAGES:
            raise InputError(f"a network has at most {MAX_STAGES} stages, not {len(self.stages):,}")
        at_most("se_ratio", number("se_ratio", self.se_ratio, 0), MAX_RATIO)
        for name, low in (("radix", 0), ("head_width", 0), ("num_classes", 0), ("in_channels", 1)):
            at_most(name, whole(name, getattr(self, name), low), MAX_RATIO if name == "radix" else MAX_WIDTH)
        if self.head_width and self.head in HEADS and not heads.HEADS[self.head].has_width:
            raise InputError(f"a {self.head} head has no head_width, so it must be 0, not {self.head_width}")
        self._realise_parameters()
        for position, stage in enumerate(self.stages, start=1):
            self._check_stage(position, stage)

    def _realise_parameters(self) -> None:
        """Check own parameters, and leave out the defaults of built-in blocks."""
        own = check_pairs("network", self.parameters)
        for prefix, kind in (("stem_", self.stem.kind), ("head_", self.head)):
            name = next((name for name, _ in own if name.startswith(prefix)), None)
            if name is not None and not is_import_name(kind):
                raise InputError(f"{name} is a parameter of a custom {prefix[:-1]}, but it is {kind}")
        of_parts = tuple(pair for pair in own if pair[0].startswith(("stem_", "head_")))
        of_block = tuple(pair for pair in own if pair not in of_parts)
        kept = blocks.realised_parameters(self.block, of_block, once=True, where="network")
        object.__setattr__(self, "parameters", tuple(sorted((*kept, *of_parts))))
        if any(stage.parameters for stage in self.stages):
            stages_ = (
                dataclasses.replace(
                    stage,
                    parameters=blocks.realised_parameters(self.block, stage.parameters, once=False, where=f"stage {i}"),
                )
                for i, stage in enumerate(self.stages, start=1)
            )
            object.__setattr__(self, "stages", tuple(stages_))

    def _check_stage(self, position: int, stage: Stage) -> None:
        """Raise if a stage's block cannot be built."""
        where = f"stage {position} ({stage})"
        kind = blocks.BLOCKS.get(self.block)
        uses = SHARED if kind is None else kind.uses
        if "group_width" not in uses and (stage.bottleneck_ratio != 1 or stage.group_width != stage.width):
            raise InputError(
                f"{where}: a {self.block} block has neither bottleneck nor groups, "
                "so bottleneck_ratio must be 1 and group_width equal to width"
            )
        for name, unused in (("radix", 0), ("se_ratio", 0), ("downsampling", "conv"), ("shortcut", "conv")):
            if name not in uses and getattr(self, name) != unused:
                raise InputError(f"{where}: a {self.block} block has no {name}, so it must be {unused}")
        if kind is not None and stage.width % kind.width_multiple:
            raise InputError(f"{where}: the width of a {self.block} block must be divisible by {kind.width_multiple}")
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
        if self.block not in BLOCKS or "group_width" in blocks.BLOCKS[self.block].uses:
            parts += [f"b={self._shared('bottleneck_ratio')}", f"g={self._shared('group_width')}"]
        parts += [f"{name}={value:g}" for name, value in (("se", self.se_ratio), ("radix", self.radix)) if value]
        parts += [f"{name}={shortened(values)}" for name, values in self.stage_parameters().items()]
        parts += [f"{name}={value}" for name, value in self.parameters]
        stem = f"{self.stem.kind} stem of {self.stem.width}"
        return f"Network({self.id}: {blocks_}{stem}, {', '.join(parts)}, {self.num_classes} classes)"

    def _repr_html_(self) -> str:
        rows = [(name, *self._of_stages(name)[:24]) for name in ("depth", "width", "stride", "bottleneck_ratio")]
        rows += [("group_width", *self._of_stages("group_width")[:24])]
        rows += [(name, *values[:24]) for name, values in self.stage_parameters().items()]
        return html_table(repr(self), rows)

    def _of_stages(self, name: str) -> list[Any]:
        """Return one parameter of each stage, rounded for display."""
        values = [getattr(stage, name) for stage in self.stages]
        return [f"{value:g}" if isinstance(value, float) else value for value in values]

    def _shared(self, name: str) -> str:
        """Return one parameter of the stages as text: a single value if all stages share it, else all values."""
        values = self._of_stages(name)
        return str(values[0]) if len(set(values)) == 1 else shortened(values)

    def stage_parameters(self) -> dict[str, list[Any]]:
        """Return the own parameters that differ from their defaults in any stage: name -> value in each stage."""
        names = sorted({name for stage in self.stages for name, _ in stage.parameters})
        return {name: [self.stage_parameter(stage, name) for stage in self.stages] for name in names}

    def stage_parameter(self, stage: Stage, name: str) -> Any:
        """Return an own parameter of the blocks of a stage.

        Raises:
            InputError: the block has no such parameter, or a custom one cannot be imported.
        """
        values = dict(stage.parameters)
        return values[name] if name in values else blocks.get(self.block).default(name)

    def parameters_of(self, part: str) -> dict[str, Any]:
        """Return the own parameters that a network has once, of its ``block``, ``stem`` or ``head``, by name."""
        if part == "block":
            return {name: value for name, value in self.parameters if not name.startswith(("stem_", "head_"))}
        prefix = f"{part}_"
        return {name.removeprefix(prefix): value for name, value in self.parameters if name.startswith(prefix)}

    @property
    def activation(self) -> str:
        """Activation of the stem, the head and a built-in block: that of its own parameters, or ``relu``."""
        kind = blocks.BLOCKS.get(self.block)
        if kind is None or not any(parameter.name == "activation" for parameter in kind.parameters):
            return "relu"
        return str(dict(self.parameters).get("activation", kind.default("activation")))

    @property
    def imported_names(self) -> tuple[str, ...]:
        """Names of the user's own classes of which the network consists, such as ``mine:Block``."""
        return tuple(name for name in (self.block, self.stem.kind, self.head) if is_import_name(name))

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
        parsed_stages = tuple(
            Stage(**_with_pairs(mapping("stage", stage, _field_names(Stage), required))) for stage in stages
        )
        stem = Stem(**mapping("stem", values.pop("stem"), _field_names(Stem)))
        return Network(stem=stem, stages=parsed_stages, **_with_pairs(values))


def _check_kind(what: str, kind: object, allowed: Sequence[str]) -> None:
    """Raise unless a kind is built in, or has the form of a name to import; nothing is imported."""
    if text(what, kind) in allowed:
        return
    if not is_import_name(kind):
        raise unknown(what, kind, allowed)
    check_import_name(what, str(kind))


def _with_pairs(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return parsed fields with own parameters as pairs."""
    parameters = fields.get("parameters", {})
    return {**fields, "parameters": tuple(mapping("parameters", parameters).items())}


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
        elif field.name == "parameters":
            content = dict(content)
        elif isinstance(content, float) and content.is_integer():
            content = int(content)
        fields[field.name] = content
    return fields
