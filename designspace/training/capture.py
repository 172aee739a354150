"""Training steps as CUDA graphs: captured once per trial, then replayed with one call per batch.

A step of a small network consists of hundreds of kernels of some microseconds each, less than it takes to launch them
from Python. The fastest layout is measured because it depends on the network: grouped convolutions are sometimes
several times faster channels first, and sometimes channels last. The measurement does not affect the training.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from designspace.training.failures import is_out_of_memory
from designspace.training.state import Layout
from designspace.training.step import Step

log = logging.getLogger(__name__)

WARM_UP_STEPS = 3
"""Number of steps before a capture, in which libraries choose algorithms and allocate their workspaces."""
TIMED_STEPS = 8
OTHER_FORMAT_S = 5.0
"""Remaining seconds of training from which the other memory format is tried, which takes about half of that."""
SEARCH_S = 60.0
"""Remaining seconds of training from which cuDNN searches for algorithms, which takes up to some seconds."""


class CapturedStep:
    """A step captured for batches of one shape. Call `release` after the training, because it holds a step's memory.

    Args:
        step: the step; its layout is the state's. Capturing changes the state (see `State.snapshot`).
        images: a batch like those of the training, (N, C, H, W).
        targets: its targets.
        generators: the generators that the module uses, besides torch's global state.

    Raises:
        RuntimeError: the step cannot be captured, or memory ran out (see `is_out_of_memory`).
    """

    def __init__(self, step: Step, images: Tensor, targets: Tensor, generators: Sequence[torch.Generator] = ()) -> None:
        layout = step.state.layout
        self._step = step
        self._images = images.detach().clone(memory_format=layout.memory_format)
        self._targets = targets.detach().clone()
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        previous = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = layout.benchmark
        try:
            self._capture()
        finally:
            torch.backends.cudnn.benchmark = previous

    def _capture(self) -> None:
        """Run the step several times, then once more to record it."""
        device = self._images.device
        before = torch.cuda.current_stream(device)
        # The same stream as the capture's, because autograd records on which stream a gradient was first accumulated.
        stream = _capture_stream(device)
        cause: Exception | None = None
        try:
            stream.wait_stream(before)
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_STEPS - 1):
                    self._step(self._images, self._targets)
                # A failed capture leaves the allocator in an inconsistent state, so the usual cause is checked first.
                with _error_on_sync():
                    self._step(self._images, self._targets)
            before.wait_stream(stream)
            self._step.state.optimiser.zero_grad(set_to_none=True)
            with torch.cuda.graph(self._graph, stream=stream):
                try:
                    self._step(self._images, self._targets)
                except Exception as error:  # ending the capture now may raise another, less specific one
                    cause = error
                    raise
        except Exception as error:
            torch.cuda.set_stream(before)  # if ending a capture fails, torch does not restore the stream
            self._step.state.optimiser.zero_grad(set_to_none=True)
            if cause is None or cause is error:
                raise
            raise cause from error

    def __call__(self, images: Tensor, targets: Tensor) -> None:
        """Train on a batch, as `Step` does."""
        self._images.copy_(images, non_blocking=True)
        self._targets.copy_(targets, non_blocking=True)
        self._graph.replay()

    def seconds(self) -> float:
        """Measure the seconds per step. This changes the state."""
        for _ in range(2):
            self._graph.replay()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        for _ in range(TIMED_STEPS):
            self._graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000 / TIMED_STEPS

    def release(self) -> None:
        """Release the memory. The step cannot be called afterwards."""
        torch.cuda.synchronize(self._images.device)
        self._step.state.optimiser.zero_grad(set_to_none=True)  # the gradients are in the graph's memory
        self._graph.reset()


@contextlib.contextmanager
def _error_on_sync() -> Iterator[None]:
    """Raise a `RuntimeError` for operations that make the host wait for a GPU, while a block runs."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that it does not detect every synchronisation
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


@functools.cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all captures on a device, one because cuBLAS keeps some tens of MB for each stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def capture_step(
    step: Step, images: Tensor, targets: Tensor, steps: int, generators: Sequence[torch.Generator] = ()
) -> CapturedStep | None:
    """Capture a step in the fastest layout. If it cannot be captured, log a warning and return None.

    Weights, statistics, momentum, sums and random states are restored; only the order in memory may differ.

    Args:
        step: the step, on a GPU. The layout of its state is kept if it was tuned before; otherwise it is tuned now.
        images: a batch like those of the training, (N, C, H, W).
        targets: its targets.
        steps: the number of remaining steps of the training; more layouts are tried for long ones.
        generators: the generators that the module uses, besides torch's global state.

    Raises:
        RuntimeError: memory ran out (see `is_out_of_memory`).
    """
    state, device = step.state, images.device
    snapshot = state.snapshot()
    sums = step.loss.clone(), step.wrong.clone()
    random_states = torch.cuda.get_rng_state(device), [generator.get_state() for generator in generators]

    def capture(layout: Layout) -> tuple[CapturedStep, float]:
        state.lay_out(layout)
        is_captured = False
        try:
            captured = CapturedStep(step, images, targets, generators)
            measured = captured.seconds()
            is_captured = True
        finally:
            state.restore(snapshot, after_failure=not is_captured)
            step.loss.copy_(sums[0])
            step.wrong.copy_(sums[1])
            torch.cuda.set_rng_state(random_states[0], device)
            for generator, random_state in zip(generators, random_states[1], strict=True):
                generator.set_state(random_state)
        return captured, measured

    step.begin()
    try:
        if state.is_tuned:
            return capture(state.layout)[0]
        captured = _tune(state.layout, capture, steps)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        state.lay_out(Layout())
        log.warning("training without a CUDA graph, step by step: %s", str(error).splitlines()[0])
        return None
    state.is_tuned = True
    return captured


def _tune(first: Layout, capture: Callable[[Layout], tuple[CapturedStep, float]], steps: int) -> CapturedStep:
    """Capture in the fastest of the layouts that are worth trying."""
    times: dict[Layout, float] = {}
    captured: CapturedStep | None = None
    last = best = first
    for layout in _worth_trying(first, times, steps):
        if captured is not None:
            captured.release()
            captured = None
        try:
            captured, times[layout] = capture(layout)
        except RuntimeError as error:
            if not times:
                raise
            log.info("cannot capture a step %s: %s", layout, str(error).splitlines()[0])
            times[layout] = float("inf")
        last, best = layout, min(times, key=times.__getitem__)
    if captured is None or last != best:
        if captured is not None:
            captured.release()
        captured = capture(best)[0]
    measurements = "; ".join(f"{layout}: {1000 * seconds:.3f} ms" for layout, seconds in times.items())
    log.info("a step is captured %s (%s)", best, measurements)
    return captured


def _worth_trying(first: Layout, times: dict[Layout, float], steps: int) -> Iterator[Layout]:
    """Yield the layouts to measure, one after the other; ``times`` has the results so far."""
    yield first
    if steps * times[first] < OTHER_FORMAT_S:
        return
    other = first._replace(channels_last=not first.channels_last)
    yield other
    best = min(times, key=times.__getitem__)
    if steps * times[best] >= SEARCH_S:
        yield best._replace(benchmark=True)
