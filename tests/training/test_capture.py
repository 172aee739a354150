"""Tests of the choice of layouts, with fakes for captured steps; real ones need a GPU (see test_gpu)."""

import contextlib
import copy
import logging

import pytest
import torch

from designspace.models import AnyNet
from designspace.training import DeviceData
from designspace.training.capture import SEARCH_S, WARM_UP_STEPS, _tune, capture_step
from designspace.training.feed import Feed
from designspace.training.shard import ALONE
from designspace.training.state import Layout, State
from designspace.training.step import Step
from designspace.trials.recipe import Recipe

FIRST, OTHER = Layout(), Layout(channels_last=False)


class FakeCapture:
    """Imitates captures whose steps take the given times."""

    def __init__(self, times):
        self.times = times
        self.layouts = []
        self.unreleased = set()

    def __call__(self, layout):
        assert not self.unreleased, "two captured steps at the same time need twice the memory"
        self.layouts.append(layout)
        seconds = self.times.get(layout, 1e-3)
        if isinstance(seconds, Exception):
            raise seconds
        self.unreleased.add(layout)
        return FakeCapturedStep(self, layout), seconds


class FakeCapturedStep:
    def __init__(self, capture, layout):
        self.capture, self.layout = capture, layout

    def release(self):
        self.capture.unreleased.remove(self.layout)


@pytest.mark.parametrize(
    ("times", "steps", "layouts", "best"),
    [
        ({FIRST: 1e-3}, 1000, [FIRST], FIRST),  # the training takes one second: nothing is worth trying
        ({FIRST: 1e-3, OTHER: 5e-4}, 10_000, [FIRST, OTHER], OTHER),
        ({FIRST: 1e-3, OTHER: 2e-3}, 10_000, [FIRST, OTHER, FIRST], FIRST),
        (
            {FIRST: 1e-2, OTHER: 5e-3, Layout(False, True): 4e-3},
            100_000,
            [FIRST, OTHER, Layout(False, True)],
            Layout(False, True),
        ),
        (
            {FIRST: 5e-3, OTHER: 1e-2, Layout(True, True): 6e-3},
            100_000,
            [FIRST, OTHER, Layout(True, True), FIRST],
            FIRST,
        ),
        ({FIRST: 1e-3, OTHER: RuntimeError("CUDA out of memory")}, 10_000, [FIRST, OTHER, FIRST], FIRST),
    ],
)
def test_the_fastest_layout_worth_trying_is_kept(times, steps, layouts, best, caplog):
    capture = FakeCapture(times)
    with caplog.at_level(logging.INFO):
        captured = _tune(FIRST, capture, steps)
    assert capture.layouts == layouts
    assert captured.layout == best
    assert capture.unreleased == {best}
    assert f"a step is captured {best} (channels last: {1000 * times[FIRST]:.3f} ms" in caplog.text


def test_the_error_is_raised_if_no_layout_can_be_captured():
    with pytest.raises(RuntimeError, match="no capture"):
        _tune(FIRST, FakeCapture({FIRST: RuntimeError("no capture")}), 10)


class FakeGraph:
    """Records the steps that are called during its capture, and calls them again on replay."""

    capturing = None

    def __init__(self):
        self.recorded = []
        self.generators = []

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def replay(self):
        assert self.recorded, "the graph was reset or never captured"
        for step, *arguments in self.recorded:
            step.run_uncaptured(*arguments)

    def reset(self):
        self.recorded = []


class FakeStream:
    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        pass


class FakeEvent:
    def __init__(self, enable_timing):
        pass

    def record(self):
        pass

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1000 * SEARCH_S  # so that every layout is worth trying


