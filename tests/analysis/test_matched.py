"""Comparisons at equal complexity: a larger budget is not taken for a better space."""

import numpy as np
import pytest
from populations import make_results, make_table

from designspace.analysis import analyze
from designspace.analysis.comparison import compare, compare_all
from designspace.analysis.matched import compare_matched, match_all
from designspace.analysis.results import Results
from designspace.support.errors import InputError


def population(name, log_flops, rng, *, gain=0.0, **columns):
    """Return networks with errors 50 - 4 ln c + N(0, 1.5) points, less a gain, at complexities c of exp(N(., 0.5))."""
    table = make_table([0.0] * len(log_flops))
    errors = 50 - 4 * log_flops + rng.normal(0, 1.5, len(log_flops)) - gain
    table["id"] = [f"{name} {index}" for index in range(len(table))]
    return Results.from_table(
        name, table.assign(flops=1e6 * np.exp(log_flops), final_error=errors, best_error=errors, **columns), 10
    )


def pair(shift, rng, n=100, gain=0.0):
    return population("A", rng.normal(0, 0.5, n), rng), population("B", rng.normal(shift, 0.5, n), rng, gain=gain)


@pytest.mark.parametrize("shift", [0.3, 0.6])
def test_a_larger_budget_does_not_make_a_space_better(shift):
    rng = np.random.default_rng(1)
    repeats = 100
    raw = matched = 0
    for _ in range(repeats):
        a, b = pair(shift, rng)
        raw += compare(a, b).differs
        matched += compare_matched(a, b).p < 0.05
    assert raw / repeats > 0.6
    assert matched / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_a_better_space_is_better_at_equal_complexity():
    a, b = pair(-0.3, np.random.default_rng(2), gain=2.0)
    matched = compare_matched(a, b)
    assert matched.better == "B"
    assert matched.effect < 0.5
    sentence = matched.sentence()
    assert sentence.startswith("At equal flops (")
    assert (
        "B is better than A: a random network from B has a lower error than one from A of similar flops with prob"
        in sentence
    )


def test_pairs_with_different_budgets_are_matched_by_default():
    rng = np.random.default_rng(3)
    results = [*pair(0.4, rng), population("C", rng.normal(0, 0.5, 100), rng)]
    comparisons = compare_all(results)
    matched, refused = match_all(results, comparisons)
    assert [(match.a, match.b, match.match, match.tests) for match in matched] == [
        ("A", "B", "flops", 2),
        ("B", "C", "flops", 2),
    ]
    assert refused == ()
    assert len(match_all(results, comparisons, "flops")[0]) == 3
    assert match_all(results, comparisons, None) == ((), ())


def test_pairs_that_cannot_be_matched_are_reported():
    rng = np.random.default_rng(4)
    a, far = population("A", rng.normal(0, 0.1, 20), rng), population("Far", rng.normal(9, 0.1, 20), rng)
    _, (sentence,) = match_all([a, far], compare_all([a, far]))
    assert sentence.startswith("A and Far cannot be compared at equal flops: they have no flops in common: A ends at")
    with pytest.raises(InputError, match="unknown quantity 'flop'; did you mean flops"):
        match_all([a, far], (), "flop")
    with pytest.raises(InputError, match="train_s of 1 trial of Failed is not known"):
        compare_matched(a, make_results("Failed", [30.0, 31.0], failed=[("diverged", "")]), "train_s")


def test_the_report_contains_the_matched_edfs(tmp_path):
    analysis = analyze(pair(0.4, np.random.default_rng(5), n=30), tmp_path, {})
    assert [match.match for match in analysis.matched] == ["flops"]
    assert any(sentence.startswith("At equal flops") for sentence in analysis.sentences)
    assert (tmp_path / "figures" / "matched.svg").exists()
    assert "At equal cost" in analysis.report.read_text(encoding="utf-8")
