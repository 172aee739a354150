"""Tests of the figures of "Designing Network Design Spaces" and of every report, with real populations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from designspace.analysis import compare_all, overview
from designspace.analysis.figures.drawing import Drawing
from designspace.analysis.papers import designing
from designspace.analysis.results import Results
from designspace.support.errors import InputError
from designspace.trials.trial import EpochRecord

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart"


def read(name):
    """Read a published run, and add learning curves that end at the final errors of its trials."""
    results = Results.read(QUICKSTART / name)
    histories = {
        row.trial: tuple(
            EpochRecord(k, 0.1, 1.0, row.final_error + 2 * (9 - k), row.final_error + 3 * (10 - k), 1.0)
            for k in range(1, 11)
        )
        for row in results.table.itertuples()
    }
    return Results(results.name, results.table, results.chance_error, histories)


@pytest.fixture(scope="module")
def runs():
    return [read(name) for name in ("AnyNetXA", "AnyNetXE", "RegNetX")]


def half_done(results):
    """Return the same run with half of its trials unfinished and one failed."""
    table = results.table.copy()
    waiting = np.arange(len(table)) % 2 == 1
    table.loc[waiting, ["status", "device", "reason"]] = ["waiting", "", ""]
    table.loc[0, ["status", "reason"]] = ["failed", "diverged"]
    not_done = waiting | (np.arange(len(table)) == 0)
    table.loc[not_done, ["final_error", "best_error", "train_s"]] = np.nan
    table.loc[not_done, "epochs"] = 0
    histories = {
        trial: history for trial, history in results.histories.items() if trial in set(table["trial"][~not_done])
    }
    return Results.from_table("Half", table.drop(columns=["trial", "run"]), 10, histories)


def drawings(a, e, regnet):
    """Yield every figure of three populations."""
    yield designing.overview(a)
    yield designing.shared_parameters({"A and E": [a, e]}, trend_of=a, quantity="w4")
    yield designing.good_and_bad(e)
    yield designing.orders({"depths": [a, e], "all": [a, e, regnet]})
    yield designing.line_fits(e, [a, e], count=5)
    yield designing.regnet({"spaces": [a, e, regnet]}, [regnet])
    yield designing.generalisation({"one": [a, e], "other": [regnet]})
    yield designing.parameter_trends([regnet])
    yield designing.complexity_of_networks([a, e, regnet])
    yield designing.constrained({"3 MF": [regnet, a]})
    yield designing.alternatives({"SE": [regnet, e]})
    yield designing.best_models([a, regnet])
    yield overview.pair_figures([a, e, regnet])
    yield overview.effects_figure([a, e], compare_all([a, e]))
    yield overview.parameters_figure(regnet)
    yield overview.maps_figure(e)
    if regnet.counts.finished >= 10:
        yield overview.importance_figure(regnet)
    yield overview.networks_figure([a, e])
    yield overview.search_figure([a, regnet])
    yield overview.pareto_figure([a, e, regnet])
    yield overview.curves_figure([a, regnet])
    yield overview.paired_figure(a, Results("again", a.table, a.chance_error))


@pytest.fixture(scope="module")
def drawn(runs):
    return list(drawings(*runs))


def test_each_figure_has_a_picture_numbers_and_a_caption(drawn):
    assert len({drawing.name for drawing in drawn}) == len(drawn)
    for drawing in drawn:
        assert isinstance(drawing, Drawing)
        assert not drawing.numbers.empty
        assert len(drawing.caption) > 40
        assert "<svg" in drawing.svg()


def test_the_same_results_give_the_same_bytes(drawn, runs):
    a, _, regnet = runs
    first = {drawing.name: drawing for drawing in drawn}
    for again in (designing.overview(a), overview.pair_figures(runs), overview.curves_figure([a, regnet])):
        assert first[again.name].svg() == again.svg()
        pd.testing.assert_frame_equal(first[again.name].numbers, again.numbers)


def test_figures_of_an_unfinished_sweep_say_so(runs):
    half = half_done(runs[2])
    note = "Half: 12 of 24 trials finished, 1 of them failed, "
    for drawing in drawings(half, Results("E", runs[1].table, 90.0, runs[1].histories), half_of(half)):
        if "Half" in drawing.caption or half.name in drawing.caption:
            assert note in drawing.caption, drawing.name
            assert "12 of 24 trials finished" in " ".join(drawing.figure.get_supxlabel().split()), drawing.name
        assert drawing.svg()


def half_of(half):
    return Results("Other half", half.table, half.chance_error, half.histories)


def test_numbers_of_figures_agree_with_the_populations(runs):
    a, _, regnet = runs
    best = designing.best_models([a, regnet]).numbers
    assert best["id"].tolist() == [run.best(1)["id"].iloc[0] for run in (a, regnet)]
    search = overview.search_figure([regnet]).numbers
    assert search["mean"].iloc[0] == pytest.approx(regnet.errors().mean())
    assert search["mean"].iloc[-1] == pytest.approx(regnet.errors().min())
    scatter = designing.overview(a).numbers
    shown = scatter[scatter["panel"] == "d"]["error"]
    assert sorted(shown) == sorted(a.errors())


def test_invalid_input_of_figures_is_refused(runs):
    with pytest.raises(InputError, match="two populations"):
        overview.pair_figures(runs[:1])
    with pytest.raises(InputError, match="two populations"):
        overview.effects_figure(runs, ())
    with pytest.raises(InputError, match="no done trial has known epochs"):
        overview.curves_figure([Results("none", runs[0].table, 90.0)])
    with pytest.raises(InputError, match="unknown quantity"):
        designing.overview(runs[0], ["colour"])
    with pytest.raises(InputError, match="no results to draw"):
        designing.best_models([])
