"""Plans of how kernels run a layer, split attention or a block, valid while its modules are unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from designspace.models.blocks import Block
from designspace.models.cpu import convolutions, kernels, passes
from designspace.models.cpu.bottleneck import Parts, bottleneck, bottleneck_operation
from designspace.models.cpu.calls import Operation
from designspace.models.cpu.checks import AttentionLayers, Layer, ModuleSnapshot, allows_kernels
from designspace.models.cpu.convolutions import Unit, has_kernel
from designspace.models.cpu.splits import Attention
from designspace.models.drop import DropPath
from designspace.models.layers import ConvNorm, SqueezeExcitation
from designspace.models.split_attention import SplitAttention


class Fused:
    """Base class of modules that kernels may run."""

    plain: ClassVar[type[nn.Module]]
    """The class of the module when it is not fused."""

    def make_plan(self) -> Any:
        """Return a plan of how to run the module in its current state; None if kernels cannot run it."""
        raise NotImplementedError

    @property
    def plan(self) -> Any:
        """The result of `make_plan`; copies and unpickled modules make a new plan."""
        if "_plan" not in self.__dict__:
            self.__dict__["_plan"] = self.make_plan()
        return self.__dict__["_plan"]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which has no plan."""
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}


def plain_class(module: nn.Module | None) -> type[Any]:
    """Return the class of a module when it is not fused."""
    plain: type[Any] = type(module).__dict__.get("plain", type(module))  # not inherited: subclasses have their own code
    return plain


class LayerPlan:
    """A `ConvNorm` by its own kernel, or by torch's convolution and one pass for the operations after it.

    Args:
        layer: its convolution and batch-norm.
        relu: whether it has a ReLU.
        snapshot: the modules that the kernel replaces.
    """

    def __init__(self, layer: Layer, relu: bool, snapshot: ModuleSnapshot) -> None:
        self._layer, self._relu, self._snapshot = layer, relu, snapshot
        conv = layer.conv
        # Torch's library is slow with groups of few channels, and with images.
        is_narrow = conv.kernel_size == (3, 3) and conv.in_channels // conv.groups <= 8
        uses_kernel = is_narrow and has_kernel(conv) and kernels.has_convolutions()
        self._unit = Unit(conv, layer.norm) if uses_kernel else None

    @staticmethod
    def of(module: nn.Module | None, root: nn.Module, others: Sequence[nn.Module] = ()) -> LayerPlan | None:
        """Plan a layer that ``root`` runs; its kernel also replaces ``others``."""
        if module is None or (layer := _layer(module)) is None:
            return None
        snapshot = ModuleSnapshot(root, (*others, *([] if module is root else [module]), *module.children()))
        return LayerPlan(layer, _has_relu(module), snapshot) if snapshot.is_unchanged() else None

    @property
    def operation(self) -> Operation | None:
        """The layer as an operation by its own kernel; None if it has none."""
        return None if self._unit is None else convolutions.single_layer_operation(self._unit, self._relu)

    def is_ready(self) -> bool:
        """Return whether the layer is unchanged."""
        return self._snapshot.is_unchanged() and self._layer.is_ready(gradients=torch.is_grad_enabled())

    def output_shape(self, x: Tensor) -> tuple[int, int, int, int] | None:
        """Return the shape of the output for ``x`` (N, C, H, W); None if torch's layers must run."""
        return self._layer.output_shape(x) if allows_kernels(x) and self.is_ready() else None

    def run(self, x: Tensor, shortcut: Tensor | None = None, *, relu: bool = False) -> Tensor:
        """Run the layer, add a shortcut of the output's shape, and apply a ReLU if the layer has one or ``relu``."""
        if self._unit is not None:
            return convolutions.single_layer(x, self._unit, self._relu or relu, shortcut)
        return passes.conv_norm(x, self._layer.conv, self._layer.norm, self._relu or relu, shortcut)


class AttentionStep(NamedTuple):
    """Split attention or squeeze-and-excitation: its layers, and the checks of them."""

    attention: Attention
    layers: AttentionLayers
    state: dict[str, Any]
    """The module's attributes."""

    def is_ready(self, *, count: int) -> bool:
        """Return whether kernels can run the module for ``count`` images."""
        return "attention_weights" not in self.state and self.layers.is_ready(count=count)

    @staticmethod
    def of(module: nn.Module) -> AttentionStep | None:
        """Return the step of a module; None if kernels cannot run it."""
        parts = [plain_class(part) for part in module.children()]
        if plain_class(module) is SplitAttention:
            split_attention = cast(SplitAttention, module)
            gate = nn.Softmax if split_attention.radix > 1 else nn.Sigmoid
            expected = [ConvNorm, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, gate]
            squeeze, norm, attend = split_attention.squeeze, split_attention.norm, split_attention.attend
            splits = split_attention.radix
        elif plain_class(module) is SqueezeExcitation:
            excitation = cast(SqueezeExcitation, module)
            expected = [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.Sigmoid]
            squeeze, norm, attend, splits = excitation.squeeze, None, excitation.excite, 1
        else:
            return None
        layers = AttentionLayers.of(squeeze, norm, attend) if parts == expected else None
        if layers is None or attend.out_channels != splits * squeeze.in_channels:
            return None
        return AttentionStep(Attention(squeeze, norm, attend, splits), layers, module.__dict__)


