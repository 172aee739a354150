"""Trials that the machine ended are left out: by cause, at random or not, and whether conclusions depend on it."""

import numpy as np
import pytest
from populations import population, within

from designspace.analysis import analyze
from designspace.analysis.comparison import compare, compare_all
from designspace.analysis.margins import within_margins
from designspace.analysis.matched import match_all
from designspace.analysis.preconditions import left_out_at_random, possible_results
from designspace.analysis.results import Results
from designspace.analysis.sensitivity import other_failures


def ended_by_machine(results, rows, reason="out of memory"):
    """Return results in which some trials failed for a reason."""
    table = results.table.copy()
    table.loc[rows, ["status", "reason"]] = ["failed", reason]
    table.loc[rows, ["final_error", "best_error"]] = np.nan
    return Results.from_table(results.name, table, 10)


def of_one_space(rng, n, part, *, largest=False, gain=0.0, spread=0.6):
    """Return two populations of a space; cost explains half of the variance, and the machine ended a part of A."""
    size = rng.normal(0, 1, (2, n))
    errors = 40 - np.sqrt(2) * size + np.sqrt(2) * rng.normal(0, 1, (2, n))
    flops = np.exp(14 + spread * size)
    a = population("A", errors[0] - 2 * gain, flops=flops[0])
    killed = np.argsort(-size[0])[: int(part * n)] if largest else np.arange(int(part * n))
    return ended_by_machine(a, killed), population("B", errors[1], flops=flops[1])


@pytest.mark.parametrize("reason", ["out of memory", "time limit", "worker died", "error"])
def test_trials_that_the_machine_ended_are_not_failures_of_the_network(reason):
    a, b = of_one_space(np.random.default_rng(0), 200, 0.15)
    a = ended_by_machine(a, range(30), reason)
    comparison = compare(a, b)
    assert (comparison.n_a, comparison.differs, comparison.is_worst_case) == (170, False, False)
    assert compare(a.with_failures("chance"), b).better == "B"
    assert left_out_at_random(a).holds
    assert left_out_at_random(a).evidence == {"left out": 30}
    assert left_out_at_random(a.with_failures("exclude")).evidence == {}


def test_a_population_of_which_the_machine_ended_all_trials_is_not_compared():
    a, b = of_one_space(np.random.default_rng(0), 20, 1.0)
    assert compare_all([a, b]) == ()


def test_large_networks_that_ran_out_of_memory_weaken_the_claim():
    a, b = of_one_space(np.random.default_rng(1), 200, 0.15, largest=True)
    check = left_out_at_random(a)
    assert not check.holds
    assert check.sentence.startswith("A: 30 trials that the machine ended differ from the others (median flops ")
    assert len(possible_results(a, 30.0)) == 3
    comparison = compare(a, b)
    assert comparison.is_worst_case
    assert not comparison.differs
    assert "for any errors of the trials left out" in comparison.sentence()
    possible = possible_results(a, float(b.errors().min()))
    assert comparison.ks_p >= max(compare(results, b).ks_p for results in possible) - 0.02
    assert within_margins([a, b], [comparison], 0.5) == ()


def test_a_claim_that_holds_for_all_possible_errors_is_made():
    a, b = of_one_space(np.random.default_rng(2), 200, 0.05, largest=True, gain=1.5)
    comparison = compare(a, b)
    assert comparison.is_worst_case
    assert comparison.better == "A"


@pytest.mark.parametrize("largest", [False, True])
def test_machine_failures_keep_the_level(largest):
    claims = [
        compare(*of_one_space(np.random.default_rng(seed), 60, 0.15, largest=largest)).differs for seed in range(60)
    ]
    assert within(np.mean(claims), 0.05, 60)


def test_conclusions_that_depend_on_the_failure_policy_are_reported(tmp_path):
    a, b = of_one_space(np.random.default_rng(0), 200, 0.15)
    (sentence,) = other_failures([a, b], compare_all([a, b]))
    assert sentence.startswith("If trials that the machine ended count at chance level: B (")  # with its medians
    assert sentence in analyze([a, b], tmp_path, {}).notes
    few, other = of_one_space(np.random.default_rng(0), 200, 0.005)
    unchanged = "No conclusion changes if 1 trial that the machine ended counts at chance level."
    assert other_failures([few, other], compare_all([few, other])) == (unchanged,)
    assert other_failures([b], ()) == ()
    whole = [results.with_failures("exclude") for results in (a, b)]
    assert other_failures(whole, compare_all(whole)) == ()


def test_pairs_are_matched_if_the_machine_ended_large_networks():
    a, b = of_one_space(np.random.default_rng(5), 200, 0.1, largest=True, gain=0.5)
    (pair,) = compare_all([a, b])
    (matched,), _ = match_all([a, b], [pair])
    assert (pair.better, matched.better, matched.match) == (None, "A", "flops")
