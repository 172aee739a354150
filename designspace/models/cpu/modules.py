"""Blocks and layers that use compiled kernels when possible, and `fuse`, which enables them in a model."""

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
    """A `ConvNorm` that applies batch-norm and ReLU in one pass, or has its own kernel."""

    plain = ConvNorm

    def make_plan(self) -> LayerPlan | None:
        """See `Fused.make_plan`."""
        return LayerPlan.of(self, self)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the `ConvNorm`, with a kernel if possible."""
        if not torch.compiler.is_compiling() and (plan := self.plan) is not None and plan.output_shape(x) is not None:
            return cast(Tensor, plan.run(x))
        return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]


class FusedSplitAttention(Fused, SplitAttention):
    """A `SplitAttention` that never writes splits to memory."""

    plain = SplitAttention

    def make_plan(self) -> AttentionPlan | None:
        """See `Fused.make_plan`."""
        return AttentionPlan.of(self)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the `SplitAttention`, with kernels if possible."""
        if not torch.compiler.is_compiling() and (plan := self.plan) is not None and plan.applies(x):
            return cast(Tensor, plan.run(x))
        return super().forward(x)


class FusedBlock(Fused, Block):
    """A `Block` that runs as one operation, or whose last batch-norm, shortcut and ReLU run in one pass."""

    plain = Block

    def make_plan(self) -> BlockPlan | None:
        """See `Fused.make_plan`."""
        return BlockPlan.of(self)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the `Block`, with kernels if possible."""
        if not torch.compiler.is_compiling() and self.plan is not None and (plan := self.plan.choose(x)) is not None:
            return cast(Tensor, plan.run(x))
        return super().forward(x)


_FUSED: dict[type[nn.Module], type[Any]] = {
    kind.plain: kind for kind in (FusedConvNorm, FusedSplitAttention, FusedBlock)
}


def fuse(model: Model) -> Model:
    """Make a model use compiled kernels on CPUs, and return the model.

    Convolutions, batch-norms, ReLUs, shortcuts and split attention are computed together, with half the memory traffic:
    a training step of a small network takes about 0.6 times as long. Kernels run in training mode, and in evaluation
    mode without gradients. The modules and their names, the state dict and (up to rounding) the outputs stay the same.
    Only the classes of blocks and layers change; `unfuse` changes them back.

    Layers that differ from those of `AnyNet` are left alone: with other activations, hooks, pruned or parametrised
    weights, other types than float32, or on other devices. Each forward pass detects later changes and then runs
    torch's own layers. Tracers, compilers, autocast, transforms such as ``vmap`` and operation counters see torch's
    operators, as they do without `fuse`.

    Kernels compute first derivatives only: ``create_graph=True`` raises a `RuntimeError`. The machine's C compiler
    builds them in two seconds when they are first needed. Without a compiler, or with ``DESIGNSPACE_KERNELS=0``, the
    model is not changed. The C library is set to keep freed memory for the next step.
    """
    if _fuse_modules(model, renew=True):
        kernels.keep_freed_memory()
    return model


def unfuse(model: Model) -> Model:
    """Undo `fuse`, and return the model."""
    _unfuse_modules(model.modules())
    return model


@contextlib.contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Fuse a model within the context; modules that were fused before stay fused, and keep their plans."""
    newly_fused = _fuse_modules(model, renew=False)
    try:
        yield
    finally:
        if newly_fused:
            _unfuse_modules(newly_fused)
            passes.free_gradient_memory()


def _fuse_modules(model: nn.Module, *, renew: bool) -> list[nn.Module]:
    """Give modules their fused classes, and return the newly fused ones; ``renew`` the plans of those fused before."""
    modules = [module for module in model.modules() if plain_class(module) in _FUSED]
    if not modules or kernels.library() is None:
        return []
    newly_fused: list[nn.Module] = []
    for module in reversed(modules):  # children first, because the plan of a block records the classes of its layers
        was_plain = not isinstance(module, Fused)
        if was_plain and "forward" not in module.__dict__:
            module.__class__ = _FUSED[type(module)]
        if not isinstance(module, Fused) or (not was_plain and not renew and "_plan" in module.__dict__):
            continue
        module.__dict__["_plan"] = module.make_plan()
        if module.plan is None:
            _unfuse_modules([module])
        elif was_plain:
            newly_fused.append(module)
    return newly_fused


def _unfuse_modules(modules: Iterable[nn.Module]) -> None:
    """Give modules their plain classes."""
    for module in modules:
        if isinstance(module, Fused):
            module.__dict__.pop("_plan", None)
            module.__class__ = plain_class(module)