@pytest.fixture
def fake_cuda(monkeypatch):
    """Replace the parts of torch.cuda that captures need by fakes that work on a CPU."""

    @contextlib.contextmanager
    def graph(fake, stream):
        FakeGraph.capturing = fake
        try:
            yield
        finally:
            FakeGraph.capturing = None

    def call(step, *arguments):
        if FakeGraph.capturing is not None:
            FakeGraph.capturing.recorded.append((step, *arguments))
        return step.run_uncaptured(*arguments)

    monkeypatch.setattr("designspace.training.capture._capture_stream", FakeStream)
    monkeypatch.setattr(Step, "run_uncaptured", Step.__call__, raising=False)
    monkeypatch.setattr(Step, "__call__", call)
    current = [FakeStream()]
    fakes = {
        "CUDAGraph": FakeGraph,
        "graph": graph,
        "Stream": FakeStream,
        "Event": FakeEvent,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda device: current[0],
        "set_stream": lambda stream: current.__setitem__(0, stream),
        "synchronize": lambda device: None,
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: None,
        "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return current


def make_step_and_feed(network, data, **fields):
    """Return a step, and the feed with its batches."""
    recipe = Recipe(**{"data": "stripes", "batch_size": 16, **fields})
    model = AnyNet(network, seed=1, dropout=recipe.dropout).to(memory_format=torch.channels_last)
    return Step(State(model, recipe), model, recipe), Feed(DeviceData.of(data), recipe, ALONE)


@pytest.mark.parametrize(
    "fields", [{}, {"ema_decay": 0.9, "mixup": 0.3, "accumulate": 2}, {"precision": "float16", "dropout": 0.3}]
)
def test_capturing_restores_the_state_and_the_captured_step_trains_like_the_step(network, data, fields, fake_cuda):
    plain, feed = make_step_and_feed(network, data, **fields)
    tuned, _ = make_step_and_feed(network, data, **fields)
    for step in (plain, tuned):
        torch.manual_seed(0)
        step.begin()
        step(*feed.example())
    random_state, searching = torch.get_rng_state(), torch.backends.cudnn.benchmark
    before = copy.deepcopy(tuned.state.state_dict())
    generator = torch.Generator().manual_seed(1)
    captured = capture_step(tuned, *feed.example(), 10, [generator])
    assert tuned.state.is_tuned
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.backends.cudnn.benchmark == searching
    assert (tuned.loss, tuned.wrong) == (plain.loss, plain.wrong)
    after = tuned.state.state_dict()
    assert after.pop("layout") == Layout()._asdict()
    assert repr(after) == repr(before)
    pairs = (before["model"], after["model"]), (before.get("average", {}), after.get("average", {}))
    for left, right in pairs:
        assert all(torch.equal(left[name], right[name]) for name in left)
    for images, targets in feed.epoch(torch.Generator().manual_seed(3)):
        for step in (plain, captured):
            torch.manual_seed(2)
            step(images, targets)
    for left, right in zip(plain.state.snapshot()[0], tuned.state.snapshot()[0], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
    captured.release()
    assert all(parameter.grad is None for parameter in tuned.state.model.parameters())


def test_a_tuned_layout_is_not_tuned_again(network, data, fake_cuda, monkeypatch):
    monkeypatch.setattr("designspace.training.capture._tune", None)
    step, feed = make_step_and_feed(network, data, precision="float16")
    step.state.lay_out(Layout(channels_last=False))
    step.state.is_tuned = True
    capture_step(step, *feed.example(), 10)
    assert step.state.layout == Layout(channels_last=False)
    assert step.state.model.stem.conv.weight.is_contiguous()


@pytest.mark.parametrize("failing_call", [1, WARM_UP_STEPS + 1])
def test_a_failed_capture_leaves_the_step_unchanged(network, data, fake_cuda, failing_call, monkeypatch, caplog):
    step, feed = make_step_and_feed(network, data, precision="float16")
    before = step.state.snapshot()
    stream, remaining_calls = fake_cuda[0], [failing_call]
    forward = step.state.model.forward

    def failing(x):
        remaining_calls[0] -= 1
        if remaining_calls[0] == 0:
            raise RuntimeError("not while capturing\nmore")
        return forward(x)

    monkeypatch.setattr(step.state.model, "forward", failing)
    assert capture_step(step, *feed.example(), 10) is None
    assert "training without a CUDA graph, step by step: not while capturing" in caplog.text
    assert fake_cuda[0] is stream
    assert all(torch.equal(value, old) for value, old in zip(step.state.snapshot()[0], before[0], strict=True))
    assert not step.state.is_tuned
    step(*feed.example())


def test_running_out_of_memory_in_a_capture_is_raised(network, data, fake_cuda, monkeypatch):
    step, feed = make_step_and_feed(network, data)

    def run_out_of_memory(x):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(step.state.model, "forward", run_out_of_memory)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        capture_step(step, *feed.example(), 10)
