from __future__ import annotations

import math

import numpy as np
import pytest
from populations import make_table

from designspace.analysis.curves import epoch_ranks, learning_curves
from designspace.analysis.results import Results
from designspace.support.errors import InputError
from designspace.trials.trial import EpochRecord


def history(errors):
    """Epochs of those test errors, with training errors one point below."""
    return tuple(EpochRecord(epoch, 0.1, 1.0, error - 1, error, 2.0) for epoch, error in enumerate(errors, start=1))


def with_histories(test_errors, **others):
    """Results whose done trials have those errors after each epoch."""
    table = make_table([errors[-1] for errors in test_errors], **others)
    histories = {id_: history(errors) for id_, errors in zip(table["id"], test_errors, strict=False)}
    return Results.from_table("A", table, 10, histories)


def test_best_median_and_worst_are_those_by_final_error():
    results = with_histories([[50, 40], [60, 20], [60, 30], [70, 10], [40, 50]], failed=[("diverged", "")])
    found = learning_curves(results)
    assert [(one.kind, one.final_error) for one in found.curves] == [("best", 10), ("median", 30), ("worst", 50)]
    assert found.n == 5
    best = found.curves[0]
    assert (best.epochs.tolist(), best.test_errors.tolist(), best.train_errors.tolist()) == ([1, 2], [70, 10], [69, 9])
    table = found.table()
    assert table[table["kind"] == "worst"]["test_error"].tolist() == [40, 50]


def test_the_least_error_of_a_curve_is_marked_at_its_first_epoch():
    curve = learning_curves(with_histories([[50, 30, 40, 30, 35]])).curves[0]
    assert curve.least == (2, 30)


@pytest.mark.parametrize(("n", "kinds"), [(1, ["best"]), (2, ["best", "worst"]), (3, ["best", "median", "worst"])])
def test_few_networks_are_taken_once(n, kinds):
    assert [one.kind for one in learning_curves(with_histories([[40, 30 + i] for i in range(n)])).curves] == kinds


def test_several_of_each():
    found = learning_curves(with_histories([[40.0, 30 + i] for i in range(11)]), count=2)
    assert [one.final_error for one in found.curves] == [30, 31, 34, 35, 39, 40]


def test_the_ranking_shows_when_the_errors_after_an_epoch_say_so():
    final = [30.0, 31, 32, 33, 34, 35]
    turned, doubled = final[::-1], [2 * error for error in final]
    ranks = epoch_ranks(
        with_histories([list(errors) for errors in zip(turned, [40.0] * 6, doubled, final, strict=True)])
    )
    assert ranks.epochs.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(ranks.correlation, [-1, np.nan, 1, 1])
    assert ranks.n.tolist() == [6] * 4
    assert len(ranks.table()) == 4


def test_trials_count_at_the_epochs_that_they_have():
    ranks = epoch_ranks(with_histories([[50.0, 40], [60.0, 41], [70.0]], failed=[("diverged", "")]))
    assert ranks.n.tolist() == [3, 2]
    assert ranks.correlation[1] == pytest.approx(1)
    assert math.isnan(ranks.low[0])  # too few for an interval


def test_runs_without_epochs_are_refused():
    with pytest.raises(InputError, match="A: no done trial has known epochs .1 of 1 trial"):
        learning_curves(Results.from_table("A", make_table([30]), 10))
    with pytest.raises(InputError, match="count must be at least 1"):
        learning_curves(with_histories([[30.0]]), count=0)
