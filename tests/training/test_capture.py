"""Which layouts are tried and kept, with stand-ins for captured steps; real ones need a GPU (see test_gpu)."""

import contextlib
import copy
import logging

import pytest
import torch

from designspace.models import AnyNet
from designspace.training import DeviceData
from designspace.training.capture import SEARCH_S, WARM_UP_STEPS, _tune, prepare
from designspace.training.feed import Feed
from designspace.training.shard import ALONE
from designspace.training.state import Layout, State
from designspace.training.step import Step
from designspace.trials.recipe import Recipe

FIRST, OTHER = Layout(), Layout(channels_last=False)


class Bench:
    """Captures by telling given times."""

    def __init__(self, times):
        self.times = times
        self.asked = []
        self.alive = set()

    def __call__(self, layout):
        assert not self.alive, "two captured steps at once need twice the memory"
        self.asked.append(layout)
        seconds = self.times.get(layout, 1e-3)
        if isinstance(seconds, Exception):
            raise seconds
        self.alive.add(layout)
        return Captured(self, layout), seconds


class Captured:
    def __init__(self, bench, layout):
        self.bench, self.layout = bench, layout

    def release(self):
        self.bench.alive.remove(self.layout)


@pytest.mark.parametrize(
    ("times", "steps", "asked", "kept"),
    [
        ({FIRST: 1e-3}, 1000, [FIRST], FIRST),  # over within a second: nothing is worth trying
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
def test_the_fastest_of_what_is_worth_trying_is_kept(times, steps, asked, kept, caplog):
    bench = Bench(times)
    with caplog.at_level(logging.INFO):
        graphed = _tune(FIRST, bench, steps)
    assert bench.asked == asked
    assert graphed.layout == kept
    assert bench.alive == {kept}
    assert f"a step is captured {kept} (channels last: {1000 * times[FIRST]:.3f} ms" in caplog.text


def test_where_nothing_can_be_captured_the_error_is_told():
    with pytest.raises(RuntimeError, match="no capture"):
        _tune(FIRST, Bench({FIRST: RuntimeError("no capture")}), 10)


class FakeGraph:
    """Records the steps that are called while it is captured, and calls them again."""

    capturing = None

    def __init__(self):
        self.recorded = []
        self.generators = []

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def replay(self):
        assert self.recorded, "a graph that was reset or never captured"
        for step, *arguments in self.recorded:
            step.plainly(*arguments)

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
        return 1000 * SEARCH_S  # so that everything is worth trying


@pytest.fixture
def fake_cuda(monkeypatch):
    """As much of torch.cuda as captures need, on a CPU."""

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
        return step.plainly(*arguments)

    monkeypatch.setattr("designspace.training.capture._capture_stream", FakeStream)
    monkeypatch.setattr(Step, "plainly", Step.__call__, raising=False)
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


def made(network, data, **fields):
    """A step, and batches for it."""
    recipe = Recipe(**{"data": "stripes", "batch_size": 16, **fields})
    model = AnyNet(network, seed=1, dropout=recipe.dropout).to(memory_format=torch.channels_last)
    return Step(State(model, recipe), model, recipe), Feed(DeviceData.of(data), recipe, ALONE)


@pytest.mark.parametrize(
    "fields", [{}, {"ema_decay": 0.9, "mixup": 0.3, "accumulate": 2}, {"precision": "float16", "dropout": 0.3}]
)
def test_preparing_leaves_no_trace_and_what_it_gives_trains_as_the_step_does(network, data, fields, fake_cuda):
    one, feed = made(network, data, **fields)
    other, _ = made(network, data, **fields)
    for step in (one, other):
        torch.manual_seed(0)
        step.begin()
        step(*feed.example())
    drawn, searching = torch.get_rng_state(), torch.backends.cudnn.benchmark
    before = copy.deepcopy(other.state.state_dict())
    generator = torch.Generator().manual_seed(1)
    graphed = prepare(other, *feed.example(), 10, [generator])
    assert other.state.is_tuned
    assert torch.equal(drawn, torch.get_rng_state())
    assert torch.backends.cudnn.benchmark == searching
    assert (other.loss, other.wrong) == (one.loss, one.wrong)
    after = other.state.state_dict()
    assert after.pop("layout") == Layout()._asdict()
    assert repr(after) == repr(before)
    kept = (before["model"], after["model"]), (before.get("average", {}), after.get("average", {}))
    for left, right in kept:
        assert all(torch.equal(left[name], right[name]) for name in left)
    for images, targets in feed.epoch(torch.Generator().manual_seed(3)):
        for step in (one, graphed):
            torch.manual_seed(2)
            step(images, targets)
    for left, right in zip(one.state.snapshot()[0], other.state.snapshot()[0], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
    graphed.release()
    assert all(parameter.grad is None for parameter in other.state.model.parameters())


def test_a_layout_that_was_chosen_before_is_not_chosen_again(network, data, fake_cuda, monkeypatch):
    monkeypatch.setattr("designspace.training.capture._tune", None)
    step, feed = made(network, data, precision="float16")
    step.state.lay_out(Layout(channels_last=False))
    step.state.is_tuned = True
    prepare(step, *feed.example(), 10)
    assert step.state.layout == Layout(channels_last=False)
    assert step.state.model.stem.conv.weight.is_contiguous()


@pytest.mark.parametrize("at", [1, WARM_UP_STEPS + 1])
def test_where_a_capture_fails_the_step_stays_as_it_was(network, data, fake_cuda, at, monkeypatch, caplog):
    step, feed = made(network, data, precision="float16")
    before = step.state.snapshot()
    stream, left = fake_cuda[0], [at]
    forward = step.state.model.forward

    def failing(x):
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("not while capturing\nmore")
        return forward(x)

    monkeypatch.setattr(step.state.model, "forward", failing)
    assert prepare(step, *feed.example(), 10) is None
    assert "training without a CUDA graph, step by step: not while capturing" in caplog.text
    assert fake_cuda[0] is stream
    assert all(torch.equal(one, other) for one, other in zip(step.state.snapshot()[0], before[0], strict=True))
    assert not step.state.is_tuned
    step(*feed.example())


def test_memory_that_runs_out_in_a_capture_is_raised(network, data, fake_cuda, monkeypatch):
    step, feed = made(network, data)

    def hungry(x):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(step.state.model, "forward", hungry)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        prepare(step, *feed.example(), 10)
