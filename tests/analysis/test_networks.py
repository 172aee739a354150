from __future__ import annotations

import numpy as np
import pytest
from populations import make_results
from test_quantities import quickstart, results_of

from designspace.analysis.networks import best_and_worst, staircase
from designspace.support.errors import InputError


def test_best_and_worst_networks_are_ordered():
    results = make_results("A", [33, 31, 35, 32, 34, 30], failed=[("diverged", "")], waiting=1)
    stairs = best_and_worst(results, count=2)
    assert [network.error for network in stairs.best] == [30, 31]
    assert [network.error for network in stairs.worst] == [35, 34]
    assert [network.error for network in stairs] == [30, 31, 35, 34]
    assert stairs.best[0].trial == results.table["trial"][5]


@pytest.mark.parametrize(("n", "best", "worst"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (5, 3, 2), (6, 3, 3), (9, 3, 3)])
def test_no_network_is_both_best_and_worst(n, best, worst):
    stairs = best_and_worst(make_results("A", np.linspace(30, 40, n), waiting=1), count=3)
    assert (len(stairs.best), len(stairs.worst)) == (best, worst)
    assert len({network.trial for network in stairs}) == best + worst
    assert len(stairs.table()) == 22 * (best + worst)


def test_a_staircase_has_the_width_of_each_block():
    results = results_of({"d1": [1, 2], "d2": [2, 1], "d3": [1, np.nan], "d4": [1, np.nan]}, errors=[30, 40])
    first, second = staircase(results, 0), staircase(results, 1)
    assert first.block_widths.tolist() == [32, 64, 64, 160, 384]
    assert first.table()["stage"].tolist() == [1, 2, 2, 3, 4]
    assert (second.depths, second.widths) == ((2, 1), (32, 64))
    assert second.label == "40.0%  d [2, 1]  w [32, 64]"
    assert first.line is None


def test_staircases_of_regnets_include_their_line():
    results = quickstart("RegNetX")
    stairs = best_and_worst(results, 2, fits=True)
    for network in stairs:
        row = results.table[results.table["trial"] == network.trial].iloc[0]
        assert network.line == (row["w_0"], row["w_a"], row["w_m"])
        table = network.table()
        assert table["line"].tolist() == pytest.approx([row["w_0"] + row["w_a"] * block for block in range(len(table))])
        assert np.abs(np.log(table["fit"] / table["width"])).mean() == pytest.approx(network.fit.e_fit)
        assert f"w_m {row['w_m']:.2f}" in network.label
    assert set(stairs.table()["group"]) == {"best", "worst"}


def test_bad_input_is_rejected():
    results = make_results("A", [30])
    with pytest.raises(InputError, match="A has the rows 0 to 0, not 1"):
        staircase(results, 1)
    with pytest.raises(InputError, match="count must be at least 1"):
        best_and_worst(results, 0)
