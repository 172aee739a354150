"""Runs whose recipes are drawn: the same trials as with one recipe each, however they are trained."""

import json
import shutil

import pytest
from sweep_runs import CPU, RECIPE, SPACE, launch, numbers, plan_faults

import designspace
from designspace.analysis.results import Results
from designspace.sweeps.launch import run_local
from designspace.sweeps.status import run_status
from designspace.trials.folder import RunFolder
from designspace.trials.plan import further_seeds
from designspace.trials.recipe_axes import RecipeAxes
from designspace.trials.retraining import with_fresh_seeds

DRAWN = {
    "lr": {"kind": "log_uniform", "low": 0.02, "high": 0.5},
    "optimiser": {"kind": "choice", "values": ["sgd", "adamw"]},
    "batch_size": {"kind": "choice", "values": [32, 64]},
}


def make(path, n=2, **changes):
    """Create a run folder whose plan has axes."""
    run, fields = RunFolder(path), {**RECIPE.to_dict(), **DRAWN, **changes}
    run.create(SPACE.sample(n), {})
    axes = RecipeAxes.from_fields(fields)
    run.write_plan(axes.recipe(fields), 0, axes=axes)
    return run


def add_seeds(run, repeats):
    """Add repeats to the plan of a run."""
    plan = run.plan()
    run.write_plan(plan.recipe, plan.seed, repeats, plan.axes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_root):
    """Train two networks, then all with a second seed, then the best one with a fresh seed, on two workers."""
    run = make(tmp_path_factory.mktemp("drawn") / "run")
    launch(run, data_root)
    add_seeds(run, further_seeds(0, 2))
    launch(run, data_root)
    add_seeds(run, with_fresh_seeds(run.plan(), run.states(run.trial_keys()), 1, 1, 10).repeats)
    launch(run, data_root)
    assert run_status(run).counts == {"done": 5, "failed": 0, "running": 0, "waiting": 0}
    return run


def test_each_trial_gives_the_same_numbers_as_alone_with_its_recipe(trained, tmp_path, data_root):
    rows = {row[0]: row for row in numbers(trained)}
    plan = trained.plan()
    assert len({plan.recipe_of(id_) for id_ in trained.ids()}) == 2
    for key in (trained.ids()[0], f"{trained.ids()[1]}-s1"):
        alone = RunFolder(tmp_path / key)
        alone.create(trained.population(), {})
        alone.write_plan(plan.recipe_of(key), plan.seed_of(key))
        shutil.copytree(trained.trial(key).path, alone.trial(key[:12]).path)
        assert alone.states([key[:12]])[0].result == trained.states([key])[0].result  # its fingerprint is the same
        shutil.rmtree(alone.trial(key[:12]).path)
        run_local([alone], 2, CPU[:1], data_root, lambda progress: lambda: None, only={key[:12]})
        (row,) = [row for row in numbers(alone) if row[0] == key[:12]]
        assert row == rows[key][2 : -len(DRAWN)]


def test_repeats_have_the_recipe_of_their_network(trained):
    for key in trained.trial_keys():
        trial = json.loads((trained.trial(key).path / "trial.json").read_text())
        assert trial["recipe"] == trained.plan().recipe_of(key[:12]).to_dict()


def test_failed_attempts_do_not_change_the_results(trained, tmp_path, data_root, monkeypatch):
    run = make(tmp_path / "run", trainer="faulty:train")
    first = run.ids()[0]
    plan_faults(tmp_path / "faults", {first: {"kind": "kill", "epoch": 1, "times": 1}}, monkeypatch)
    launch(run, data_root)
    assert len(run.trial(first).attempts()) == 1
    of_first_seed = [row[2:] for row in numbers(trained) if row[0] in run.ids()]
    assert numbers(run) == of_first_seed


def test_results_have_the_drawn_settings(trained, tmp_path):
    results = Results.read(trained)
    plan = trained.plan()
    for row in results.table.to_dict("records"):
        recipe = plan.recipe_of(row["trial"])
        assert (row["lr"], row["optimiser"], row["batch_size"]) == (recipe.lr, recipe.optimiser, recipe.batch_size)
    assert results.drawn == plan.axes.by_field
    shutil.copytree(trained.path, tmp_path / "run", ignore=shutil.ignore_patterns("trials", "launches", "code"))
    trained.write_results()
    shutil.copy(trained.results, tmp_path / "run")
    assert Results.read(tmp_path / "run").table.equals(results.table)
    assert set(results.split("optimiser")) == set(results.table["optimiser"])


def test_a_loaded_network_knows_its_recipe(trained):
    plan = trained.plan()
    for id_ in trained.ids():
        assert designspace.load(trained.path, id=id_).weights.recipe == plan.recipe_of(id_).to_dict()
    best = Results.read(trained).best(1)
    assert best.load().weights.recipe["lr"] == best["lr"].iloc[0]