class AttentionPlan:
    """Split attention that never writes splits to memory."""

    def __init__(self, module: SplitAttention, layer: Layer, step: AttentionStep) -> None:
        parts = (*module.children(), *module.splits.children())
        self._layer, self._step, self._snapshot = layer, step, ModuleSnapshot(module, parts)

    @staticmethod
    def of(module: SplitAttention) -> AttentionPlan | None:
        """Plan a split attention; return None if kernels cannot run it."""
        layer, step = _splits(module), AttentionStep.of(module)
        if layer is None or step is None:
            return None
        plan = AttentionPlan(module, layer, step)
        return plan if plan._snapshot.is_unchanged() else None

    def applies(self, x: Tensor) -> bool:
        """Return whether `run` may replace the module for ``x``."""
        return (
            allows_kernels(x)
            and self._snapshot.is_unchanged()
            and self._layer.is_ready(gradients=torch.is_grad_enabled())
            and self._step.is_ready(count=len(x))
            and self._layer.output_shape(x) is not None
        )

    def run(self, x: Tensor) -> Tensor:
        """Run the module."""
        return passes.conv_splits(x, self._layer.conv, self._layer.norm, (self._step.attention,))


class ChainPlan:
    """A block 1x1, 3x3, 1x1 with its attentions and its shortcut as one operation."""

    def __init__(self, block: Block, layers: Sequence[Layer], steps: Sequence[AttentionStep]) -> None:
        self._layers = tuple(layers)
        self._steps = tuple(steps)
        units = tuple(Unit(layer.conv, layer.norm) for layer in layers)
        self._parts = Parts(units, tuple(step.attention for step in steps))
        self._stride = max(unit.stride for unit in units)
        self._in_width = layers[0].conv.in_channels
        replaced = [module for module in block.modules() if module is not block]
        self._snapshot = ModuleSnapshot(block, replaced)

    @staticmethod
    def of(block: Block, *, always: bool = False) -> ChainPlan | None:
        """Plan a block of the right kind if that is faster, or ``always``; return None otherwise."""
        if type(block.relu) is not nn.ReLU or not block.has_shortcut or not kernels.has_convolutions():
            return None
        parts = _chain_of(block)
        if parts is None or not _is_chain(*parts) or not (always or is_chain_faster(parts[0][1].conv)):
            return None
        plan = ChainPlan(block, *parts)
        return plan if plan._snapshot.is_unchanged() else None

    @property
    def operation(self) -> Operation:
        """The block as an operation with gradients."""
        return bottleneck_operation(self._parts)

    def is_ready(self, *, count: int) -> bool:
        """Return whether the block is unchanged, and kernels can run it for ``count`` images."""
        gradients = torch.is_grad_enabled()
        return (
            self._snapshot.is_unchanged()
            and all(layer.is_ready(gradients=gradients) for layer in self._layers)
            and all(step.is_ready(count=count) for step in self._steps)
        )

    def applies(self, x: Tensor) -> bool:
        """Return whether `run` may replace the block for ``x``."""
        count, width, height, breadth = x.shape
        # A single value has no variance.
        has_variance = count * -(-height // self._stride) * -(-breadth // self._stride) > 1
        return width == self._in_width and has_variance and self.is_ready(count=count)

    def run(self, x: Tensor) -> Tensor:
        """Run the block."""
        return bottleneck(x, self._parts)


class TailPlan:
    """A block whose last batch-norm, shortcut and ReLU run in one pass; the layers before run on their own."""

    def __init__(self, block: Block, last: LayerPlan, relu: bool) -> None:
        self._block, self._last, self._relu = block, last, relu

    @staticmethod
    def of(block: Block) -> TailPlan | None:
        """Plan a block."""
        if not block.has_shortcut or type(block.transform) is not nn.Sequential or not len(block.transform):
            return None
        if type(block.relu) not in (nn.ReLU, nn.Identity):
            return None
        last = LayerPlan.of(block.transform[-1], block, (block.transform, block.drop_path, block.relu))
        if last is None or _has_relu(block.transform[-1]):
            return None
        return TailPlan(block, last, type(block.relu) is nn.ReLU)

    def applies(self, x: Tensor) -> bool:
        """Return whether `run` may replace the block for ``x``."""
        return self._last.is_ready()

    def run(self, x: Tensor) -> Tensor:
        """Run the block."""
        *layers, last = self._block.transform
        y: Tensor = x
        for layer in layers:
            y = layer(y)
        shortcut = self._block.shortcut(x)
        shape = self._last.output_shape(y)
        if shape is not None and allows_kernels(shortcut) and shortcut.shape == shape:
            return self._last.run(y, shortcut, relu=self._relu)
        out: Tensor = self._block.relu(last(y) + shortcut)
        return out


class BlockPlan:
    """A block as one operation, or its last operations in one pass."""

    def __init__(self, drop_path: DropPath, chain: ChainPlan | None, tail: TailPlan) -> None:
        self._drop_path = drop_path
        self.plans: list[ChainPlan | TailPlan] = [tail] if chain is None else [chain, tail]
        """The plans in order of preference."""

    @staticmethod
    def of(block: Block) -> BlockPlan | None:
        """Plan a block."""
        tail = TailPlan.of(block)
        if tail is None or type(block.drop_path) is not DropPath:
            return None
        return BlockPlan(block.drop_path, ChainPlan.of(block), tail)

    def choose(self, x: Tensor) -> ChainPlan | TailPlan | None:
        """Return the plan that runs the block for ``x``; None if torch's layers must run."""
        if not allows_kernels(x) or (self._drop_path.training and self._drop_path.rate):
            return None
        return next((plan for plan in self.plans if plan.applies(x)), None)


def _layer(module: nn.Module, *, relu: bool | None = None) -> Layer | None:
    """Return the convolution and batch-norm of a `ConvNorm`, which has a ReLU, has none, or either.

    None if the module is not one, or has other layers after them.
    """
    if plain_class(module) is not ConvNorm or relu not in (None, _has_relu(module)):
        return None
    parts = list(module.children())
    if [type(part) for part in parts] not in ([nn.Conv2d, nn.BatchNorm2d], [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]):
        return None
    return Layer.of(parts[0], parts[1])


def _has_relu(module: nn.Module) -> bool:
    """Return whether a `ConvNorm` ends with a ReLU."""
    return len(list(module.children())) == 3


def _splits(module: SplitAttention) -> Layer | None:
    """Return the convolution of a split attention and its batch-norm; None if kernels cannot run them."""
    layer = _layer(module.splits, relu=True)
    return layer if layer is not None and layer.conv.out_channels == module.width * module.radix else None


def _chain_of(block: Block) -> tuple[list[Layer], list[AttentionStep]] | None:
    """Return the convolutions of a bottleneck block, its shortcut's last, and its attentions.

    None if the block has other parts, or kernels cannot run them.
    """
    if len(block.transform) < 3:
        return None
    reduce, spatial, *attentions, expand = block.transform.children()
    if is_split := plain_class(spatial) is SplitAttention:
        attentions = [spatial, *attentions]
    spatial_layer = _splits(cast(SplitAttention, spatial)) if is_split else _layer(spatial, relu=True)
    last = (_layer(module, relu=False) for module in (expand, *_projection(block.shortcut)))
    layers = [_layer(reduce, relu=True), spatial_layer, *last]
    steps = [AttentionStep.of(module) for module in attentions]
    if None in layers or None in steps or len(steps) > 2:
        return None
    return cast(list[Layer], layers), cast(list[AttentionStep], steps)


def _projection(shortcut: nn.Module) -> list[nn.Module]:
    """Return the layer of a shortcut, if it has one; average-pool shortcuts have no pool if their stride is 1."""
    if type(shortcut) is nn.Identity:
        return []
    parts = list(shortcut.children())
    pools = type(shortcut) is nn.Sequential and len(parts) == 2 and type(parts[0]) is nn.Identity
    return [parts[1] if pools else shortcut]


def _is_chain(layers: Sequence[Layer], steps: Sequence[AttentionStep]) -> bool:
    """Return whether kernels can run these layers as a chain; a fourth layer is the shortcut."""
    convs = [layer.conv for layer in layers]
    if not all(has_kernel(conv) for conv in convs) or [conv.kernel_size[0] for conv in convs[:3]] != [1, 3, 1]:
        return False
    reduce, spatial, expand = convs[:3]
    stride = reduce.stride[0] * spatial.stride[0] * expand.stride[0]
    splits = steps[0].attention.splits if steps else 1
    layers_fit = reduce.out_channels == spatial.in_channels and spatial.out_channels == splits * expand.in_channels
    attentions_fit = all(step.attention.width == expand.in_channels for step in steps)
    if (
        not attentions_fit
        or (steps and expand.stride[0] > 1)
        or [step.attention.splits for step in steps[1:]] not in ([], [1])
    ):
        return False
    if len(convs) == 3:
        return layers_fit and stride == 1 and expand.out_channels == reduce.in_channels
    shortcut = convs[3]
    shortcut_fits = (shortcut.in_channels, shortcut.out_channels) == (reduce.in_channels, expand.out_channels)
    return layers_fit and shortcut_fits and shortcut.kernel_size == (1, 1) and shortcut.stride[0] == stride


def is_chain_faster(conv: nn.Conv2d) -> bool:
    """Return whether `ChainPlan` is faster than the single layers for a block with this 3x3 convolution.

    Measured by `experiments/benchmark_training/blocks.py` for blocks of every kind: narrow groups save up to half of
    the time, while wide maps take most of it in matrix products, for which torch's library is optimised. It is a fixed
    rule instead of a measurement in each process or run, so that a network gives the same results on every machine.
    """
    inner, group = conv.in_channels, conv.in_channels // conv.groups
    return inner <= 256 and (group <= 8 or (group <= 32 and inner <= 64))
