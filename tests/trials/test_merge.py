import dataclasses
import shutil

import pytest
from merge_runs import errors, finish, make, result
from sweep_runs import RECIPE, SPACE

from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder
from designspace.trials.merge import MergeResult, merge
from designspace.trials.metric import Metric
from designspace.trials.recipe import Recipe
from designspace.trials.trial import Trial, TrialFailure
from designspace.trials.trial_folder import TrialFolder


def test_a_copied_trial_counts(tmp_path):
    run, other = make(tmp_path / "a"), make(tmp_path / "b")
    finish(other, 1, 40.0)
    shutil.copytree(other.trial(other.ids()[1]).path, run.trial(other.ids()[1]).path)
    assert errors(run) == ["waiting", 40.0, "waiting", "waiting"]


def test_a_result_of_another_recipe_is_an_error(tmp_path):
    run, other = make(tmp_path / "a"), make(tmp_path / "b")
    trial = Trial(other.population()[0], Recipe(epochs=3), 0)
    run.trial(trial.id).path.mkdir(parents=True)
    TrialFolder(run.trial(trial.id).path, trial.fingerprint).write_result(result(40.0))
    with pytest.raises(RunError, match=r"result\.json is of another recipe or seed than this run's"):
        run.states(run.ids())
    # As written by versions before results had fingerprints.
    TrialFolder(run.trial(trial.id).path).write_result(result(40.0))
    assert errors(run)[0] == 40.0


def test_several_folders_are_merged_into_one(tmp_path):
    parts = [make(tmp_path / "a"), make(tmp_path / "b", n=6), make(tmp_path / "c", n=2)]
    finish(parts[0], 0, 10.0)
    finish(parts[1], 0, 11.0)
    finish(parts[1], 5, 12.0)
    finish(parts[2], 1, 13.0)
    parts[1].trial(parts[1].ids()[2]).write_failure(TrialFailure("error", "no"))
    whole = RunFolder(tmp_path / "whole")
    results = merge(whole, parts, {"command": "test"})
    assert results == [MergeResult(1, 0, 0, 4), MergeResult(2, 1, 1, 6), MergeResult(1, 0, 0, 2)]
    assert len(whole.population()) == 6
    assert errors(whole) == [10.0, 13.0, "failed", "waiting", "waiting", 12.0]
    assert whole.trial(whole.ids()[5]).checkpoint.read_bytes() == b"weights"
    assert merge(whole, parts, {}) == [
        MergeResult(0, 1, 0, 4),
        MergeResult(0, 3, 1, 6),
        MergeResult(0, 1, 0, 2),
    ]  # nothing new
    assert whole.write_results().read_text().count(",done,") == 3


def test_a_done_trial_replaces_a_failed_one(tmp_path):
    run, other = make(tmp_path / "a"), make(tmp_path / "b")
    run.trial(run.ids()[0]).path.mkdir(parents=True)
    run.trial(run.ids()[0]).write_failure(TrialFailure("worker died", "SIGKILL"))
    finish(other, 0, 30.0)
    assert merge(run, [other], {}) == [MergeResult(1, 0, 0, 4)]
    assert errors(run)[0] == 30.0
    assert merge(other, [run], {}) == [MergeResult(0, 1, 0, 4)]


def test_other_populations_and_recipes_are_refused(tmp_path):
    run = make(tmp_path / "a")
    with pytest.raises(InputError, match="they have no network in common; compare different populations"):
        merge(run, [make(tmp_path / "b", n=3, seed=1)], {})
    with pytest.raises(InputError, match="no network in common"):
        merge(run, [make(tmp_path / "c", n=9, seed=1)], {})
    other = RunFolder(tmp_path / "d")
    other.create(SPACE.sample(4), {})
    other.write_plan(Recipe(epochs=5), 0)
    with pytest.raises(InputError, match="epochs is 2 there and 5 here"):
        merge(run, [other], {})
    space = RunFolder(tmp_path / "e")
    space.create(catalog.space("AnyNetXB", flops=(360e6, 400e6)).sample(2), {})
    with pytest.raises(InputError, match="2 networks of AnyNetXB"):
        merge(run, [space], {})


def test_a_refused_merge_writes_nothing(tmp_path):
    first, other = make(tmp_path / "a"), RunFolder(tmp_path / "d")
    other.create(SPACE.sample(4), {})
    other.write_plan(Recipe(epochs=5), 0)
    new = RunFolder(tmp_path / "new")
    with pytest.raises(InputError, match="trained with another recipe or seed than"):
        merge(new, [first, other], {})
    with pytest.raises(
        InputError, match=r"neither begins with the other\. Create .*new with designspace\.sample first"
    ):
        merge(new, [first, make(tmp_path / "b", n=3, seed=1)], {})
    assert not new.path.exists()


def test_folders_that_are_measured_by_different_metrics_are_not_merged(tmp_path):
    recipe = dataclasses.replace(RECIPE, metric="mine:recall")
    runs = []
    for name, guess in (("a", 0.1), ("b", 0.2)):
        run = RunFolder(tmp_path / name)
        run.create(SPACE.sample(2), {})
        run.write_plan(recipe, 0, metric=Metric("recall", "", "higher", guess, 0, 1))
        runs.append(run)
    with pytest.raises(InputError, match="is measured by another metric than .*measured_by in recipe.yaml differs"):
        merge(runs[0], runs[1:], {})
    new = RunFolder(tmp_path / "new")
    merge(new, runs[:1], {})
    assert new.plan() == runs[0].plan()
    assert new.metric().guess == 0.1
