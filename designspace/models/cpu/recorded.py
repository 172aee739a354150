"""Training steps whose kernels are recorded once and then called again, without Python's and autograd's work.

In a small network a block takes some milliseconds, a tenth of which is spent outside of kernels: on checks, autograd,
allocations and conversions of arguments. The first step records its calls, and the following ones repeat them with the
same addresses. Layers without kernels of their own, and the head, run as usual in between. The results have the same
bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from designspace.models.anynet import AnyNet
from designspace.models.cpu.calls import Call, Operation, first_derivative_only, recording, repeat
from designspace.models.cpu.checks import ModuleSnapshot, allows_kernels
from designspace.models.cpu.memory import Pool, allocating_from, new_map
from designspace.models.cpu.modules import FusedBlock, FusedConvNorm
from designspace.models.cpu.plans import ChainPlan, LayerPlan


class RecordedModel:
    """An `AnyNet` in training, whose kernels are recorded in its first forward and backward pass.

    It writes the gradients of these kernels' parameters itself, over those of the step before. So the gradients of all
    parameters must be None before each forward pass, and its backward pass must run before the next forward pass. It
    must not be used after the model's modules or tensors were replaced (see `is_valid`); changes in place are allowed.
    """

    def __init__(self, model: AnyNet, parts: Sequence[nn.Module]) -> None:
        self._model, self._parts = model, parts
        self._snapshot = _snapshot(model)
        self._tensors = _tensors_of(model)
        self._settings = _norm_settings(model)
        self._key: Any = None
        self._runs: list[_Segment | nn.Module] = []

    @staticmethod
    def of(model: nn.Module) -> RecordedModel | None:
        """Return a fused model that records; None if it is not an `AnyNet`, or no layer has kernels of its own."""
        if type(model) is not AnyNet or any(type(part) is not nn.Sequential for part in (model.stages, *model.stages)):
            return None
        parts = [model.stem, *itertools.chain(*model.stages), model.head]
        recorded = RecordedModel(model, parts)
        return recorded if recorded._snapshot.is_unchanged() and any(map(_plan_of, parts)) else None

    def is_valid(self) -> bool:
        """Return whether the model is unchanged, in training mode, and can be run by the kernels that it had."""
        return (
            self._model.training
            and self._snapshot.is_unchanged()
            and list(map(id, _tensors_of(self._model))) == list(map(id, self._tensors))
            and _norm_settings(self._model) == self._settings
            and all(parameter.requires_grad for parameter in self._model.parameters())
            and all(_is_ready(part) for part in self._parts)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes), as the model does."""
        if len(x) < 2 or not torch.is_grad_enabled() or not allows_kernels(x):
            return self._model(x)  # type: ignore[no-any-return]
        key = (x.shape, x.requires_grad, torch.get_num_threads(), _addresses(self._tensors))
        if key != self._key:
            self._key, self._runs = key, self._new_runs(x)
        for run in self._runs:
            x = run(x)
        return x

    def _new_runs(self, x: Tensor) -> list[_Segment | nn.Module]:
        """Return what to run for ``x``: modules, and segments of those that have kernels."""
        runs: list[_Segment | nn.Module] = []
        for has_kernels, parts in itertools.groupby(self._parts, lambda part: _plan_of(part) is not None):
            if not has_kernels:
                runs += parts
                continue
            operations = [plan.operation for part in parts if (plan := _plan_of(part))]
            runs.append(_Segment(operations, needs_x=bool(runs) or x.requires_grad))  # type: ignore[arg-type]
        return runs


def _snapshot(model: AnyNet) -> ModuleSnapshot:
    """Return a snapshot of the modules that `RecordedModel` does not call, whose hooks would therefore not run."""
    blocks = itertools.chain(*model.stages)
    return ModuleSnapshot(model, (model, model.stem, model.stages, *model.stages, *blocks))


def _tensors_of(model: nn.Module) -> list[Tensor]:
    """Return all parameters and buffers of a model."""
    return [*model.parameters(), *model.buffers()]


