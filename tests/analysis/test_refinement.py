"""What `refine` proposes, on simulated populations and on the published runs (experiments/refine_error_rates)."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refined_populations import SPACE, planted, results_of, rises, stages, table_of

from designspace.analysis.refinement import Settings, refine
from designspace.analysis.refinement.candidates import candidates
from designspace.analysis.refinement.findings import (
    draw_findings,
    findings_numbers,
    findings_table,
    sentences,
)
from designspace.analysis.refinement.population import RefinedPopulation, centred, strata_of
from designspace.analysis.refinement.proposals import refine_population
from designspace.analysis.refinement.step_down import step_down
from designspace.analysis.results import Results
from designspace.spaces import catalog
from designspace.spaces.constraints import Order
from designspace.spaces.network_list import NetworkList
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder
from designspace.trials.metric import Metric

RUNS = Path(__file__).parents[2] / "experiments" / "paper_figures" / "runs"
QUICK = Settings(permutations=300)
WIDE = catalog.space("AnyNetXA", flops=(100e6, 1600e6))


@pytest.fixture(scope="module")
def prepared():
    """Populations of 100 networks with their candidates, by space."""
    made = {}
    for space in (SPACE, WIDE):
        population = RefinedPopulation.of(results_of(space, np.full(100, 40.0)), space)
        made[space] = population, candidates(population)
    return made


def proposals(prepared, space, errors):
    """Return the proposals for some errors, in the order of `table_of`."""
    population, tested = prepared[space]
    return refine_population(dataclasses.replace(population, errors=errors[population.rows]), tested, QUICK).proposals


KINDS = {
    "normal": lambda rng, n: rng.normal(40, 2, n),
    "skewed": lambda rng, n: 30 + rng.lognormal(1, 1, n).clip(0, 50),
    "a fifth diverged": lambda rng, n: np.where(rng.random(n) < 0.2, 90, rng.normal(40, 2, n)),
    "of 100 test images": lambda rng, n: rng.binomial(100, 0.4, n).astype(float),
}


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_rarely_given_a_proposal(prepared, kind):
    found = [proposals(prepared, SPACE, KINDS[kind](np.random.default_rng(i), 100)) for i in range(8)]
    assert sum(map(bool, found)) <= 2  # 0.5 expected at 6%


def test_errors_that_depend_on_flops_alone_are_given_no_proposal(prepared):
    flops = np.log(table_of(WIDE, 100)["flops"].to_numpy(float))
    found = [proposals(prepared, WIDE, planted(flops, 0.5, np.random.default_rng(i))) for i in range(8)]
    assert sum(map(bool, found)) <= 2


def test_rising_widths_are_found_and_never_their_opposite(prepared):
    found = [proposals(prepared, SPACE, planted(rises(SPACE, 100), 0.2, np.random.default_rng(i))) for i in range(12)]
    assert sum("width_non_decreasing" in names for names in found) >= 7
    assert not any("width_non_increasing" in names for names in found)


def test_a_middle_depth_is_found(prepared):
    depth = np.log(stages(SPACE, 100, "d")[:, 2])
    signal = -np.abs(depth - np.median(depth))
    found = [proposals(prepared, SPACE, planted(signal, 0.4, np.random.default_rng(i))) for i in range(8)]
    assert sum(any(name.startswith("depth3_") for name in names) for names in found) >= 6


@pytest.mark.parametrize(
    ("name", "expected"), [("AnyNetXB", "width_non_decreasing"), ("AnyNetXC", "width_non_decreasing")]
)
def test_published_runs_suggest_what_the_paper_chose(name, expected):
    run = RunFolder(RUNS / name)
    refinement = refine(Results.read(run), run.space())
    assert refinement.proposals[0] == expected
    assert all(proposal.startswith("width") for proposal in refinement.proposals)
    child = refinement.child([expected])
    assert Order("width", "non_decreasing") in child.constraints
    first = sentences(refinement)[0]
    assert first.startswith("Proposed: width non-decreasing from stage to stage (width_non_decreasing). ")
    assert "8 of 48 networks meet it" in first
    assert "The space has 23 times fewer settings." in first


def judged_of(refinement):
    return [(judged.evidence.name, judged.status, judged.evidence.t, judged.evidence.p) for judged in refinement.judged]


def test_neither_the_order_of_rows_nor_the_scale_of_errors_matters():
    errors = planted(rises(SPACE, 60), 0.3, np.random.default_rng(1))
    results = results_of(SPACE, errors)
    expected = judged_of(refine(results, SPACE, settings=QUICK))
    shuffled = dataclasses.replace(results, table=results.table.sample(frac=1, random_state=3).reset_index(drop=True))
    assert judged_of(refine(shuffled, SPACE, settings=QUICK)) == expected
    monotone = results_of(SPACE, 100 / (1 + np.exp(-(errors - 40) / 4)))
    assert judged_of(refine(monotone, SPACE, settings=QUICK)) == expected
    accuracy = Metric("accuracy", "%", "higher", 10.0, 0.0, 100.0)
    assert judged_of(refine(results_of(SPACE, 100 - errors, metric=accuracy), SPACE, settings=QUICK)) == expected


def test_repeats_count_once():
    errors = planted(rises(SPACE, 60), 0.3, np.random.default_rng(1))
    results = results_of(SPACE, errors)
    again = results.table.assign(seed=1, trial=results.table["trial"] + "-s1")
    table = results.table.assign(final_error=errors - 1, best_error=errors - 1)
    repeated = dataclasses.replace(
        results, table=pd.concat([table, again.assign(final_error=errors + 1)], ignore_index=True)
    )
    refinement = refine(repeated, SPACE, settings=QUICK)
    assert refinement.population.n == 60
    assert judged_of(refinement) == judged_of(refine(results, SPACE, settings=QUICK))
    assert "trained more than once" in " ".join(refinement.population.notes)


def with_status(results, rows, status, reason=""):
    table = results.table.copy()
    table.loc[rows, ["status", "reason"]] = [status, reason]
    table.loc[rows, ["final_error", "best_error"]] = np.nan
    return dataclasses.replace(results, table=table)


def test_half_done_runs_are_refused_if_small_networks_finished_first():
    results = results_of(WIDE, np.random.default_rng(0).normal(40, 2, 100))
    largest = np.argsort(-results.table["flops"].to_numpy())[:50]
    with pytest.raises(InputError, match=r"not a random sample .* wait until the run has finished"):
        refine(with_status(results, largest, "waiting"), WIDE)
    refinement = refine(with_status(results, range(60, 100), "waiting"), WIDE, settings=QUICK)
    assert refinement.population.n == 60
    assert refinement.level < 0.01  # one of many looks


def test_failures_count_by_cause():
    errors = planted(rises(SPACE, 60), 0.3, np.random.default_rng(1))
    killed = with_status(results_of(SPACE, errors), range(5), "failed", "out of memory")
    refinement = refine(killed, SPACE, settings=QUICK)
    assert refinement.population.n == 55
    assert any("that the machine ended" in note for note in refinement.population.notes)
    diverged = with_status(results_of(SPACE, errors), range(5), "failed", "diverged")
    assert refine(diverged, SPACE, settings=QUICK).population.n == 60


def test_a_shared_value_that_costs_nothing_is_free_only_within_the_margin():
    """With three stages and two ratios, a quarter of the networks share their ratio."""
    space = catalog.space("AnyNetXA", stages=3, bottleneck_ratio=[1, 2], flops=(360e6, 400e6))
    errors = np.random.default_rng(5).normal(40, 2, 200)
    free = refine(results_of(space, errors), space, settings=Settings(permutations=200, margin=0.2))
    judged = {judged.evidence.name: judged for judged in free.judged}
    assert judged["bottleneck_ratio_shared"].status == "free"
    assert any(sentence.startswith("Free: one bottleneck ratio") for sentence in sentences(free))
    assert "bottleneck_ratio_shared" not in free.proposals
    assert free.child(["bottleneck_ratio_shared"]).constraints[-1] == Order("bottleneck_ratio", "shared")
    strict = refine(results_of(space, errors), space, settings=Settings(permutations=200, margin=0.01))
    judged = {judged.evidence.name: judged for judged in strict.judged}
    assert judged["bottleneck_ratio_shared"].status == "open"
    assert judged["bottleneck_ratio_shared"].needed > 1000


def test_findings_have_all_numbers():
    errors = planted(rises(SPACE, 100), 0.4, np.random.default_rng(2))
    refinement = refine(results_of(SPACE, errors), SPACE, settings=QUICK)
    numbers = findings_numbers(refinement)
    assert len(numbers) == len(refinement.candidates)
    first = numbers.iloc[0]
    assert (first["candidate"], first["status"]) == ("width_non_decreasing", "proposed")
    assert first["log10_smaller"] == pytest.approx(np.log10(128**4 / 11_716_640))
    table = findings_table(refinement)
    assert table.rows[0][0] == "width_non_decreasing"
    drawing = draw_findings(refinement)
    assert {"error", "probability", "candidate", "status"} <= set(drawing.numbers.columns)
    assert drawing.svg() == draw_findings(refine(results_of(SPACE, errors), SPACE, settings=QUICK)).svg()


def test_prices_are_those_of_the_metric():
    """A gain is a higher accuracy."""
    errors = planted(rises(SPACE, 100), 0.6, np.random.default_rng(2))
    accuracy = Metric("accuracy", "%", "higher", 10.0, 0.0, 100.0)
    refinement = refine(results_of(SPACE, 100 - errors, metric=accuracy), SPACE, settings=QUICK)
    plain = refine(results_of(SPACE, errors), SPACE, settings=QUICK)
    gains, losses = (findings_numbers(each)["mean_difference"].dropna() for each in (refinement, plain))
    np.testing.assert_allclose(gains, -losses, atol=1e-9)
    assert "the higher their values of accuracy" in sentences(refinement)[0]


def test_nothing_supported_is_said():
    refinement = refine(results_of(SPACE, np.random.default_rng(0).normal(40, 2, 40)), SPACE, settings=QUICK)
    assert refinement.proposals == ()
    assert refinement.child() is None
    texts = sentences(refinement)
    assert texts[0].startswith("AnyNetXA: nothing is proposed. None of ")
    assert any(text.startswith("Open: whether one group width for all stages") for text in texts)
    with pytest.raises(InputError, match="unknown candidate 'width_rising' for AnyNetXA"):
        refinement.child(["width_rising"])


def test_invalid_input_is_rejected():
    results = results_of(SPACE, np.full(29, 40.0))
    with pytest.raises(InputError, match="needs at least 30 finished networks, but there are 29"):
        refine(results, SPACE)
    listed = NetworkList("mine", tuple(SPACE.sample(2)))
    with pytest.raises(InputError, match="a given list: its networks were chosen"):
        refine(results, listed)
    enough = results_of(SPACE, np.full(40, 40.0))
    with pytest.raises(InputError, match="the train_s of 40 networks is not known"):
        refine(enough, SPACE, match="train_s")
    with pytest.raises(InputError, match="unknown quantity"):
        refine(enough, SPACE, match="weight")
    with pytest.raises(InputError, match="margin must be above 0 and below 0.5"):
        Settings(margin=0.5)
    with pytest.raises(InputError, match="effect must be a probability from 0.5"):
        Settings(effect=0.4)


def test_equal_errors_support_nothing():
    refinement = refine(results_of(SPACE, np.full(40, 40.0)), SPACE, match=None, settings=QUICK)
    assert refinement.proposals == ()


def test_p_values_of_the_step_down_are_uniform_for_one_score():
    rng = np.random.default_rng(0)
    strata = strata_of(np.linspace(1, 2, 40))
    score = centred(rng.normal(size=(40, 1)), strata)
    p = [step_down(centred(rng.normal(size=40), strata), score, strata, 199, i).p[0] for i in range(300)]
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_strata_hold_about_ten_networks_of_similar_complexity():
    strata = strata_of(np.linspace(1, 2, 57))
    assert np.bincount(strata).tolist() == [12, 12, 11, 11, 11]
    assert strata_of(np.linspace(1, 1.01, 57)).max() == 0
