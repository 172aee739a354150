"""Several seeds as a person asks for them: `launch seeds=...`, `explore seeds=...` and `retrain`."""

import re
import shutil

import pytest
from data_sets import pack_noise, typed

from designspace import analyze, explore, export, launch, load, retrain, retry, sample, status
from designspace.cli import app
from designspace.trials.folder import RunFolder
from designspace.trials.trial import TrialFailure

QUICK = ["recipe=quick", "recipe.epochs=1", "launcher.workers=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    pack_noise(root, "pets")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory, root):
    """A run of four networks that was trained with one seed."""
    here = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("DESIGNSPACE_DATA", str(root))
        app.main("sample", sample.run, ["data=pets", "space=RegNetX", "n=4", "run=r"])
        app.main("launch", launch.run, ["run=r", *QUICK])
    return here


@pytest.fixture
def here(tmp_path, trained, root, monkeypatch):
    """A copy of it."""
    shutil.copytree(trained / "r", tmp_path / "r")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(root))
    return tmp_path


def launched(capsys, *words):
    return typed(capsys, "launch", launch.run, "run=r", "launcher.workers=1", *words)


def retrained(capsys, *words):
    return typed(capsys, "retrain", retrain.run, "run=r", "launcher.workers=1", *words)


def seeds(run):
    plan = run.plan()
    return [plan.seed_of(key) for key in run.trial_keys()]


def test_launch_with_more_seeds_trains_only_the_missing_trials(capsys, here):
    run = RunFolder(here / "r")
    told = launched(capsys, "seeds=2", "dry_run=true")[1]
    assert "4 trials on 1 worker (cpu); 4 ended before" in told
    assert re.search(r"seeds +0, 1; 8 trials in all", told)
    assert not (run.path / "repeats.yaml").exists()
    code, _, errors = launched(capsys, "seeds=2")
    assert code == 0, errors
    assert seeds(run) == 4 * [0] + 4 * [1]
    assert {state.status for state in run.states(run.trial_keys())} == {"done"}
    assert "trials 8/8" in errors
    assert run.results.read_text().count(",done,") == 8
    table = run.results.read_text()
    code, told, _ = launched(capsys)  # all that the run was asked for: nothing is left
    assert (code, run.results.read_text()) == (0, table)
    told = launched(capsys, "seeds=1", "dry_run=true")[1]
    assert "note: r was asked for 2 seeds before, and keeps them" in told
    assert "8 ended before. Nothing is left to train" in told
    for words in ("seeds=0", "seeds=1.5", "seeds=null", "seeds=[1]"):
        code, _, errors = launched(capsys, words)
        assert (code, "seeds must be a whole number" in errors) == (2, True), errors
    assert launched(capsys, "seeds=2", "seed=1")[0] == 2


def test_retrain_ranks_the_best_networks_anew(capsys, here):
    run = RunFolder(here / "r")
    first = typed(capsys, "status", status.run, "run=r")[1]
    told = retrained(capsys, "top=2", "seeds=2", "dry_run=true")[1]
    assert "r: 2 networks with the fresh seeds 1, 2, 4 trials in all" in told
    assert "4 trials on 1 worker (cpu); 0 ended before" in told
    assert not (run.path / "repeats.yaml").exists()
    code, told, errors = retrained(capsys, "top=2", "seeds=2")
    assert code == 0, errors
    assert "trials 4/4" in errors
    assert seeds(run) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert "Networks trained again with fresh seeds; error, top-1, %\n" in told
    assert all(len(line) <= 80 for line in told.split("top-1, %\n")[1].splitlines()[:3])
    header, *rows = told.split("top-1, %\n")[1].splitlines()[:3]
    assert header.split("  ")[0].strip() == "rank"
    assert sorted(row.split()[2] for row in rows) == ["1", "2"]  # their ranks before
    assert "is flattered by the luck of its seed" in told
    assert "t with 2 degrees of freedom" in told
    best = rows[0].split()[1]
    assert load(run.path).network.id == best
    assert best in typed(capsys, "status", status.run, "run=r")[1]
    assert "mean over 2 fresh seeds" not in first
    assert "mean over 2 fresh seeds" in typed(capsys, "status", status.run, "run=r")[1]
    again = retrained(capsys, "top=2", "seeds=2")
    assert again[1].split("\n\n", 1)[1] == told.split("\n\n", 1)[1]  # the same table
    assert "trials" not in again[2]
    code, told, errors = retrained(capsys, "top=3", "seeds=3")
    assert code == 0, errors
    assert "trials 9/9" in errors
    assert sorted(map(len, run.plan().repeats.fresh.values())) == [3, 3, 3]
    assert len(told.split("top-1, %\n")[1].splitlines()[1:4]) == 3
    code, told, errors = launched(capsys, "seeds=2")  # afterwards all networks get the next seed
    assert code == 0, errors
    assert seeds(run) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert load(run.path).weights.about["seeds"]["kind"] == "mean over 3 fresh seeds"
    assert load(run.path, rank=4).weights.about["seeds"]["kind"] == "mean over 2 seeds"
    code, told, errors = typed(capsys, "analyze", analyze.run, "runs=r")
    assert code == 0, errors
    assert "4 networks were trained more than once; each counts with the mean of its first 2 errors" in told


