from __future__ import annotations

import numpy as np
import pytest
from populations import make_results, make_table
from test_quantities import quickstart

from designspace.analysis.best_values import best_value
from designspace.analysis.results import Results
from designspace.analysis.trends import common_parameters, trend, trends
from designspace.support.errors import InputError


def regime(name, flops, sweet_spot, n=200):
    """Return a population with about ``flops``, with the least error at the depth ``sweet_spot`` of stage 1."""
    rng = np.random.default_rng(sweet_spot)
    depths = rng.integers(1, 40, n)
    table = make_table(30 + (depths - sweet_spot) ** 2 / 50 + rng.random(n))
    table["d1"] = depths
    table["flops"] = flops + np.arange(n)
    return Results.from_table(name, table, num_classes=10)


def test_an_increasing_sweet_spot_is_found_over_flop_regimes():
    regimes = [regime("large", 4e6, 25), regime("small", 1e6, 5), regime("middle", 2e6, 15)]
    result = trend(regimes, "d1")
    assert result.names == ("small", "middle", "large")
    assert result.x.tolist() == [1e6 + 99.5, 2e6 + 99.5, 4e6 + 99.5]
    assert np.abs(result.median - [5, 15, 25]).max() <= 3
    assert (result.low <= [5, 15, 25]).all()
    assert (result.high >= [5, 15, 25]).all()
    assert (result.least.tolist(), result.greatest.tolist()) == ([1, 1, 1], [39, 39, 39])


def test_a_trend_has_the_numbers_of_the_bootstrap():
    results = regime("A", 1e6, 10)
    result, alone = trend([results], "d1", level=0.2), best_value(results, "d1", level=0.2)
    row = result.table().iloc[0]
    assert (row["low"], row["median"], row["high"], row["best"]) == (alone.low, alone.median, alone.high, alone.best)
    assert row["n"] == 200


def test_a_chain_keeps_its_order_and_has_the_common_parameters():
    chain = [quickstart("AnyNetXE"), quickstart("AnyNetXA")]
    assert trend(chain, "d", x=None).names == ("AnyNetXE", "AnyNetXA")
    assert trend(chain, "d", x=None).x.tolist() == [0, 1]
    names = [parameter.name for parameter in common_parameters(chain)]
    # In AnyNetXA, stages do not share b and g, so they have no trend.
    assert names == [f"{letter}{stage}" for letter in "dwbg" for stage in range(1, 5)]
    assert [parameter.quantity.name for parameter in trends(chain, ["d", "w4"], x=None)] == ["d", "w4"]
    assert [parameter.quantity.name for parameter in trends([quickstart("RegNetX")])] == [
        "d",
        "w_0",
        "w_a",
        "w_m",
        "b",
        "g",
    ]
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
