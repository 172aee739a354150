"""Which layouts are tried and kept, with stand-ins for captured steps; real ones need a GPU (see test_gpu)."""

import logging

import pytest

from designspace.training.capture import _tune
from designspace.training.state import Layout

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