def test_retrain_resumes_what_was_interrupted(capsys, here, monkeypatch):
    run = RunFolder(here / "r")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("designspace.sweeps.local.Pool.run", interrupted)
        assert retrained(capsys, "top=2", "seeds=2")[0] == 130
    plan = run.plan()
    assert len(plan.fresh_keys()) == 4
    told = retrained(capsys, "top=2", "seeds=2", "dry_run=true")[1]
    assert "4 trials on 1 worker" in told
    assert "so far" not in told
    code, told, errors = retrained(capsys, "top=2", "seeds=2")
    assert code == 0, errors
    assert run.plan() == plan
    assert "so far" not in told


def test_what_cannot_be_retrained_is_refused(capsys, here):
    for words, message in (
        (["top=0"], "top must be a whole number from 1"),
        (["top=1.5"], "top must be a whole number from 1"),
        (["seeds=0"], "seeds must be a whole number from 1"),
        (["seed=1"], "unknown option 'seed'"),
        (["recipe.epochs=2"], "unknown option 'recipe.epochs'"),
    ):
        code, _, errors = retrained(capsys, *words)
        assert (code, len(errors.splitlines())) == (2, 1), errors
        assert message in errors
    assert typed(capsys, "retrain", retrain.run, "run=nowhere")[0] == 1
    run = RunFolder(here / "r")
    for id_ in run.ids():
        (run.trial(id_).path / "result.json").unlink()
    code, _, errors = retrained(capsys)
    assert (code, "no trial of r is done, so there is no best network" in errors) == (2, True)
    (run.path / "recipe.yaml").unlink()
    code, _, errors = retrained(capsys)
    assert (code, "no network of r has been trained yet; first: python -m designspace.launch run=r" in errors) == (
        2,
        True,
    )


def test_retrain_warns_of_a_run_that_is_not_finished(capsys, here):
    run = RunFolder(here / "r")
    (run.trial(run.ids()[0]).path / "result.json").unlink()
    told = retrained(capsys, "top=9", "seeds=1", "dry_run=true")[1]
    assert "warning: 1 trial of r has not finished, and the best networks may be among them" in told
    assert "note: only 3 networks of the run have a result" in told
    assert "r: 3 networks with the fresh seeds 1, 3 trials in all" in told


def test_one_trial_is_listed_and_retried_by_its_key(capsys, here):
    run = RunFolder(here / "r")
    id_ = run.ids()[0]
    assert launched(capsys, "seeds=2")[0] == 0
    key = f"{id_}-s1"
    (run.trial(key).path / "result.json").unlink()
    run.trial(key).write_failure(TrialFailure("error", "on purpose"))
    told = typed(capsys, "status", status.run, "run=r", f"trial={key}")[1]
    assert f"trials: {key}" in told
    assert "on purpose" in told
    told = typed(capsys, "status", status.run, "run=r", f"trial={id_}")[1].split("trials: ")[1]
    assert len(re.findall(rf"^r +{id_}", told, re.M)) == 2
    code, _, errors = typed(capsys, "status", status.run, "run=r", f"trial={id_}-s2")
    assert (code, f"there is no trial '{id_}-s2'" in errors) == (2, True)
    assert "1 trial waits again" in typed(capsys, "retry", retry.run, "run=r", f"trial={key}")[1]


def test_export_says_which_figure_is_which(capsys, here):
    assert retrained(capsys, "top=1", "seeds=2")[0] == 0
    code, told, errors = typed(capsys, "export", export.run, "run=r", "to=best")
    assert code == 0, errors
    assert "mean over 2 fresh seeds" in told
    card = (here / "best" / "README.md").read_text()
    assert re.search(r"\| mean over 2 fresh seeds \| \*\*\d+\.\d\d%\*\* \(standard deviation \d+\.\d\d\) \|", card)
    assert (
        "This model was trained with seed 1. The mean above, over 2 fresh seeds, is the error to quote for the network"
        in card
    )
    assert "too low on average: part of its rank is the luck of its seed." in card
    assert typed(capsys, "export", export.run, "run=r", f"id={RunFolder(here / 'r').ids()[1]}-s0", "to=other")[0] == 0


def test_explore_with_several_seeds(capsys, here):
    words = ["name=study", "spaces=[RegNetX]", "n=2", "data=pets", "space.flops=null", "space.num_classes=3"]
    words += ["space.in_channels=3", "space.resolution=16", "recipe.epochs=1", "launcher.workers=1", "run=s"]
    code, _, errors = typed(capsys, "explore", explore.run, *words, "seeds=2")
    assert code == 0, errors
    run = RunFolder(here / "s" / "RegNetX")
    assert seeds(run) == [0, 0, 1, 1]
    assert {state.status for state in run.states(run.trial_keys())} == {"done"}
    assert typed(capsys, "explore", explore.run, *words)[0] == 0  # what is not typed stays
    assert seeds(run) == [0, 0, 1, 1]
