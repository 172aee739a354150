"""Several seeds on the command line: `launch seeds=...`, `explore seeds=...` and `retrain`."""

import re
import shutil

import pytest
from data_sets import run_command

from designspace import analyze, explore, export, launch, load, retrain, retry, sample, status
from designspace.cli import app
from designspace.trials.folder import RunFolder
from designspace.trials.trial import TrialFailure

QUICK = ["recipe=quick", "recipe.epochs=1", "launcher.workers=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pets):
    """A run of four networks that were trained with one seed."""
    here = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("DESIGNSPACE_DATA", str(pets))
        app.main("sample", sample.run, ["data=pets", "space=RegNetX", "n=4", "run=r"])
        app.main("launch", launch.run, ["run=r", *QUICK])
    return here


@pytest.fixture
def here(tmp_path, trained, pets, monkeypatch):
    """A working directory with a copy of this run."""
    shutil.copytree(trained / "r", tmp_path / "r")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(pets))
    return tmp_path


def run_launch(capsys, *arguments):
    return run_command(capsys, "launch", launch.run, "run=r", "launcher.workers=1", *arguments)


def run_retrain(capsys, *arguments):
    return run_command(capsys, "retrain", retrain.run, "run=r", "launcher.workers=1", *arguments)


def seeds(run):
    plan = run.plan()
    return [plan.seed_of(key) for key in run.trial_keys()]


def test_launch_with_more_seeds_trains_only_the_missing_trials(capsys, here):
    run = RunFolder(here / "r")
    output = run_launch(capsys, "seeds=2", "dry_run=true")[1]
    assert "4 trials on 1 worker (cpu); 4 already finished" in output
    assert re.search(r"seeds +0, 1; 8 trials in all", output)
    assert not (run.path / "repeats.yaml").exists()
    code, _, errors = run_launch(capsys, "seeds=2")
    assert code == 0, errors
    assert seeds(run) == 4 * [0] + 4 * [1]
    assert {state.status for state in run.states(run.trial_keys())} == {"done"}
    assert "trials 8/8" in errors
    assert run.results.read_text().count(",done,") == 8
    table = run.results.read_text()
    code, output, _ = run_launch(capsys)  # all trials of the run are finished
    assert (code, run.results.read_text()) == (0, table)
    output = run_launch(capsys, "seeds=1", "dry_run=true")[1]
    assert "note: r already has 2 seeds per network and keeps them" in output
    assert "8 already finished; nothing is left to train" in output
    for argument in ("seeds=0", "seeds=1.5", "seeds=null", "seeds=[1]"):
        code, _, errors = run_launch(capsys, argument)
        assert (code, "seeds must be a whole number" in errors) == (2, True), errors
    assert run_launch(capsys, "seeds=2", "seed=1")[0] == 2


def test_retrain_ranks_the_best_networks_again(capsys, here):
    run = RunFolder(here / "r")
    first = run_command(capsys, "status", status.run, "run=r")[1]
    output = run_retrain(capsys, "top=2", "seeds=2", "dry_run=true")[1]
    assert "r: 2 networks with the fresh seeds 1, 2, 4 trials in all" in output
    assert "4 trials on 1 worker (cpu); 0 already finished" in output
    assert not (run.path / "repeats.yaml").exists()
    code, output, errors = run_retrain(capsys, "top=2", "seeds=2")
    assert code == 0, errors
    assert "trials 4/4" in errors
    assert seeds(run) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert "Networks trained again with fresh seeds; error, top-1, %\n" in output
    assert all(len(line) <= 80 for line in output.split("top-1, %\n")[1].splitlines()[:3])
    header, *rows = output.split("top-1, %\n")[1].splitlines()[:3]
    assert header.split("  ")[0].strip() == "rank"
    assert sorted(row.split()[2] for row in rows) == ["1", "2"]  # their previous ranks
    assert "is flattered by the luck of its seed" in output
    assert "t with 2 degrees of freedom" in output
    best = rows[0].split()[1]
    assert load(run.path).network.id == best
    assert best in run_command(capsys, "status", status.run, "run=r")[1]
    assert "mean over 2 fresh seeds" not in first
    assert "mean over 2 fresh seeds" in run_command(capsys, "status", status.run, "run=r")[1]
    again = run_retrain(capsys, "top=2", "seeds=2")
    assert again[1].split("\n\n", 1)[1] == output.split("\n\n", 1)[1]  # the same table
    assert "trials" not in again[2]
    code, output, errors = run_retrain(capsys, "top=3", "seeds=3")
    assert code == 0, errors
    assert "trials 9/9" in errors
    assert sorted(map(len, run.plan().repeats.fresh.values())) == [3, 3, 3]
    assert len(output.split("top-1, %\n")[1].splitlines()[1:4]) == 3
    code, output, errors = run_launch(capsys, "seeds=2")  # now all networks get the next seed
    assert code == 0, errors
    assert seeds(run) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert load(run.path).weights.about["seeds"]["kind"] == "mean over 3 fresh seeds"
    assert load(run.path, rank=4).weights.about["seeds"]["kind"] == "mean over 2 seeds"
    code, output, errors = run_command(capsys, "analyze", analyze.run, "runs=r")
    assert code == 0, errors
    assert "4 networks were trained more than once; each counts with the mean of its first 2 errors" in output