def _norm_settings(model: nn.Module) -> list[tuple[float, float | None]]:
    """Return the settings of all batch-norms, which are arguments of recorded calls."""
    return [(module.eps, module.momentum) for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _addresses(tensors: Sequence[Tensor]) -> list[int]:
    """Return the addresses of tensors."""
    return [tensor.data_ptr() for tensor in tensors]


def _plan_of(module: nn.Module) -> LayerPlan | ChainPlan | None:
    """Return the plan of a stem or a block that has kernels of its own, and None for other modules."""
    if type(module) is FusedConvNorm:
        return module.plan if module.plan is not None and module.plan.operation is not None else None
    if type(module) is FusedBlock and module.plan is not None and not module.drop_path.rate:
        return next((plan for plan in module.plan.plans if type(plan) is ChainPlan), None)
    return None


def _is_ready(module: nn.Module) -> bool:
    """Return whether kernels can still run a module, if it has kernels of its own."""
    plan = _plan_of(module)
    if isinstance(plan, ChainPlan):
        return plan.is_ready(count=2)
    return plan is None or plan.is_ready()


class _Context:
    """The part of autograd's context that an `Operation` uses."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: tuple[Tensor | None, ...] = ()
        self.before: _Context | None = None
        """The context of the operation before this one, if both have the same function."""
        self.joined: Any = None
        """The gradients of its end, if the backward pass of the operation after it has computed them."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward pass."""
        self.saved_tensors = tensors


class _Segment:
    """Consecutive operations by kernels, which are recorded in the first step."""

    def __init__(self, operations: Sequence[Operation], *, needs_x: bool) -> None:
        self._operations, self._needs_x = operations, needs_x
        self._pool = Pool()
        self._forward_calls: list[Call] = []
        self._backward_calls: list[Call] = []
        self._contexts: list[_Context] = []
        self._ends: list[Tensor] = []
        """Input and output, and then the gradients of output and input (if any)."""
        self._gradients: list[tuple[Tensor, Tensor]] = []
        """Parameters and their gradients."""
        self._anchor: Tensor = operations[0].arguments[-1]
        """A parameter, so that autograd runs the backward pass."""
        self.passes = 0
        """Number of forward and backward passes so far."""

    def __call__(self, x: Tensor) -> Tensor:
        """Run the operations."""
        out: Tensor = _RunSegment.apply(x, self, self._anchor)  # type: ignore[no-untyped-call]
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Run the operations, and record them if they were not recorded."""
        self.passes += 1
        if not self._ends:
            self._record_forward(x)
        else:
            self._ends[0].copy_(x)
            repeat(self._forward_calls)
        return self._ends[1].detach()

    def backward(self, gradient: Tensor) -> Tensor | None:
        """Run the backward pass: set the gradients of the parameters, and return that of the input if it is needed."""
        self.passes += 1
        if len(self._ends) == 2:
            self._record_backward(gradient)
        else:
            self._ends[2].copy_(gradient)
            repeat(self._backward_calls)
        for parameter, parameter_gradient in self._gradients:
            parameter.grad = parameter_gradient
        return self._ends[3].detach() if self._needs_x else None

    def _record_forward(self, x: Tensor) -> None:
        """Run the operations and record their calls."""
        with allocating_from(self._pool), recording(self._forward_calls):
            this = start = new_map(*x.shape).copy_(x)
            for number, operation in enumerate(self._operations):
                needs = (number > 0 or self._needs_x, *(isinstance(value, Tensor) for value in operation.arguments))
                context = _Context(needs)
                self._contexts.append(context)
                this = operation.function.forward(context, this, *operation.arguments)
        self._ends = [start, this]

    def _record_backward(self, gradient: Tensor) -> None:
        """Run the backward passes of the operations and record their calls."""
        with allocating_from(self._pool), recording(self._backward_calls):
            this = start = new_map(*gradient.shape).copy_(gradient)
            for operation in reversed(self._operations):
                context = self._contexts.pop()  # its maps are not needed after this operation
                if self._contexts and self._operations[len(self._contexts) - 1].function is operation.function:
                    context.before = self._contexts[-1]
                this, *others = operation.function.backward(context, this)
                pairs = zip(operation.arguments, others, strict=True)
                self._gradients += [(parameter, value) for parameter, value in pairs if value is not None]
        self._ends += [start, this] if self._needs_x else [start]


class _RunSegment(torch.autograd.Function):
    """A segment as one operation for autograd, which the segment's parameters bypass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, segment: _Segment, anchor: Tensor) -> Tensor:
        out = segment.forward(x)
        ctx.segment, ctx.passes = segment, segment.passes
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.segment.passes != ctx.passes:
            raise RuntimeError(
                "the maps of this pass were overwritten; run each backward pass once, before the next step"
            )
        return ctx.segment.backward(gradient), None, None
