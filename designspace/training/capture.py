"""Training steps as CUDA graphs: captured once a trial, then replayed with one call a batch.

A step of a small network is hundreds of kernels of some microseconds each, less than it takes to launch them from
Python. Which layout is fastest is measured, for it depends on the network: grouped convolutions are sometimes several
times faster channels first, and sometimes channels last. Measuring leaves no trace in what is trained.
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
"""Steps before a capture, in which libraries choose algorithms and allocate what they keep."""
TIMED_STEPS = 8
OTHER_FORMAT_S = 5.0
"""Seconds that a training must have before it, for the other memory format to be tried: trying takes about half."""
SEARCH_S = 60.0
"""Seconds that a training must have before it, for cuDNN to search algorithms: that takes up to some seconds."""


class Graphed:
    """A step captured for batches of one shape. `release` it after the training: it holds the memory of a step.

    Args:
        step: the step; its layout is the state's. What it changes has other values afterwards (see `State.snapshot`).
        images: a batch like those to come, (N, C, H, W).
        targets: its targets.
        generators: what the module draws from, beside torch's global state.

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
        searched = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = layout.benchmark
        try:
            self._capture()
        finally:
            torch.backends.cudnn.benchmark = searched

    def _capture(self) -> None:
        """Run the step some times, then once more to record it."""
        device = self._images.device
        before = torch.cuda.current_stream(device)
        # Of the same stream as the capture, for autograd remembers on which stream a gradient was first added up.
        stream = _capture_stream(device)
        cause: Exception | None = None
        try:
            stream.wait_stream(before)
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_STEPS - 1):
                    self._step(self._images, self._targets)
                # A capture that fails leaves the allocator in an odd state, so the usual reason is looked for first.
                with _no_waiting():
                    self._step(self._images, self._targets)
            before.wait_stream(stream)
            self._step.state.optimiser.zero_grad(set_to_none=True)
            with torch.cuda.graph(self._graph, stream=stream):
                try:
                    self._step(self._images, self._targets)
                except Exception as error:  # ending the capture now may raise another one, which says less
                    cause = error
                    raise
        except Exception as error:
            torch.cuda.set_stream(before)  # where ending a capture fails, torch leaves its stream on
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
        """Measure a step. What it changes has other values afterwards."""
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
        """Give back the memory. The step cannot be called any more."""
        torch.cuda.synchronize(self._images.device)
        self._step.state.optimiser.zero_grad(set_to_none=True)  # the gradients lie in the graph's memory
        self._graph.reset()


@contextlib.contextmanager
def _no_waiting() -> Iterator[None]:
    """Let what makes the host wait for a GPU raise a `RuntimeError`, for the length of a block."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it does not find every kind of waiting
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


@functools.cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all captures on a device: cuBLAS keeps some tens of MB for each stream that it was used on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def prepare(
    step: Step, images: Tensor, targets: Tensor, steps: int, generators: Sequence[torch.Generator] = ()
) -> Graphed | None:
    """Capture a step in the layout that suits it; None, with a word in the log, where it cannot be captured.

    Weights, statistics, momentum, sums and random states are as before afterwards; only the order in memory may differ.

    Args:
        step: the step, on a GPU. A layout that its state was tuned to stays; otherwise it is tuned now.
        images: a batch like those to come, (N, C, H, W).
        targets: its targets.
        steps: steps of the training yet to come: long trainings are worth more trying.
        generators: what the module draws from, beside torch's global state.

    Raises:
        RuntimeError: memory ran out (see `is_out_of_memory`).
    """
    state, device = step.state, images.device
    kept = state.snapshot()
    sums = step.loss.clone(), step.wrong.clone()
    drawn = torch.cuda.get_rng_state(device), [generator.get_state() for generator in generators]

    def capture(layout: Layout) -> tuple[Graphed, float]:
        state.lay_out(layout)
        done = False
        try:
            graphed = Graphed(step, images, targets, generators)
            measured = graphed.seconds()
            done = True
        finally:
            state.restore(kept, after_failure=not done)
            step.loss.copy_(sums[0])
            step.wrong.copy_(sums[1])
            torch.cuda.set_rng_state(drawn[0], device)
            for generator, at in zip(generators, drawn[1], strict=True):
                generator.set_state(at)
        return graphed, measured

    step.begin()
    try:
        if state.is_tuned:
            return capture(state.layout)[0]
        graphed = _tune(state.layout, capture, steps)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        state.lay_out(Layout())
        log.warning("training without a CUDA graph, step by step: %s", str(error).splitlines()[0])
        return None
    state.is_tuned = True
    return graphed


def _tune(first: Layout, capture: Callable[[Layout], tuple[Graphed, float]], steps: int) -> Graphed:
    """Capture in the fastest layout of those worth trying."""
    times: dict[Layout, float] = {}
    graphed: Graphed | None = None
    last = best = first
    for layout in _worth_trying(first, times, steps):
        if graphed is not None:
            graphed.release()
            graphed = None
        try:
            graphed, times[layout] = capture(layout)
        except RuntimeError as error:
            if not times:
                raise
            log.info("no step %s: %s", layout, str(error).splitlines()[0])
            times[layout] = float("inf")
        last, best = layout, min(times, key=times.__getitem__)
    if graphed is None or last != best:
        if graphed is not None:
            graphed.release()
        graphed = capture(best)[0]
    told = "; ".join(f"{layout}: {1000 * seconds:.3f} ms" for layout, seconds in times.items())
    log.info("a step is captured %s (%s)", best, told)
    return graphed


def _worth_trying(first: Layout, times: dict[Layout, float], steps: int) -> Iterator[Layout]:
    """Layouts to measure, one after the other; ``times`` has those measured so far."""
    yield first
    if steps * times[first] < OTHER_FORMAT_S:
        return
    other = first._replace(channels_last=not first.channels_last)
    yield other
    best = min(times, key=times.__getitem__)
    if steps * times[best] >= SEARCH_S:
        yield best._replace(benchmark=True)
