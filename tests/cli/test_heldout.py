"""A run with held-out images: its networks are ranked by them, from status to the report."""

import csv
import dataclasses

import pytest
from sweep_runs import make_run

from designspace import analyze, status
from designspace.analysis import Results
from designspace.analysis.quantities import available
from designspace.analysis.tables import best_table, notes
from designspace.cli import app
from designspace.data.presets import Preset
from designspace.library.card import model_card
from designspace.library.loading import find_network
from designspace.models.info import MeasuredError, ModelInfo, Selection
from designspace.sweeps.progress import Progress
from designspace.sweeps.status import run_status
from designspace.trials.ranking import best_first
from designspace.trials.state import TrialState
from designspace.trials.trial import Trial, TrialResult

ERRORS = ((30.0, 52.0), (20.0, 54.0), (10.0, 56.0), (40.0, 50.0))
"""Held-out and final error of each network; their orders are opposite."""


def make_finished_run(path, *, heldout):
    """Return a run whose trials have these results."""
    run = make_run(path, n=len(ERRORS), heldout_images=100 * heldout)
    recipe, seed = run.plan().recipe, run.plan().seed
    for network, (heldout_error, final) in zip(run.population(), ERRORS, strict=True):
        result = TrialResult(final, final - 1, 2, 3.0, "cpu", heldout_error=heldout_error if heldout else None)
        folder = run.trial(network.id)
        folder.write_trial(Trial(network, recipe, seed))
        folder.write_result(result)
    return run


@pytest.fixture(params=[True, False], ids=["held out", "not held out"])
def heldout(request):
    return request.param


@pytest.fixture
def run(tmp_path, heldout):
    return make_finished_run(tmp_path / "run", heldout=heldout)


@pytest.fixture
def order(run, heldout):
    """The ids of the networks of the run, best first."""
    ids = run.population().ids
    return [ids[i] for i in sorted(range(len(ERRORS)), key=lambda i: ERRORS[i][not heldout])]


def test_all_rankings_use_the_same_error(run, order, heldout):
    assert [state.id for state in best_first(run.states(run.ids()))] == order
    assert [find_network(run, rank)[3] for rank in (None, 1, 2, 3, 4)] == [order[0], *order]
    assert Results.read(run).best(4)["id"].tolist() == order
    assert [row[0] for row in best_table(Results.read(run)).rows] == order
    least = 10.0 if heldout else 50.0
    current = run_status(run)
    assert (current.best_id, current.best_error) == (order[0], least)
    progress = Progress(4)
    progress.update([run])
    assert progress.best == least


def test_networks_with_equal_errors_are_sorted_by_id():
    result = TrialResult(50.0, 50.0, 1, 1.0, "cpu", heldout_error=40.0)
    states = [
        TrialState(id_, "done", dataclasses.replace(result, final_error=final)) for id_, final in (("b", 1), ("a", 2))
    ]
    assert [state.id for state in best_first(states)] == ["a", "b"]


def test_both_errors_can_be_analysed(run, heldout):
    results = Results.read(run)
    assert sorted(results.errors()) == [50, 52, 54, 56]
    assert results.has_heldout == heldout
    assert ("heldout_error" in {quantity.name for quantity in available(results)}) == heldout
    header = best_table(results).header
    assert ("held-out error, %" in header) == heldout
    text = "\n".join(notes([results]))
    assert ("run: networks are ranked by their error on held-out images" in text) == heldout
    if heldout:
        assert sorted(results.errors(column="heldout_error")) == [10, 20, 30, 40]


def test_commands_report_the_error_that_ranks(run, order, heldout, capsys):
    app.main("status", status.run, [f"run={run.path}"])
    output = capsys.readouterr().out
    best = f"{'10.00%' if heldout else '50.00%'}  {order[0]}"
    assert best in output
    assert ("held-out images" in output) == heldout
    app.main("analyze", analyze.run, [f"runs=[{run.path}]"])
    output = capsys.readouterr().out
    assert ("ranked by their error on held-out images (heldout_error in results.csv)" in output) == heldout
    with run.results.open() as file:
        rows = {row["id"]: row["heldout_error"] for row in csv.DictReader(file)}
    ids = run.population().ids
    assert rows == {id_: str(error) if heldout else "" for id_, (error, _) in zip(ids, ERRORS, strict=True)}
    report = (run.path / "report.html").read_text()
    assert ("top-1 error on held-out images, %" in report) == heldout


def test_the_model_card_names_the_error_that_ranks(run, order, heldout):
    network = run.population()[run.ids().index(order[0])]
    info = ModelInfo(
        "best",
        Preset(28, 28, mean=(0.3,), std=(0.4,)),
        "",
        "",
        result=MeasuredError(56.0, 55.0, "200 test images", 10.0 if heldout else None),
        selection=Selection("run", "AnyNetXA", rank=1, done=4, failed=0, unfinished=0, trials=4),
    )
    card = model_card(network, info)
    assert ("| error on held-out images | 10.00% |" in card) == heldout
    assert ("The test images played no part in choosing among the 4 networks" in card) == heldout
    assert ("so for the best ones it is too low on average" in card) == (not heldout)
