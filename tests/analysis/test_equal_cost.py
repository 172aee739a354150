"""Comparisons of several populations at equal values of any quantity: counted, measured, or a parameter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table

from designspace.analysis import analyze
from designspace.analysis.comparison import compare_all
from designspace.analysis.equal_cost import at_equal_cost
from designspace.analysis.matched import compare_matched, match_all
from designspace.analysis.results import Results
from designspace.networks.quantities import Quantity
from designspace.spaces.costs import Setting, measured_quantity
from designspace.support.errors import InputError

LATENCY = replace(measured_quantity("latency", Setting(threads=2)), machine="laptop")
ENERGY = replace(measured_quantity("energy", Setting("cuda")), machine="H200")


def population(name, rng, *, budget=0.0, gain=0.0, n=60, **measured):
    """Return networks with errors 50 - 4 ln c + N(0, 1.5) points, less a gain, at costs of 1e6 exp(N(budget, 0.5))."""
    costs = rng.normal(budget, 0.5, n)
    errors = 50 - 4 * costs + rng.normal(0, 1.5, n) - gain
    table = make_table([0.0] * n).assign(flops=1e6 * np.exp(costs), final_error=errors, best_error=errors)
    table["id"] = [f"{name} {index}" for index in range(n)]
    results = Results.from_table(name, table, 10)
    for quantity in measured.values():
        milliseconds = np.exp(costs + rng.normal(0, 0.1, n))
        results = replace(
            results,
            table=results.table.assign(**{quantity.name: milliseconds}),
            measured={**results.measured, quantity.name: quantity},
        )
    return results


def three(seed, **options):
    rng = np.random.default_rng(seed)
    return [population(name, rng, budget=0.3 * index, **options) for index, name in enumerate("ABC")]


def test_all_pairs_and_quantities_are_one_family():
    results = three(1, latency=LATENCY)
    matched, refused = match_all(results, compare_all(results), ["flops", "latency"])
    assert refused == ()
    assert {(test.a, test.b, test.match) for test in matched} == {
        (a, b, match) for a, b in ("AB", "AC", "BC") for match in ("flops", "latency_cpu_t2_b1")
    }
    assert {test.tests for test in matched} == {6}
    assert all(test.p_holm >= test.p for test in matched)
    assert min(test.p_holm for test in matched) == min(1, 6 * min(test.p for test in matched))
    sentence = next(test for test in matched if test.match == LATENCY.name).sentence()
    assert sentence.startswith("At equal latency (cpu, 2 threads, batch 1, float32; ")
    assert " ms), A and B: no difference shown at 5%" in sentence
    assert "Holm-corrected over 6 tests at equal cost" in sentence


def test_wrong_claims_about_three_equal_spaces_are_rare():
    repeats, wrong = 30, 0
    for seed in range(repeats):
        results = three(seed, n=40)
        tests = [compare_matched(a, b) for a, b in ((results[0], results[1]), (results[1], results[2]))]
        wrong += min(test.p for test in tests) < 0.05 / 2
    assert wrong <= 6  # at most 5% expected; more than 6 of 30 have a probability of 0.1%


def test_edfs_of_all_populations_have_the_same_weight_in_each_bin():
    results = three(2, latency=LATENCY)
    equal = at_equal_cost(results, "latency")
    assert list(equal.edfs) == ["A", "B", "C"]
    assert equal.left_out == ()
    for curve in equal.edfs.values():
        shares = np.bincount(curve.strata, weights=curve.weights)
        assert shares[shares > 0] == pytest.approx(1 / equal.bins)
    raw = [float(np.mean(population.errors())) for population in results]
    weighted = [curve.mean for curve in equal.edfs.values()]
    assert np.ptp(weighted) < np.ptp(raw) / 2  # the budgets explain the difference of the raw means
    table = equal.table()
    assert table.groupby("space")["probability"].max().tolist() == pytest.approx([1, 1, 1])
    assert (table["lower"] <= table["probability"]).all()


def test_a_population_without_overlap_is_left_out_and_said():
    rng = np.random.default_rng(3)
    results = [population("A", rng), population("Far", rng, budget=9), population("B", rng)]
    equal = at_equal_cost(results, "flops")
    assert list(equal.edfs) == ["A", "B"]
    assert equal.left_out[0].startswith("Without Far: its flops (")
    with pytest.raises(InputError, match=r"no two populations can be compared at equal flops\. Without Far"):
        at_equal_cost(results[:2], "flops")


def test_costs_of_different_machines_are_not_compared():
    rng = np.random.default_rng(4)
    other = replace(LATENCY, machine="server")
    results = [population(name, rng, latency=cost) for name, cost in (("A", LATENCY), ("B", other), ("C", LATENCY))]
    matched, refused = match_all(results, compare_all(results), "latency")
    assert [(test.a, test.b) for test in matched] == [("A", "C")]
    assert refused[0] == (
        "A and B cannot be compared at equal latency: latency was measured on different machines (A on laptop; "
        "B on server)."
    )
    assert list(at_equal_cost(results, "latency").edfs) == ["A", "C"]


def test_training_times_of_different_devices_are_not_compared():
    a, b = make_results("A", [30.0, 31.0, 32.0]), make_results("B", [30.0, 31.0, 32.0], tag="b")
    assert compare_matched(a, b, "time").match == "train_s"
    b = Results.from_table("B", b.table.assign(device="H200"), 10)
    with pytest.raises(InputError, match=r"training time was measured on different machines \(A on cpu; B on H200\)"):
        compare_matched(a, b, "train_s")


def test_costs_that_were_not_measured_are_said_once_and_the_others_are_compared():
    rng = np.random.default_rng(5)
    results = [population("A", rng, latency=LATENCY), population("B", rng), population("C", rng, latency=LATENCY)]
    matched, refused = match_all(results, compare_all(results), ["latency", "flops"])
    assert [(test.a + test.b, test.quantity.noun) for test in matched] == [
        *[("AB", "flops"), ("AC", "latency"), ("AC", "flops"), ("BC", "flops")],
    ]
    assert refused == (
        "Not all runs can be compared at equal latency: latency of B has not been measured; measure it with python -m "
        "designspace.measure run=....",
    )
    partly = replace(results[0], table=results[0].table.assign(**{LATENCY.name: [np.nan, *[1.0] * 59]}))
    with pytest.raises(InputError, match="latency_cpu_t2_b1 of 1 network of A is not known"):
        compare_matched(partly, results[2], "latency")


def test_several_settings_are_listed_unless_the_populations_share_only_one():
    rng = np.random.default_rng(6)
    large = replace(measured_quantity("latency", Setting(batch=64, threads=2)), machine="laptop")
    both, one = population("A", rng, latency=LATENCY, large=large), population("B", rng, latency=LATENCY)
    assert compare_matched(both, one, "latency").match == LATENCY.name
    message = "latency has several columns; name one of them: latency_cpu_t2_b1, latency_cpu_t2_b64"
    with pytest.raises(InputError, match=message):
        at_equal_cost([both, replace(both, name="C")], "latency")
    assert at_equal_cost([both, replace(both, name="C")], "latency_cpu_t2_b64").quantity == large


@pytest.mark.parametrize(
    ("match", "message"),
    [
        (["flops", "colour"], "unknown quantity 'colour'"),
        (["auto", "flops"], "give either auto or names of quantities"),
        ("error", "networks cannot be matched by final_error, which is what they are compared by"),
    ],
)
def test_quantities_that_cannot_be_matched_by_are_refused(match, message):
    results = three(7, n=12)
    with pytest.raises(InputError, match=message):
        match_all(results, (), match)


def test_parameters_and_own_quantities_can_be_matched_by():
    results = three(8, n=12)
    assert compare_matched(*results[:2], "d").quantity.noun == "d"
    throughput = Quantity("throughput", "images per second", "1/s", "measured", "higher")
    sides = [replace(run, table=run.table.assign(throughput=1e9 / run.table["flops"])) for run in results[:2]]
    assert "At equal images per second (" in compare_matched(*sides, throughput).sentence()


def test_unfinished_runs_are_not_compared_at_equal_cost():
    rng = np.random.default_rng(9)
    a = population("A", rng, n=20)
    table = population("B", rng, n=20).table
    table.loc[10:, ["status", "final_error"]] = ["waiting", np.nan]
    results = [a, Results.from_table("B", table, 10)]
    matched, refused = match_all(results, compare_all(results), "flops")
    assert (matched, refused) == ((), ("A and B are compared at equal cost once all trials have finished.",))


def test_one_figure_has_a_panel_per_quantity_and_all_numbers(tmp_path):
    results = three(10, n=20, latency=LATENCY)
    analysis = analyze(results, tmp_path, {}, match=["flops", "latency"])
    assert len(analysis.matched) == 6
    numbers = pd.read_csv(tmp_path / "figures" / "matched.csv")
    curves, tests = numbers[numbers["panel"] == "EDF"], numbers[numbers["panel"] == "test"]
    assert set(zip(curves["match"], curves["space"], strict=True)) == {
        (match, space) for match in ("flops", "latency_cpu_t2_b1") for space in "ABC"
    }
    assert tests["p_holm"].tolist() == pytest.approx([test.p_holm for test in analysis.matched])
    svg = (tmp_path / "figures" / "matched.svg").read_text()
    assert "at equal latency" in svg
    assert "latency, cpu, 2 threads, batch 1, float32 (ms)" in analysis.report.read_text(encoding="utf-8")
    header = analysis.spaces.header
    assert header[-2:] == ("median latency", "training")
    assert analysis.spaces.rows[0][-2].endswith(" ms")
