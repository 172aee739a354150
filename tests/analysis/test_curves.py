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
    """Return epochs with given test errors and with training errors one point below."""
    return tuple(EpochRecord(epoch, 0.1, 1.0, error - 1, error, 2.0) for epoch, error in enumerate(errors, start=1))


def with_histories(test_errors, **others):
    """Return results whose done trials have given test errors after each epoch."""
    table = make_table([errors[-1] for errors in test_errors], **others)
    histories = {id_: history(errors) for id_, errors in zip(table["id"], test_errors, strict=False)}
    return Results.from_table("A", table, 10, histories)


def test_best_median_and_worst_are_by_final_error():
    results = with_histories([[50, 40], [60, 20], [60, 30], [70, 10], [40, 50]], failed=[("diverged", "")])
    curves = learning_curves(results)
    assert [(curve.kind, curve.final_error) for curve in curves.curves] == [("best", 10), ("median", 30), ("worst", 50)]
    assert curves.n == 5
    best = curves.curves[0]
    assert (best.epochs.tolist(), best.test_errors.tolist(), best.train_errors.tolist()) == ([1, 2], [70, 10], [69, 9])
    table = curves.table()
    assert table[table["kind"] == "worst"]["test_error"].tolist() == [40, 50]


def test_the_least_error_of_a_curve_is_marked_at_its_first_epoch():
    curve = learning_curves(with_histories([[50, 30, 40, 30, 35]])).curves[0]
    assert curve.least == (2, 30)


@pytest.mark.parametrize(("n", "kinds"), [(1, ["best"]), (2, ["best", "worst"]), (3, ["best", "median", "worst"])])
def test_few_networks_are_used_once(n, kinds):
    assert [curve.kind for curve in learning_curves(with_histories([[40, 30 + i] for i in range(n)])).curves] == kinds


def test_several_curves_of_each_kind():
    curves = learning_curves(with_histories([[40.0, 30 + i] for i in range(11)]), count=2)
    assert [curve.final_error for curve in curves.curves] == [30, 31, 34, 35, 39, 40]


def test_epoch_ranks_are_rank_correlations_with_the_final_error():
    final = [30.0, 31, 32, 33, 34, 35]
    reversed_, doubled = final[::-1], [2 * error for error in final]
    ranks = epoch_ranks(
        with_histories([list(errors) for errors in zip(reversed_, [40.0] * 6, doubled, final, strict=True)])
    )
    assert ranks.epochs.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(ranks.correlation, [-1, np.nan, 1, 1])
    assert ranks.n.tolist() == [6] * 4
    assert len(ranks.table()) == 4


def test_trials_count_only_at_their_own_epochs():
    ranks = epoch_ranks(with_histories([[50.0, 40], [60.0, 41], [70.0]], failed=[("diverged", "")]))
    assert ranks.n.tolist() == [3, 2]
    assert ranks.correlation[1] == pytest.approx(1)
    assert math.isnan(ranks.low[0])  # too few for an interval


def test_runs_without_epochs_are_refused():
    with pytest.raises(InputError, match="A: no done trial has known epochs .1 of 1 trial"):
        learning_curves(Results.from_table("A", make_table([30]), 10))
    with pytest.raises(InputError, match="count must be at least 1"):
        learning_curves(with_histories([[30.0]]), count=0)
