from __future__ import annotations

import numpy as np
import pytest
from populations import make_results, make_table
from test_metrics import quickstart

from designspace.analysis.best_values import best_value
from designspace.analysis.results import Results
from designspace.analysis.trends import common_parameters, trend, trends
from designspace.support.errors import InputError


def regime(name, flops, sweet_spot, n=200):
    """A population about those flops whose error is least where the first stage has that depth."""
    rng = np.random.default_rng(sweet_spot)
    depths = rng.integers(1, 40, n)
    table = make_table(30 + (depths - sweet_spot) ** 2 / 50 + rng.random(n))
    table["d1"] = depths
    table["flops"] = flops + np.arange(n)
    return Results.from_table(name, table, num_classes=10)


def test_a_rising_sweet_spot_is_seen_over_flop_regimes():
    regimes = [regime("large", 4e6, 25), regime("small", 1e6, 5), regime("middle", 2e6, 15)]
    found = trend(regimes, "d1")
    assert found.names == ("small", "middle", "large")
    assert found.x.tolist() == [1e6 + 99.5, 2e6 + 99.5, 4e6 + 99.5]
    assert np.abs(found.median - [5, 15, 25]).max() <= 3
    assert (found.low <= [5, 15, 25]).all()
    assert (found.high >= [5, 15, 25]).all()
    assert (found.least.tolist(), found.greatest.tolist()) == ([1, 1, 1], [39, 39, 39])


def test_its_numbers_are_those_of_the_bootstrap():
    results = regime("A", 1e6, 10)
    found, alone = trend([results], "d1", level=0.2), best_value(results, "d1", level=0.2)
    row = found.table().iloc[0]
    assert (row["low"], row["median"], row["high"], row["best"]) == (alone.low, alone.median, alone.high, alone.best)
    assert row["n"] == 200


def test_a_chain_keeps_its_order_and_what_all_have():
    chain = [quickstart("AnyNetXE"), quickstart("AnyNetXA")]
    assert trend(chain, "d", x=None).names == ("AnyNetXE", "AnyNetXA")
    assert trend(chain, "d", x=None).x.tolist() == [0, 1]
    names = [one.name for one in common_parameters(chain)]
    # In AnyNetXA stages do not share b and g, so there is no trend of these.
    assert names == [f"{letter}{stage}" for letter in "dwbg" for stage in range(1, 5)]
    assert [one.metric.name for one in trends(chain, ["d", "w4"], x=None)] == ["d", "w4"]
    assert [one.metric.name for one in trends([quickstart("RegNetX")])] == ["d", "w_0", "w_a", "w_m", "b", "g"]
    assert common_parameters([]) == ()


def test_populations_without_a_finished_network_are_left_out():
    waiting = make_results("W", [], waiting=3)
    assert trend([waiting, regime("A", 1e6, 10)], "d1").names == ("A",)
    with pytest.raises(InputError, match="no finished network of W has d1"):
        trend([waiting], "d1")
    with pytest.raises(InputError, match="no finished network of no population has d1"):
        trend([], "d1")
    with pytest.raises(InputError, match="two runs have the name 'W'"):
        trend([waiting, waiting], "d1")
