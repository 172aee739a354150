"""Copying and finding trials that are done in a run of another population."""

import dataclasses
import shutil

import pytest
from merge_runs import OVERLAPPING, errors, finish, make
from sweep_runs import CPU, RECIPE, SPACE, curves, launch, numbers, starts

from designspace.models.cpu import kernels
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder
from designspace.trials.merge import MergeResult, merge
from designspace.trials.plan import Plan
from designspace.trials.siblings import shared_results, shared_results_note
from designspace.trials.trial import TrialFailure


def shared_ids(first, second):
    return [id_ for id_ in first.ids() if id_ in second.ids()]


def test_done_trials_of_shared_networks_are_copied_and_populations_stay(tmp_path):
    run, other = make(tmp_path / "a", n=6), make(tmp_path / "b", n=8, space=OVERLAPPING)
    for index in range(len(other.ids())):
        finish(other, index, 20.0 + index)
    failed = shared_ids(run, other)[0]
    shutil.rmtree(other.trial(failed).path)
    other.trial(failed).path.mkdir()
    other.trial(failed).write_failure(TrialFailure("error", "no"))
    before = run.population()
    shared = len(shared_ids(run, other))
    assert 2 < shared < 6
    assert merge(run, [other], {}) == [MergeResult(shared - 1, 0, 0, shared)]
    assert (run.population(), len(other.population())) == (before, 8)
    assert errors(run).count("waiting") == 6 - (shared - 1)
    results = {state.id: state.result for state in other.states(other.ids())}
    assert all(state.result == results[state.id] for state in run.states(run.ids()) if state.result)
    assert merge(run, [other], {}) == [MergeResult(0, shared - 1, 0, shared)]


def test_copies_extend_the_target_before_other_populations_are_merged(tmp_path):
    run, other, longer = make(tmp_path / "a", n=2), make(tmp_path / "b", space=OVERLAPPING), make(tmp_path / "c", n=6)
    shared = len(shared_ids(longer, other))
    assert shared > len(shared_ids(run, other))
    assert merge(run, [other, longer], {}) == [MergeResult(shared=shared), MergeResult(shared=6)]
    assert run.population() == longer.population()


def test_a_run_without_a_recipe_takes_that_of_the_other_run(tmp_path):
    run, other = RunFolder(tmp_path / "a"), make(tmp_path / "b", space=OVERLAPPING)
    run.create(SPACE.sample(4), {})
    finish(other, 0, 30.0)
    other.settle_kernels("compiled")
    assert merge(run, [other], {})[0].copied == 1
    assert (run.plan(), run.kernels()) == (Plan(RECIPE, 0), "compiled")


def test_another_recipe_another_seed_or_other_kernels_are_refused(tmp_path):
    run, other = make(tmp_path / "a"), make(tmp_path / "b", space=OVERLAPPING)
    finish(other, 0, 30.0)
    run.settle_kernels("torch")
    other.settle_kernels("compiled")
    with pytest.raises(InputError, match=r"b was trained with compiled kernels and .*a with torch's kernels"):
        merge(run, [other], {})
    (run.path / "kernels.json").unlink()
    third = make(tmp_path / "c")
    third.settle_kernels("torch")
    with pytest.raises(InputError, match="They round differently"):
        merge(run, [third, other], {})
    different = RunFolder(tmp_path / "d")
    different.create(OVERLAPPING.sample(4), {})
    different.write_plan(RECIPE, 1)
    with pytest.raises(InputError, match="another seed"):
        merge(run, [different], {})
    (different.path / "recipe.yaml").unlink()
    different.write_plan(dataclasses.replace(RECIPE, lr=0.3), 0)
    with pytest.raises(InputError, match=r"another recipe \(recipe\.lr"):
        merge(run, [different], {})
    assert errors(run) == ["waiting"] * 4
    assert run.kernels() is None


def test_copied_trials_equal_trained_ones(tmp_path, data_root):
    other, trained, copied = (
        make(tmp_path / name, n=3, space=space)
        for name, space in (("other", SPACE), ("trained", OVERLAPPING), ("copied", OVERLAPPING))
    )
    launch(other, data_root, CPU[:1])
    launch(trained, data_root, CPU[:1])
    shared = len(shared_ids(copied, other))
    assert 0 < shared <= 3
    assert merge(copied, [other], {}) == [MergeResult(shared, 0, 0, shared)]
    launch(copied, data_root, CPU[:1])
    assert numbers(copied) == numbers(trained)
    assert curves(copied) == curves(trained)
    assert copied.kernels() == kernels.name()
    assert set(starts(copied).values()) == {1}


def test_results_of_sibling_runs_are_found_with_the_command_to_copy_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, other = make(tmp_path / "a", n=6), make(tmp_path / "b", n=8, space=OVERLAPPING)
    assert shared_results_note(run, run.ids(), Plan(RECIPE, 0)) == ""
    for index in range(8):
        finish(other, index, 30.0)
    finish(run, run.ids().index(shared_ids(run, other)[0]), 30.0)
    waiting = [state.id for state in run.states(run.ids()) if state.status == "waiting"]
    (found,) = shared_results(RunFolder(tmp_path / "a"), waiting, Plan(RECIPE, 0))
    assert found.keys == set(shared_ids(run, other)[1:])
    assert found.extends_to is None
    relative = RunFolder((tmp_path / "a").relative_to(tmp_path))
    note = shared_results_note(relative, waiting, Plan(RECIPE, 0))
    assert note == (
        f"note: b has results of {len(found.keys)} of these trials; to copy them instead of training again: "
        "python -m designspace.collect run=a others=b"
    )
    assert shared_results(run, waiting, Plan(RECIPE, 1)) == []
    assert shared_results(run, waiting, Plan(dataclasses.replace(RECIPE, lr=0.3), 0)) == []
    run.settle_kernels("torch")
    other.settle_kernels("compiled")
    assert shared_results(run, waiting, Plan(RECIPE, 0)) == []  # collect would refuse them


def test_several_siblings_give_one_note_and_each_trial_counts_once(tmp_path):
    run, same, longer = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", n=6)
    finish(same, 0, 30.0)
    finish(longer, 0, 30.0)
    finish(longer, 1, 30.0)
    assert [len(found.keys) for found in shared_results(run, run.ids(), Plan(RECIPE, 0))] == [1, 1]
    note = shared_results_note(run, run.ids(), Plan(RECIPE, 0))
    assert "b, " in note
    assert "have results of 2 of these trials" in note
    assert "(this extends the population to 6 networks)" in note


@pytest.mark.parametrize("name", ["recipe.yaml", "population.csv", "kernels.json", "trials"])
def test_a_damaged_sibling_is_ignored(tmp_path, name):
    run, other, whole = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c")
    for each in (other, whole):
        finish(each, 0, 30.0)
        finish(each, 1, 30.0)
    if name == "trials":
        (other.trial(other.ids()[0]).path / "result.json").write_text('{"final_error": ')
    else:
        (other.path / name).write_bytes(b"\xff{[")
    found = {each.sibling.name: len(each.keys) for each in shared_results(run, run.ids(), Plan(RECIPE, 0))}
    assert found == ({"b": 1, "c": 1} if name == "trials" else {"c": 2})
