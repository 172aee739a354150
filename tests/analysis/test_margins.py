"""Claims that a space is not worse by more than a margin, which "no difference" does not imply."""

import numpy as np
import pytest
from populations import independent_results, make_results

from designspace.analysis import analyze
from designspace.analysis.comparison import compare_all
from designspace.analysis.margins import within_margins
from designspace.support.errors import InputError


def margins(results, margin):
    return within_margins(results, compare_all(results), margin)


def normal(seed, mean, n, sd=2.0):
    return np.random.default_rng(seed).normal(mean, sd, n)


def test_a_margin_is_met_on_one_side_or_both():
    worse, better = independent_results("A", normal(1, 42, 200)), independent_results("B", normal(2, 40, 200))
    (one_sided,) = margins([worse, better], 0.5)
    assert (one_sided.a_not_worse, one_sided.b_not_worse) == (False, True)
    assert one_sided.sentence().startswith("B is not worse than A by more than 0.5 points (means +")
    many = [independent_results(name, normal(seed, 40, 2000)) for seed, name in enumerate("AB", start=3)]
    (equal,) = margins(many, 1)
    assert equal.sentence().startswith("A and B are equal within 1 point (means ")
    (few,) = margins([independent_results("A", normal(5, 40, 10)), independent_results("B", normal(6, 40, 10))], 0.5)
    assert few.sentence().startswith(
        "It is not shown that A or B is not worse than the other by more than 0.5 points ("
    )


@pytest.mark.parametrize("pairs", [False, True])
def test_a_loss_of_the_margin_is_missed_at_most_at_the_level(pairs):
    rng = np.random.default_rng(7)
    repeats, claims = 150, 0
    for _ in range(repeats):
        networks = rng.normal(0, 2, 60)
        a = networks + rng.normal(40.5, 1, 60)
        b = (networks if pairs else rng.normal(0, 2, 60)) + rng.normal(40, 1, 60)
        make = make_results if pairs else independent_results
        claims += margins([make("A", a), make("B", b)], 0.5)[0].a_not_worse
    assert claims / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_the_margin_is_in_the_report(tmp_path):
    results = [independent_results(name, normal(seed, 40, 30)) for seed, name in enumerate("ABC")]
    analysis = analyze(results, tmp_path, {}, margin=3)
    assert (
        sum("equal within 3 points" in sentence and "over 3 pairs" in sentence for sentence in analysis.sentences) == 3
    )
    with pytest.raises(InputError, match="margin must be above 0 percentage points, such as margin=0.5, not 0"):
        analyze(results, tmp_path, {}, margin=0)


def test_an_undecided_comparison_gives_the_interval_of_the_difference():
    results = [independent_results(name, normal(seed, 40, 40)) for seed, name in enumerate("AB")]
    (comparison,) = compare_all(results)
    interval = f"({comparison.mean_low:+.2f} to {comparison.mean_high:+.2f})"
    assert comparison.sentence().endswith(f" The means differ by {comparison.mean_difference:+.2f} points {interval}.")