def test_retrain_resumes_after_an_interruption(capsys, here, monkeypatch):
    run = RunFolder(here / "r")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("designspace.sweeps.local.Pool.run", interrupted)
        assert run_retrain(capsys, "top=2", "seeds=2")[0] == 130
    plan = run.plan()
    assert len(plan.fresh_keys()) == 4
    output = run_retrain(capsys, "top=2", "seeds=2", "dry_run=true")[1]
    assert "4 trials on 1 worker" in output
    assert "so far" not in output
    code, output, errors = run_retrain(capsys, "top=2", "seeds=2")
    assert code == 0, errors
    assert run.plan() == plan
    assert "so far" not in output


def test_invalid_input_to_retrain_is_rejected(capsys, here):
    for arguments, message in (
        (["top=0"], "top must be a whole number from 1"),
        (["top=1.5"], "top must be a whole number from 1"),
        (["seeds=0"], "seeds must be a whole number from 1"),
        (["seed=1"], "unknown option 'seed'"),
        (["recipe.epochs=2"], "unknown option 'recipe.epochs'"),
    ):
        code, _, errors = run_retrain(capsys, *arguments)
        assert (code, len(errors.splitlines())) == (2, 1), errors
        assert message in errors
    assert run_command(capsys, "retrain", retrain.run, "run=nowhere")[0] == 1
    run = RunFolder(here / "r")
    for id_ in run.ids():
        (run.trial(id_).path / "result.json").unlink()
    code, _, errors = run_retrain(capsys)
    assert (code, "no trial of r is done, so there is no best network" in errors) == (2, True)
    (run.path / "recipe.yaml").unlink()
    code, _, errors = run_retrain(capsys)
    assert (code, "no network of r has been trained yet; first run: python -m designspace.launch run=r" in errors) == (
        2,
        True,
    )


def test_retrain_warns_about_an_unfinished_run(capsys, here):
    run = RunFolder(here / "r")
    (run.trial(run.ids()[0]).path / "result.json").unlink()
    output = run_retrain(capsys, "top=9", "seeds=1", "dry_run=true")[1]
    assert "warning: 1 trial of r has not finished and may include the best networks" in output
    assert "note: only 3 networks of the run have a result" in output
    assert "r: 3 networks with the fresh seeds 1, 3 trials in all" in output


def test_one_trial_is_listed_and_retried_by_its_key(capsys, here):
    run = RunFolder(here / "r")
    id_ = run.ids()[0]
    assert run_launch(capsys, "seeds=2")[0] == 0
    key = f"{id_}-s1"
    (run.trial(key).path / "result.json").unlink()
    run.trial(key).write_failure(TrialFailure("error", "on purpose"))
    output = run_command(capsys, "status", status.run, "run=r", f"trial={key}")[1]
    assert f"trials: {key}" in output
    assert "on purpose" in output
    output = run_command(capsys, "status", status.run, "run=r", f"trial={id_}")[1].split("trials: ")[1]
    assert len(re.findall(rf"^r +{id_}", output, re.M)) == 2
    code, _, errors = run_command(capsys, "status", status.run, "run=r", f"trial={id_}-s2")
    assert (code, f"there is no trial '{id_}-s2'" in errors) == (2, True)
    assert "1 trial is waiting again" in run_command(capsys, "retry", retry.run, "run=r", f"trial={key}")[1]


def test_export_explains_the_errors_of_retrained_networks(capsys, here):
    assert run_retrain(capsys, "top=1", "seeds=2")[0] == 0
    code, output, errors = run_command(capsys, "export", export.run, "run=r", "to=best")
    assert code == 0, errors
    assert "mean over 2 fresh seeds" in output
    card = (here / "best" / "README.md").read_text()
    assert re.search(r"\| mean over 2 fresh seeds \| \*\*\d+\.\d\d%\*\* \(standard deviation \d+\.\d\d\) \|", card)
    assert "This model was trained with seed 1. The mean above, over 2 fresh seeds, is " in card
    assert "part of its rank is the luck of its seed" in card
    assert (
        run_command(capsys, "export", export.run, "run=r", f"id={RunFolder(here / 'r').ids()[1]}-s0", "to=other")[0]
        == 0
    )


def test_explore_with_several_seeds(capsys, here):
    arguments = ["name=study", "spaces=[RegNetX]", "n=2", "data=pets", "space.flops=null", "space.num_classes=3"]
    arguments += ["space.in_channels=3", "space.resolution=16", "recipe.epochs=1", "launcher.workers=1", "run=s"]
    code, _, errors = run_command(capsys, "explore", explore.run, *arguments, "seeds=2")
    assert code == 0, errors
    run = RunFolder(here / "s" / "RegNetX")
    assert seeds(run) == [0, 0, 1, 1]
    assert {state.status for state in run.states(run.trial_keys())} == {"done"}
    assert run_command(capsys, "explore", explore.run, *arguments)[0] == 0  # the run keeps its seeds
    assert seeds(run) == [0, 0, 1, 1]
