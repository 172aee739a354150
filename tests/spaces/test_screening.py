"""Screening counts what a brute force over the same draws counts, whatever the size of the blocks."""

import numpy as np
import pytest

from designspace.networks.quantities import COUNTED
from designspace.spaces import catalog, screening
from designspace.spaces.constraints import Band
from designspace.spaces.drawing import draw_block
from designspace.spaces.sampling import InfeasibleError
from designspace.spaces.screening import screen
from designspace.spaces.seeds import independent_seed
from designspace.spaces.streams import Streams
from designspace.support.errors import InputError

SMALL = {"resolution": 32, "in_channels": 3, "num_classes": 10, "stem": "cifar", "stem_width": 8}
LIMITS = (Band("activations", 0, 2e5), Band("params", 0, 4e5))


def small(name="RegNetX", **settings):
    return catalog.space(name, **{**SMALL, **settings})


def drawn(space, count, seed=0):
    """Return the first networks of a space, as columns, duplicates included."""
    streams = Streams(independent_seed(space, seed))
    accepted = [draw_block(space, streams, 1000).accepted for _ in range(count // 20)]
    columns = {name: np.concatenate([part[name] for part in accepted]) for name in accepted[0]}
    assert len(columns["d1"]) >= count
    return columns


@pytest.mark.parametrize("name", ["AnyNetXB", "RegNetX", "MBConv"])
def test_share_and_values_are_those_of_the_first_draws(name):
    space = small(name)
    columns = drawn(space, 400)
    fits = (columns["activations"] <= 2e5) & (columns["params"] <= 4e5)
    found = screen(space, LIMITS, n=10, draws=300)
    assert (found.drawn, found.fitting) == (300, fits[:300].sum())
    assert np.array_equal(found.values, columns["flops"][fits][: found.values.size])


def test_result_does_not_depend_on_the_size_of_blocks(monkeypatch):
    settings = {"n": 40, "draws": 100, "seed": 3}
    expected = screen(small(), LIMITS, **settings)
    for size in (64, 777):
        monkeypatch.setattr(screening, "BLOCK_SIZE", size)
        found = screen(small(), LIMITS, **settings)
        assert found.fitting == expected.fitting
        assert np.array_equal(found.values, expected.values)


def test_networks_of_any_counted_quantity_are_limited_and_counted():
    space = small("AnyNetXB")
    columns = drawn(space, 200)
    for quantity in COUNTED:
        values = columns[quantity] if quantity in columns else space.quantity(quantity, columns)
        limit = Band(quantity, 0, float(np.median(values[:200])))
        found = screen(space, [limit], of="params", n=50, draws=200)
        assert found.fitting == (values[:200] <= limit.high).sum()
        assert np.array_equal(screen(space, (), of=quantity, n=50, draws=50).values, values[:50])


def test_drawing_goes_on_to_find_enough_networks_but_not_forever():
    rare = Band("flops", 0, float(np.quantile(drawn(small(), 400)["flops"], 0.02)))
    found = screen(small(), [rare], n=30, draws=100)
    assert found.drawn == 100
    assert found.values.size == 30
    assert found.searched > 100
    nothing = screen(small(), [Band("flops", 0, 1)], n=30, draws=100)
    assert (nothing.fitting, nothing.values.size) == (0, 0)
    assert nothing.searched == 100 * screening.SEARCH_FACTOR


def test_constraints_of_the_space_hold_and_limits_come_on_top():
    band = small(flops=[1e6, 3e6])
    found = screen(band, [Band("flops", 0, 2e6)], n=50, draws=50)
    assert ((found.values >= 1e6) & (found.values <= 2e6)).all()
    assert 0 < found.fitting < 50


def test_spaces_with_one_seed_are_drawn_independently():
    first, second = (screen(small(resolution=side), n=100, draws=100, of="params") for side in (32, 40))
    assert not np.array_equal(first.values, second.values)


def test_impossible_constraints_of_the_space_are_an_error(monkeypatch):
    monkeypatch.setattr(screening, "MAX_DRAWS_WITHOUT_NEW", 20_000)
    impossible = small().refine(Band("flops", 1, 2))
    with pytest.raises(InfeasibleError, match="RegNetX: found only 0"):
        screen(impossible)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"of": "latency"}, "unknown counted quantity 'latency'"),
        ({"n": 0}, "n must be a whole number"),
        ({"draws": 1.5}, "draws must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        screen(small(), **arguments)
