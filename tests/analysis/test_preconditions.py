"""Conditions of a claim: shared networks, budget, training, finished at random, looks. Error rates by simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table, population, within

from designspace.analysis import paired
from designspace.analysis.blocks import block_test
from designspace.analysis.comparison import compare, compare_all, comparison_table
from designspace.analysis.preconditions import (
    by_network,
    drawn_at_random,
    finished_at_random,
    may_conclude,
    random_subset,
    same_budget,
    same_training,
    shared_networks,
)
from designspace.analysis.preconditions.looks import level_at, part_of_information
from designspace.analysis.report_figures import pairs_of_same_networks
from designspace.analysis.results import Results

# Given lists


def given_list(name, errors, **columns):
    """Return results of networks that were chosen."""
    return replace(population(name, errors, **columns), is_drawn=False)


def test_claims_about_a_given_list_are_about_its_networks():
    rng = np.random.default_rng(0)
    chosen = given_list("Mine", rng.normal(30, 1, 40), tag="a")
    drawn = population("Space", rng.normal(34, 1, 40), tag="b")
    assert drawn_at_random(drawn, drawn).holds
    check = drawn_at_random(chosen, drawn)
    assert not check.holds
    assert check.sentence.startswith("Mine is a given list: its networks were chosen, not drawn at random")
    assert compare(chosen, drawn).sentence().startswith("Mine (a given list) is better than Space: ")
    assert compare(drawn, chosen).sentence().startswith("Mine (a given list) is better than Space: ")
    both = drawn_at_random(chosen, given_list("Other", [30.0]))
    assert both.sentence.startswith("Mine and Other are given lists: their networks")
    assert "drawn at random" in comparison_table([compare(chosen, drawn)])["not_met"].iloc[0]


def test_more_networks_cannot_be_drawn_from_a_list():
    rng = np.random.default_rng(1)
    errors = rng.normal(30, 1, 40), rng.normal(30.2, 1, 40)
    assert compare(population("A", errors[0], tag="a"), population("B", errors[1], tag="b")).needed is not None
    comparison = compare(given_list("A", errors[0], tag="a"), population("B", errors[1], tag="b"))
    assert comparison.needed is None
    assert "Not decided with n = 40 and 40. The means" in comparison.sentence()


def test_no_part_of_a_list_is_a_sample_of_it():
    rng = np.random.default_rng(2)
    table = make_table(rng.normal(30, 1, 40))
    table["status"] = np.where(np.arange(40) < 30, "done", "waiting")
    half_done = Results.from_table("Mine", table, 10)
    assert may_conclude(random_subset(half_done))
    half_done = replace(half_done, is_drawn=False)
    subset = random_subset(half_done)
    assert not may_conclude(subset)
    assert subset.notes == (
        "30 of 40 networks of a given list have finished, and the order of a list is not random. No conclusion is "
        "possible yet.",
    )
    comparison = compare(half_done, population("Space", rng.normal(40, 1, 40), tag="b"))
    assert comparison.sentence().startswith("Mine and Space: no conclusion yet")


def test_a_list_is_rarely_called_different_from_a_space_with_its_errors():
    rng = np.random.default_rng(3)
    chosen = given_list("Mine", rng.normal(30, 3, 50), tag="a")
    calls = [compare(chosen, population("Space", rng.choice(chosen.errors(), 50), tag="b")).differs for _ in range(50)]
    assert not any(calls)  # of two samples, 2 or 3 would be expected


# Budget and training


def test_different_budgets_are_named_in_the_claim():
    rng = np.random.default_rng(0)
    small = population("Small", rng.normal(44, 1, 48), flops=rng.uniform(0.9e6, 1.1e6, 48))
    large = population("Large", rng.normal(40, 1, 48), flops=rng.uniform(1.8e6, 2.2e6, 48))
    check = same_budget(small, large)
    assert not check.holds
    assert list(check.evidence) == ["flops"]
    sentence = compare(small, large).sentence()
    assert sentence.startswith("Large (median flops 2")
    assert " is better than Small (median flops 1" in sentence
    assert "different budgets (median flops " in check.sentence


@pytest.mark.parametrize(
    ("low", "high", "holds"), [(0.9e6, 1.1e6, True), (0.95e6, 1.2e6, False), (1.0e6, 1.25e6, False)]
)
def test_budgets_differ_by_their_medians_or_by_a_test(low, high, holds):
    rng = np.random.default_rng(1)
    a = population("A", rng.normal(40, 1, 400), flops=rng.uniform(0.9e6, 1.1e6, 400))
    assert same_budget(a, population("B", rng.normal(40, 1, 400), flops=rng.uniform(low, high, 400))).holds == holds


def test_unknown_complexities_are_not_compared():
    a, b = (Results.from_errors(name, [30.0, 31.0, 32.0], 10) for name in "AB")
    assert same_budget(a, b).holds


def test_different_recipes_are_named_in_the_claim():
    rng = np.random.default_rng(0)
    a = population("ResNet", rng.normal(40, 1, 40), tag="a", lr=0.18, weight_decay=5e-5, batch_size=128)
    b = population("Other", rng.normal(44, 1, 40), tag="a", lr=0.02, weight_decay=5e-5, batch_size=128)
    comparison = compare(a, b)
    assert comparison.sentence().startswith("ResNet (lr 0.18) is better than Other (lr 0.02): ")
    assert comparison.swapped().titles == ("Other (lr 0.02)", "ResNet (lr 0.18)")
    assert comparison_table([comparison])["not_met"].tolist() == ["independent networks; same training"]


def test_missing_fields_of_imported_results_are_not_differences():
    a = population("A", [30.0] * 5, lr=0.1)
    assert same_training(a, population("B", [30.0] * 5, lr=np.nan)).holds
    assert same_training(a, population("B", [30.0] * 5)).holds


def test_epochs_are_compared_if_no_recipe_is_known():
    a, b = population("A", [30.0] * 5, epochs=10), population("B", [30.0] * 5, epochs=25)
    assert same_training(a, b).sides == ("epochs 10", "epochs 25")


# Shared networks


def test_networks_are_shared_by_id_or_by_structure():
    errors = np.linspace(30, 40, 20)
    a, b = population("A", errors, vary=1), population("B", errors[::-1].copy(), vary=1)
    assert shared_networks(a, b).kind == "structures"
    assert shared_networks(a, b).pairs.tolist() == [[index, index] for index in range(20)]
    same = population("C", errors, vary=2, tag="c"), population("D", errors, vary=3, tag="c")
    assert shared_networks(*same).kind == "networks"
    assert not shared_networks(a, population("E", errors, vary=4)).are_many


def test_networks_with_different_numbers_of_stages_share_no_structures():
    four = population("A", np.linspace(30, 40, 12), vary=1)
    table = four.table.drop(columns=[f"{letter}4" for letter in "dwbg"]).assign(id=[f"B {i}" for i in range(12)])
    three = Results.from_table("B", table.drop(columns=["trial", "run"]), 10)
    for a, b in ((four, three), (three, four)):
        assert len(shared_networks(a, b).pairs) == 0
        assert "no difference shown" in compare(a, b).sentence()


@pytest.mark.parametrize("shared", [0.3, 0.9])
@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_shared_networks_keep_the_level(shared, noise):
    """Errors consist of an effect of the network (sd 1) and noise of training, and the spaces are equal."""
    rng = np.random.default_rng(5)
    n, repeats, claims, covered = 40, 150, 0, 0
    pairs = np.repeat(np.arange(int(shared * n))[:, None], 2, axis=1)
    for repeat in range(repeats):
        networks = rng.normal(40, 1, (2, n))
        networks[1, : len(pairs)] = networks[0, : len(pairs)]
        a, b = networks + rng.normal(0, noise, (2, n))
        result = block_test(a, b, pairs, seed=repeat)
        claims += result.effect.p < 0.05
        covered += result.mean.low <= 0 <= result.mean.high
    assert within(claims / repeats, 0.05, repeats)
    assert within(1 - covered / repeats, 0.05, repeats)


def test_pairs_find_differences_that_whole_populations_do_not_show():
    """A gain of 0.15 standard deviations, errors that correlate by 0.9: the Kolmogorov-Smirnov test finds it in 1%."""
    rng = np.random.default_rng(6)
    repeats, n, claims = 100, 100, {"blocks": 0, "t": 0}
    pairs = np.repeat(np.arange(n)[:, None], 2, axis=1)
    for repeat in range(repeats):
        networks = rng.normal(40, np.sqrt(0.9), n)
        a, b = networks + rng.normal(0, np.sqrt(0.1), (2, n)) + np.array([[0.15], [0]])
        claims["blocks"] += block_test(a, b, pairs, seed=repeat).effect.p < 0.05
        change = a - b
        claims["t"] += abs(change.mean()) / (change.std(ddof=1) / np.sqrt(n)) > 1.984
    assert claims["blocks"] >= claims["t"] - 10


def test_a_trial_is_not_compared_with_itself():
    errors = np.linspace(30, 40, 12)
    a, b = population("A", errors, tag="a"), population("B", errors, tag="a")
    assert pairs_of_same_networks([a, b]) == []
    other = population("C", errors + 1, tag="a", seed=1)
    assert pairs_of_same_networks([a, other]) == [(a, other)]
    assert "Spearman" in paired.compare_paired(a, other).sentence()
    assert compare(a, b).sentence().startswith("A and B: no difference shown at 5% (12 networks in pairs, p = 1.00)")


# Networks, not trainings


def repeated(name, networks, noise, seeds, rng):
    """Return results of networks with given true errors, each trained with several seeds."""
    tables = [
        make_table(networks + rng.normal(0, noise, len(networks)), seed=seed).assign(trial=str(seed))
        for seed in range(seeds)
    ]
    table = pd.concat(tables, ignore_index=True)
    table["id"] = name + table["id"]
    table["trial"] = table["id"] + "@" + table["trial"]
    return Results.from_table(name, table, 10)


def test_repeated_networks_count_once():
    rng = np.random.default_rng(9)
    repeats, claims = 25, 0
    for _ in range(repeats):
        a, b = (repeated(name, rng.normal(40, 3, 32), 1, 3, rng) for name in "AB")
        comparison = compare(a, b)
        claims += comparison.differs
    assert (comparison.n_a, comparison.n_b) == (32, 32)
    assert within(claims / repeats, 0.05, repeats)


def test_a_note_lists_what_was_averaged():
    results = by_network(repeated("A", np.linspace(30, 40, 6), 1, 2, np.random.default_rng(0)))
    assert results.notes == (
        "6 networks were trained more than once; each counts with the mean of its first 2 errors.",
    )
    assert by_network(results) is results


# Half-finished sweeps


def test_small_networks_that_finish_first_are_not_a_random_sample():
    rng = np.random.default_rng(2)
    flops = rng.lognormal(14, 0.6, 100)
    late = flops > np.median(flops)
    results = population("A", rng.normal(40, 1, 100), flops=flops, unfinished=np.flatnonzero(late))
    check = finished_at_random(results)
    assert not check.holds
    assert "not a random sample of the population: median flops" in check.sentence
    assert not may_conclude(results)
    other = population("B", rng.normal(50, 1, 100))
    assert compare(results, other).sentence() == (
        "A and B: no conclusion yet; the finished networks are not a random sample of each."
    )


def test_if_finished_networks_are_biased_only_the_finished_beginning_counts():
    rng = np.random.default_rng(3)
    flops = np.concatenate([rng.lognormal(14, 0.6, 40), np.full(30, 1e5), np.full(30, 1e8)])
    results = population("A", rng.normal(40, 1, 100), flops=flops, unfinished=[*range(40, 70, 2), *range(70, 100)])
    subset = random_subset(results)
    assert subset.errors().tolist() == results.errors()[:40].tolist()
    assert "Only the first 40 networks of the population count" in subset.notes[-1]
    assert random_subset(subset) is subset
    better = compare(results, population("B", rng.normal(60, 1, 100), flops=flops))
    assert better.n_a == 40
    assert better.sentence().startswith("So far, A ")


def test_a_beginning_that_includes_all_finished_networks_counts_without_a_note():
    """Trials finished in order differ from the others only by chance, so they are a random sample."""
    flops = np.concatenate([np.linspace(1e6, 2e6, 20), np.linspace(3e6, 4e6, 20)])
    results = population("A", np.linspace(30, 40, 40), flops=flops, unfinished=range(20, 40))
    assert not finished_at_random(results).holds
    subset = random_subset(results)
    assert subset.errors().tolist() == results.errors().tolist()
    assert subset.notes == ()
    assert may_conclude(subset)


def test_a_random_sample_counts_unchanged():
    rng = np.random.default_rng(4)
    results = population("A", rng.normal(40, 1, 60), unfinished=range(30, 60), flops=rng.permutation(60) + 4e6)
    assert finished_at_random(results).holds
    assert random_subset(results) is results
    assert random_subset(make_results("A", [30.0] * 5)).notes == ()


@pytest.mark.parametrize("strength", [0.2, 0.7])
def test_censoring_by_cost_causes_no_false_claims(strength):
    """There is one space; in A, cheap networks finish first, and errors decrease with the logarithm of the cost."""
    rng = np.random.default_rng(7)
    repeats, n, claims = 60, 100, 0
    for _ in range(repeats):
        size = rng.normal(0, 1, (2, n))
        errors = 40 - np.sqrt(strength) * size + np.sqrt(1 - strength) * rng.normal(0, 1, (2, n))
        flops = np.exp(14 + 0.6 * size)
        ends = np.arange(n) / n + rng.exponential(1, n) * flops[0] / np.exp(14)
        late = np.flatnonzero(ends > np.median(ends))
        a = population("A", errors[0], flops=flops[0], unfinished=late)
        claims += compare(a, population("B", errors[1], flops=flops[1])).better is not None
    assert within(claims / repeats, 0.05, repeats)


# Looks


def test_the_boundary_of_a_look_has_the_published_values():
    assert level_at(1.0, 0.05) == 0.05
    assert level_at(0.0, 0.05) == 0
    assert level_at(0.5, 0.05) == pytest.approx(0.00152, abs=2e-5)
    assert part_of_information((50, 100), (100, 100)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("n", [100])
def test_ten_looks_keep_the_level(n):
    rng = np.random.default_rng(8)
    repeats, claims = 15, 0
    for _ in range(repeats):
        errors = rng.normal(40, 2, (2, n))
        looks = (
            compare_all(
                [
                    population(name, values, unfinished=range(end, n), vary=None, activations=3_000, flops=[4e6] * n)
                    for name, values in zip("AB", errors, strict=True)
                ]
            )[0].differs
            for end in range(n // 10, n + 1, n // 10)
        )
        claims += any(looks)
    assert within(claims / repeats, 0.05, repeats)
