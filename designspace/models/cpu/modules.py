"""Blocks and layers that compiled kernels run where they can, and `fuse`, which puts them into a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from designspace.models.blocks import Block
from designspace.models.cpu import kernels, passes
from designspace.models.cpu.plans import AttentionPlan, BlockPlan, Fused, LayerPlan, plain_class
from designspace.models.layers import ConvNorm
from designspace.models.split_attention import SplitAttention

Model = TypeVar("Model", bound=nn.Module)


class FusedConvNorm(Fused, ConvNorm):
    """A `ConvNorm` that applies batch-norm and ReLU in one pass, or has a kernel of its own."""

    plain = ConvNorm

    def look(self) -> LayerPlan | None:
        """See `Fused.look`."""
        return LayerPlan.of(self, self)

    def forward(self, x: Tensor) -> Tensor:
        """Do what `ConvNorm` does."""
        if not torch.compiler.is_compiling() and (plan := self.plan) is not None and plan.output_shape(x) is not None:
            return cast(Tensor, plan.run(x))
        return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]


class FusedSplitAttention(Fused, SplitAttention):
    """A `SplitAttention` that writes no split to memory."""

    plain = SplitAttention

    def look(self) -> AttentionPlan | None:
        """See `Fused.look`."""
        return AttentionPlan.of(self)

    def forward(self, x: Tensor) -> Tensor:
        """Do what `SplitAttention` does."""
        if not torch.compiler.is_compiling() and (plan := self.plan) is not None and plan.applies(x):
            return cast(Tensor, plan.run(x))
        return super().forward(x)


class FusedBlock(Fused, Block):
    """A `Block` that is one operation, or whose last batch-norm, shortcut and ReLU are one pass."""

    plain = Block

    def look(self) -> BlockPlan | None:
        """See `Fused.look`."""
        return BlockPlan.of(self)

    def forward(self, x: Tensor) -> Tensor:
        """Do what `Block` does."""
        if not torch.compiler.is_compiling() and self.plan is not None and (plan := self.plan.choose(x)) is not None:
            return cast(Tensor, plan.run(x))
        return super().forward(x)


_FUSED: dict[type[nn.Module], type[Any]] = {
    kind.plain: kind for kind in (FusedConvNorm, FusedSplitAttention, FusedBlock)
}


def fuse(model: Model) -> Model:
    """Let compiled kernels run a model's layers on CPUs, and return the model.

    Convolutions, batch-norms, ReLUs, shortcuts and split attention are computed together, with half the memory traffic:
    a training step of a small network takes about 0.6 times as long. Kernels run in training mode, and in evaluation
    mode without gradients. The model stays what it was: the same modules under the same names, the same state dict, the
    same outputs up to rounding. Only the classes of its blocks and layers change; `unfuse` changes them back.

    Layers that are not as `AnyNet` makes them are left alone: with other activations, hooks, pruned or parametrised
    weights, other types than float32, or on other devices. What is changed later is noticed in the next forward pass,
    and torch's own layers run instead. Tracers, compilers, autocast, transforms such as ``vmap`` and counters of
    operations see torch's operators, as they do without `fuse`.

    Kernels give first derivatives only: ``create_graph=True`` raises a `RuntimeError` that says so. The machine's C
    compiler builds them in two seconds when they are first needed. Without a compiler, or with
    ``DESIGNSPACE_KERNELS=0``, the model stays plain. The C library is told to keep freed memory for the next step.
    """
    if _exchange(model):
        kernels.keep_freed_memory()
    return model


def unfuse(model: Model) -> Model:
    """Make a fused model plain again, and return it."""
    _give_back(model.modules())
    return model


@contextlib.contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Fuse a model for the length of a block of code; what was fused before stays so."""
    exchanged = _exchange(model)
    try:
        yield
    finally:
        if exchanged:
            _give_back(exchanged)
            passes.release()


def _exchange(model: nn.Module) -> list[nn.Module]:
    """Give modules their fused classes, and return those that had plain ones; modules fused before are planned anew."""
    modules = [module for module in model.modules() if plain_class(module) in _FUSED]
    if not modules or kernels.library() is None:
        return []
    exchanged: list[nn.Module] = []
    for module in reversed(modules):  # children first: the plan of a block holds the classes of its layers
        was_plain = not isinstance(module, Fused)
        if was_plain and "forward" not in module.__dict__:
            module.__class__ = _FUSED[type(module)]
        if not isinstance(module, Fused):
            continue
        module.__dict__["_plan"] = module.look()
        if module.plan is None:
            _give_back([module])
        elif was_plain:
            exchanged.append(module)
    return exchanged


def _give_back(modules: Iterable[nn.Module]) -> None:
    """Give modules their plain classes."""
    for module in modules:
        if isinstance(module, Fused):
            module.__dict__.pop("_plan", None)
            module.__class__ = plain_class(module)
