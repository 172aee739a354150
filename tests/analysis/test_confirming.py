"""Confirmation of constraints on fresh networks."""

import numpy as np
import pytest

from designspace.analysis.refinement.confirming import Question, confirm, confirmation_table
from designspace.analysis.results import Results
from designspace.support.errors import InputError

BETTER = Question("width_non_decreasing", "width non-decreasing from stage to stage", "better")
NOT_WORSE = Question("group_width_shared", "one group width for all stages", "not worse")


def population(name, n, rng, gain=0.0, flops_gain=0.0, log_flops=0.0):
    """Return errors that fall by ``flops_gain`` per unit of log flops; ``log_flops`` shifts the complexity."""
    size = rng.normal(log_flops, 0.5, n)
    errors = 40 - 2 * gain + rng.normal(0, 2, n) - flops_gain * size
    return Results.from_errors(name, errors, 10, {"flops": np.exp(14 + size), "params": 1000 + 0 * size})


def test_a_better_child_is_adopted_with_estimates_of_the_fresh_networks():
    rng = np.random.default_rng(0)
    (found,) = confirm(population("P", 100, rng), {BETTER: population("C", 100, rng, gain=1)})
    assert found.is_adopted
    assert found.estimate.low > 0.5
    assert 0.65 < found.estimate.value < 0.88  # Phi(1 / sqrt(2)) = 0.76
    assert found.mean.value == pytest.approx(-2, abs=0.8)
    assert found.sentence().startswith("Adopted: width non-decreasing from stage to stage (width_non_decreasing).")
    table = confirmation_table([found])
    assert table.rows[0][-1] == "adopted"
    assert "100 and 100" in table.rows[0]


def test_equal_spaces_are_rarely_adopted_as_better_and_often_as_not_worse():
    """2.5% of 50 confirmations are wrong (standard error 2.2); most show the margin, which is generous."""
    rng = np.random.default_rng(1)
    better = not_worse = 0
    for _ in range(50):
        parent = population("P", 60, rng)
        found = confirm(parent, {BETTER: population("C", 60, rng)})[0]
        better += found.is_adopted
        not_worse += confirm(parent, {NOT_WORSE: population("C", 60, rng)}, margin=0.2)[0].is_adopted
    assert better <= 5
    assert not_worse > 40


def test_at_the_margin_not_worse_is_rarely_claimed():
    rng = np.random.default_rng(2)
    shift = np.sqrt(2) * 0.2533  # P = 0.4 for normal errors
    adopted = sum(
        confirm(population("P", 60, rng), {NOT_WORSE: population("C", 60, rng, gain=-shift)}, match=None, margin=0.1)[
            0
        ].is_adopted
        for _ in range(50)
    )
    assert adopted <= 5


def test_larger_networks_of_the_child_are_not_taken_for_better_ones():
    rng = np.random.default_rng(3)
    parent = population("P", 100, rng, flops_gain=4)
    child = population("C", 100, rng, flops_gain=4, log_flops=0.5)
    assert confirm(parent, {BETTER: child}, match=None)[0].is_adopted
    assert not confirm(parent, {BETTER: child})[0].is_adopted


def test_several_constraints_are_corrected_together():
    rng = np.random.default_rng(4)
    parent = population("P", 60, rng)
    child = population("C", 60, rng, gain=0.6)
    alone = confirm(parent, {BETTER: child})[0]
    together = confirm(parent, {BETTER: child, NOT_WORSE: population("D", 60, rng, gain=-1)})
    assert together[0].p == alone.p == alone.p_holm
    assert together[0].p_holm == pytest.approx(2 * alone.p)
    assert not together[1].is_adopted
    assert "Not confirmed: one group width for all stages" in together[1].sentence()
    assert "is not shown that networks with it are worse by less than the margin of 0.1" in together[1].sentence()


def test_unfinished_and_small_populations_are_refused():
    rng = np.random.default_rng(5)
    parent = population("P", 20, rng)
    with pytest.raises(InputError, match="C: a confirmation needs at least 8 networks"):
        confirm(parent, {BETTER: population("C", 7, rng)})
    child = population("C", 20, rng)
    child.table.loc[3, ["status", "final_error", "best_error"]] = ["waiting", np.nan, np.nan]
    with pytest.raises(InputError, match="C is not finished"):
        confirm(parent, {BETTER: child})
