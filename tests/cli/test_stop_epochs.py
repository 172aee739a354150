"""Trials that are stopped early, through the commands, with real trainings."""

import json

import pytest
from data_sets import run_command

from designspace import analyze, explore, launch, replay, sample, status
from designspace.analysis import Results
from designspace.trials.folder import RunFolder

SPACE = ("data=pets", "space.flops=[2e5,6e5]")
QUICK = ("recipe=quick", "recipe.epochs=3", "launcher.workers=1", "recipe.batch_size=32")
STOP = ("stop.epochs=1", "stop.keep=0.2", "stop.sample=0.1")


def test_most_trials_stop_and_can_be_trained_to_the_end_later(capsys, here):
    for name in ("early", "whole"):
        assert run_command(capsys, "sample", sample.run, "space=RegNetX", "n=14", f"run={name}", *SPACE)[0] == 0
    code, output, errors = run_command(capsys, "launch", launch.run, "run=early", *QUICK, *STOP)
    assert (code, "Traceback" in errors) == (0, False)
    run = RunFolder(here / "early")
    states = {state.key: state for state in run.states(run.trial_keys())}
    stopped = [key for key, state in states.items() if state.status == "stopped"]
    assert f"{14 - len(stopped)} of 14 networks continue after epoch 1, 8 of them drawn at random" in output
    assert 3 <= len(stopped) <= 6
    assert {len(run.trial(key).read_history()) for key in stopped} == {1}
    assert all(state.result.epochs == 3 for state in states.values() if state.status == "done")
    decision = json.loads((here / "early" / "decisions.jsonl").read_text())
    assert (decision["decision"], decision["facts"]["epochs"]) == ("stop", 1)
    # The same command changes nothing.
    before = (here / "early" / "fidelity.json").read_bytes()
    code, _, _ = run_command(capsys, "launch", launch.run, "run=early", *STOP)
    assert (code, (here / "early" / "fidelity.json").read_bytes()) == (0, before)
    code, _, errors = run_command(capsys, "launch", launch.run, "run=early", "stop.epochs=2")
    assert (code, "was trained with stop.epochs=1 stop.keep=0.2 stop.sample=0.1" in errors) == (2, True)
    _, table, _ = run_command(capsys, "status", status.run, "run=early", "trials=stopped")
    assert "stopped" in table
    assert stopped[0] in table
    results = Results.read(run)
    assert results.counts.stopped == len(stopped)
    assert results.counted().sum() == 8
    # Without the rule, the others continue from their checkpoints, to the same numbers as without any stop.
    assert run_command(capsys, "launch", launch.run, "run=early")[0] == 0
    assert run_command(capsys, "launch", launch.run, "run=whole", *QUICK)[0] == 0
    whole = RunFolder(here / "whole")
    finals = [[state.result.final_error for state in each.states(each.trial_keys())] for each in (run, whole)]
    assert finals[0] == finals[1]
    assert Results.read(run).counted().all()


def test_explore_stops_trials_and_the_report_says_so(capsys, here):
    arguments = ("name=s", "run=s", "spaces=[RegNetX,RegNetY]", "n=20", *SPACE, *QUICK, *STOP)
    code, output, errors = run_command(capsys, "explore", explore.run, *arguments)
    assert (code, "Traceback" in errors) == (0, False)
    assert output.count("networks continue after epoch 1") == 2
    report = (here / "s" / "report.html").read_text()
    assert "were stopped early" in report
    assert "stopped trials" in report
    header = (here / "s" / "figures" / "edf.csv").read_text().splitlines()[0]
    assert header == "space,error,probability,lower,upper,least,largest"
    code, output, _ = run_command(capsys, "analyze", analyze.run, "runs=s")
    assert code == 0
    assert "stopped early" in output
    code, _, errors = run_command(capsys, "replay", replay.run, "runs=s", "stop.epochs=1")
    assert code == 2
    assert "is not finished" in errors


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("stop.epochs=3",), "stop.epochs=3 must be less than recipe.epochs=3"),
        (("stop.epochs=1", "stop.looks=2"), "choose one of them"),
        (("stop.epochs=1", "seeds=2"), "stop.epochs needs seeds=1"),
        (("stop.epochs=1", "refine.rounds=1", "n=40"), "leave out stop.epochs"),
        (("stop.epochs=1", "stop.keep=2"), "stop.keep"),
        (("stop.epochs=0",), "stop.epochs"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(capsys, here, more, message):
    arguments = ("name=s", "run=s", "spaces=[RegNetX,RegNetY]", "n=20", *SPACE, *QUICK)
    given = {word.partition("=")[0] for word in more}
    kept = [word for word in arguments if word.partition("=")[0] not in given]
    code, _, errors = run_command(capsys, "explore", explore.run, *kept, *more)
    assert code == 2
    assert message in errors
    assert not (here / "s").exists()
