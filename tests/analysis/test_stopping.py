"""When a comparison ends before all networks are trained."""

import dataclasses

import numpy as np
import pytest

from designspace.analysis.comparison import compare
from designspace.analysis.effects import probability_interval
from designspace.analysis.preconditions.looks import level_at
from designspace.analysis.results import Results
from designspace.analysis.stopping import PairVerdict, StoppingRule, beginning, conditional_power, courses
from designspace.support.errors import InputError

RULE = StoppingRule()


def normal(name, n, mean=40.0, seed=0):
    return Results.from_errors(name, np.random.default_rng([seed, len(name)]).normal(mean, 2, n), 10)


def verdict_of(a, b, size, rule=RULE):
    """Return the verdict of a look at the first networks of both spaces."""
    comparison = compare(beginning(a, size), beginning(b, size))
    return PairVerdict(comparison, rule.verdict(comparison, (len(a.table), len(b.table))))


def course_of(populations, rule=RULE, complete=()):
    """Return all looks of a sweep of finished populations."""
    planned = {each.name: len(each.table) for each in populations}

    def results_at(trained, going):
        return [beginning(each, trained[each.name]) for each in populations]

    return list(courses(planned, rule, results_at, complete))


def test_looks_are_equally_far_apart():
    assert StoppingRule(looks=1).sizes(100) == [100]
    assert StoppingRule(looks=4).sizes(100) == [25, 50, 75, 100]
    assert StoppingRule(looks=1000).sizes(20) == [*range(8, 21)]
    assert StoppingRule(looks=5).sizes(3) == [3]


def test_only_the_beginning_counts_whatever_has_finished():
    results = normal("A", 40)
    first = beginning(results, 10)
    np.testing.assert_array_equal(first.errors(), results.errors()[:10])
    assert first.counts.unfinished == 30
    assert compare(first, normal("BB", 40)).part < 1


def test_a_clear_difference_ends_early_and_a_claim_needs_the_boundary():
    good, bad = normal("A", 100, 36), normal("BB", 100)
    verdict = verdict_of(good, bad, 30)
    assert verdict.verdict == "better"
    assert verdict.comparison.better == "A"
    assert verdict.comparison.part == pytest.approx(0.3)
    assert max(verdict.comparison.ks_p_holm, verdict.comparison.effect_p_holm) < level_at(0.3, 0.05)
    assert "So far, A is better than BB" in verdict.sentence()


def test_a_claim_stays_whatever_later_networks_show():
    """After 20 networks A is better; the others are worse. Its pair with C is open, so that A is trained further."""
    rng = np.random.default_rng(0)
    a = Results.from_errors("A", [*rng.normal(36, 1, 20), *rng.normal(44, 1, 80)], 10)
    b, c = normal("BB", 100), Results.from_errors("C", [*rng.normal(36, 1, 20), *rng.normal(44, 1, 80)], 10)
    looks = course_of([a, b, c], StoppingRule(hopeless=0))
    assert [each.verdict for each in looks[0].verdicts] == ["open", "open", "open"]
    first, between, _ = looks[-1].verdicts
    assert (first.verdict, first.comparison.better) == ("better", "A")
    assert between.verdict == "open"
    assert looks[-1].trained["A"] == 100 > looks[-1].trained["BB"]


def test_complete_spaces_are_compared_but_not_trained():
    looks = course_of([normal("A", 60, 36), normal("BB", 60)], complete=["BB"])
    assert looks[-1].verdicts[0].verdict == "better"
    assert looks[-1].trained["BB"] == 60 > looks[-1].trained["A"]
    assert all(each.going <= {"A"} for each in looks)


def test_equal_spaces_are_given_up_and_a_rule_may_never_give_up():
    a, b = normal("A", 100, seed=3), normal("BB", 100, seed=3)
    given_up = verdict_of(a, b, 80)
    assert given_up.verdict == "hopeless"
    assert "given up with 80 and 80 networks" in given_up.sentence()
    patient = verdict_of(a, b, 80, StoppingRule(hopeless=0))
    assert patient.verdict == "open"
    assert course_of([a, b], StoppingRule(hopeless=0))[0].going == {"A", "BB"}
    assert verdict_of(a, b, 100).verdict == "open"


def test_the_conditional_power_is_that_of_simulated_remainders():
    """The rest of a sweep is drawn again and again with the assumed effect, and tested at the full level."""
    a, b = normal("A", 60, 39.5, seed=1), normal("BB", 60, seed=1)
    comparison = verdict_of(a, b, 30).comparison
    rng = np.random.default_rng(0)
    effect, shift = 0.7, 2 * np.sqrt(2) * 0.5244  # Phi^-1(0.7), in standard deviations of 2
    first_a, first_b = a.errors()[:30], b.errors()[:30]
    better = first_a.mean() < first_b.mean()
    count = 0
    for _ in range(400):
        rest_a, rest_b = rng.normal(40, 2, 30), rng.normal(40, 2, 30)
        if better:
            rest_a -= shift
        else:
            rest_b -= shift
        count += probability_interval([*first_a, *rest_a], [*first_b, *rest_b]).p < 0.05
    assert conditional_power(comparison, (60, 60), effect) == pytest.approx(count / 400, abs=0.08)


def test_a_finished_comparison_has_its_outcome():
    comparison = compare(normal("A", 60, 36), normal("BB", 60))
    assert conditional_power(comparison, (60, 60), 0.6) == 1
    assert RULE.verdict(comparison, (60, 60)) == "better"
    equal = dataclasses.replace(comparison, effect_p_holm=0.5)
    assert RULE.verdict(equal, (60, 60)) == "differ"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"looks": 0}, "looks"),
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"effect": 0.5}, "effect must be a probability above 0.5 and below 1"),
        ({"hopeless": 1.0}, r"hopeless must be from 0 \(never\) to below 1"),
    ],
)
def test_a_rule_is_checked(fields, message):
    with pytest.raises(InputError, match=message):
        StoppingRule(**fields)
