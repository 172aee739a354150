"""Networks that are trained with several seeds in one run folder."""

import dataclasses
import json
import shutil

import pytest
from sweep_runs import CPU, RECIPE, launch, make_run, numbers, plan_faults, starts

import designspace
from designspace.analysis.results import Results
from designspace.library.loading import find_network
from designspace.support.errors import InputError
from designspace.sweeps.batches import batches_of
from designspace.sweeps.launch import run_local
from designspace.sweeps.messages import Assignment, Task
from designspace.sweeps.progress import Progress, tasks_of
from designspace.sweeps.slurm import _plan_batches
from designspace.sweeps.slurm_settings import SlurmSettings
from designspace.sweeps.status import run_status, trial_status
from designspace.sweeps.upkeep import leftovers, retry
from designspace.trials.folder import RunFolder
from designspace.trials.merge import MergeResult, merge
from designspace.trials.plan import Repeats, further_seeds
from designspace.trials.retraining import with_fresh_seeds
from designspace.trials.trial import Trial, TrialFailure, TrialResult


def write_done(run, errors):
    """Write results with some errors: key -> error."""
    plan, population = run.plan(), run.population()
    for key, error in errors.items():
        trial = Trial(population[run.ids().index(key[:12])], plan.recipe, plan.seed_of(key))
        run.trial(key).write_trial(trial)
        run.trial(key).checkpoint.write_bytes(b"weights")
        run.trial(key).write_result(TrialResult(error, error, 2, 1.5, "cpu"))


def rows_of_seed(run, seed):
    """Return the rows of a run's trials with a seed, without key and times."""
    keys = {key for key in run.trial_keys() if run.plan().seed_of(key) == seed}
    return [row[2:] for row in numbers(run) if row[0] in keys]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_root):
    """Train a run of two networks with one seed, then with two, then the better network with a fresh seed."""
    run = make_run(tmp_path_factory.mktemp("repeats") / "run", n=2)
    launch(run, data_root, CPU[:1])
    before = {path: path.read_bytes() for path in run.path.glob("trials/*/*")}
    run.write_plan(RECIPE, 0, further_seeds(0, 2))
    assert len(tasks_of([run])[0]) == 2
    launch(run, data_root, CPU[:1])
    states = run.states(run.trial_keys())
    run.write_plan(RECIPE, 0, with_fresh_seeds(run.plan(), states, 1, 1, 10).repeats)
    launch(run, data_root)
    assert {path: path.read_bytes() for path in before} == before
    return run


def test_a_repeat_gives_the_same_numbers_as_a_run_with_its_seed(trained, tmp_path, data_root):
    for seed, count in ((0, 2), (1, 2), (2, 1)):
        alone = RunFolder(tmp_path / f"seed{seed}")
        alone.create(trained.population(), {})
        alone.write_plan(RECIPE, seed)
        launch(alone, data_root, CPU[:1])
        rows = rows_of_seed(trained, seed)
        assert len(rows) == count
        assert [row for row in numbers(alone) if row[0] in [row[0] for row in rows]] == rows
    errors = [row[-1] for row in trained.gather().rows]
    assert len(errors) == 5


def test_every_repeat_was_trained_once(trained):
    assert [path.name for path in sorted(trained.path.glob("trials/*"))] == sorted(trained.trial_keys())
    assert run_status(trained).counts == {"done": 5, "failed": 0, "running": 0, "waiting": 0}
    for key in trained.trial_keys():
        assert trained.trial(key).log.read_text().count(" started on ") == 1
        definition = json.loads((trained.trial(key).path / "trial.json").read_text())
        assert (definition["id"], definition["seed"]) == (key[:12], trained.plan().seed_of(key))


def test_results_of_repeats_are_read_as_trials_of_networks(trained):
    table = Results.read(trained).table
    assert table["trial"].tolist() == list(trained.trial_keys())
    assert table["seed"].tolist() == [0, 0, 1, 1, 2]
    assert table["id"].tolist() == [key[:12] for key in trained.trial_keys()]
    published = trained.path.parent / "published"
    shutil.copytree(trained.path, published, ignore=shutil.ignore_patterns("trials", "launches", "code"))
    again = Results.read(published)
    assert again.table.drop(columns="run").equals(Results.read(trained, name="published").table.drop(columns="run"))
    assert set(again.histories) == set(trained.trial_keys())


def test_the_retrained_network_is_the_best(trained):
    (id_,) = trained.plan().repeats.fresh
    fresh = f"{id_}-s2"
    (other,) = set(trained.ids()) - {id_}
    model = designspace.load(trained.path)
    about = model.weights.about
    error = trained.trial(fresh).state().result.final_error
    assert (model.network.id, about["training"]["seed"], about["result"]["final_error"]) == (id_, 2, error)
    assert about["seeds"] == {
        "kind": "mean over 1 fresh seed",
        "fresh": True,
        "number": 1,
        "mean": error,
        "standard_deviation": None,
        "final_mean": error,
    }
    second = designspace.load(trained.path, rank=2).weights.about
    errors = [trained.trial(key).state().result.final_error for key in (other, f"{other}-s1")]
    assert (second["seeds"]["kind"], second["seeds"]["mean"]) == ("mean over 2 seeds", sum(errors) / 2)
    assert (second["training"]["seed"], second["selection"]["rank"], second["selection"]["done"]) == (0, 2, 2)
    best = Results.read(trained).best(5)
    assert best["trial"].tolist() == [fresh, other]
    assert best["mean_error"].tolist() == [error, sum(errors) / 2]
    assert best.load(1).weights.about["training"]["seed"] == 2
    assert best.load(2).weights.about["training"]["seed"] == 0
    assert run_status(trained).best_id == fresh


def test_an_id_selects_a_network_and_a_key_a_trial(trained):
    (id_,) = trained.plan().repeats.fresh

    def seed(name):
        return designspace.load(trained.path, id=name).weights.about["training"]["seed"]

    assert [seed(name) for name in (id_, f"{id_}-s0", f"{id_}-s1", f"{id_}-s2")] == [2, 0, 1, 2]
    for name in (f"{id_}-s3", "../x", f"{id_}-s01"):
        with pytest.raises(InputError, match="has no network"):
            designspace.load(trained.path, id=name)
    assert find_network(trained)[3] == f"{id_}-s2"
    assert find_network(trained, id_=f"{id_}-s0")[0] == f"AnyNetXA {id_}"


def test_repeats_are_merged_into_other_runs(trained, tmp_path):
    whole = RunFolder(tmp_path / "whole")
    assert merge(whole, [trained], {}) == [MergeResult(5, 0, 0, shared=2)]
    assert whole.plan() == trained.plan()
    assert numbers(whole) == numbers(trained)
    assert merge(whole, [trained], {}) == [MergeResult(0, 5, 0, shared=2)]
    other = RunFolder(tmp_path / "other")
    other.create(trained.population(), {})
    other.write_plan(RECIPE, 0, Repeats((4,)))
    merge(whole, [other], {})
    assert whole.plan().repeats == trained.plan().repeats.with_more(Repeats((4,)))


def test_temporary_failures_do_not_change_the_results_of_repeats(trained, tmp_path, data_root, monkeypatch):
    run = make_run(tmp_path / "run", n=2, trainer="faulty:train")
    recipe = run.plan().recipe
    first = run.ids()[0]
    plan_faults(tmp_path / "faults", {first: {"kind": "kill", "epoch": 1, "times": 3}}, monkeypatch)
    run.write_plan(recipe, 0, Repeats((1,), {next(iter(trained.plan().repeats.fresh)): (2,)}))
    launch(run, data_root)
    assert run_status(run).counts["done"] == 5
    assert [row[:-2] for row in numbers(run)] == [row[:-2] for row in numbers(trained)]
    attempts = {key: len(run.trial(key).attempts()) for key in run.trial_keys()}
    assert sum(attempts.values()) == 3, attempts


def test_only_some_trials_are_trained_and_counted(tmp_path, data_root):
    run = make_run(tmp_path / "run", n=2)
    first = run.ids()[0]
    run.write_plan(RECIPE, 0, Repeats(fresh={first: (1,)}))
    only = run.plan().fresh_keys()
    bars = []
    progress = run_local([run], 2, CPU, data_root, lambda bar: bars.append(bar) or (lambda: None), only=only)
    assert (progress.total, progress.finished) == (1, 1)
    assert run_status(run).counts == {"done": 1, "failed": 0, "running": 0, "waiting": 2}
    watched = Progress(0)
    watched.update([run], only)
    assert (watched.total, watched.finished, watched.left) == (1, 1, 0)
    watched.update([run])
    assert (watched.total, watched.finished, watched.left) == (3, 1, 2)


def test_upkeep_of_repeats(tmp_path):
    run = make_run(tmp_path / "run", n=3)
    a, b, c = run.ids()
    run.write_plan(RECIPE, 0, Repeats((1,)))
    write_done(run, {a: 30.0, b: 20.0, c: 40.0, f"{a}-s1": 10.0, f"{b}-s1": 25.0})
    run.trial(f"{c}-s1").path.mkdir()
    run.trial(f"{c}-s1").write_failure(TrialFailure("out of memory", "no"))
    status = run_status(run)
    assert (status.best_error, status.best_id, status.best_kind) == (20.0, a, "mean over 2 seeds")
    assert trial_status(run, status.states[-1]).key == f"{c}-s1"
    deletable = [path.parent.name for path, _ in leftovers(run, keep_best=1)["checkpoints"]]
    assert deletable == [b, c, f"{b}-s1"]  # all checkpoints of the best network are kept
    with pytest.raises(InputError, match="has no trial"):
        retry(run, trial=f"{c}-s2")
    assert retry(run, trial=c) == []  # the network's first trial
    assert retry(run, trial=f"{c}-s1") == [f"{c}-s1"]
    assert run_status(run).counts["waiting"] == 1


def test_assignments_hold_keys():
    assignment = Assignment(Task("runs/a", "60e881614052-s3"), "1/ab")
    assert Assignment.from_line(assignment.to_line()) == assignment


def test_array_tasks_hold_the_requested_repeats(tmp_path, monkeypatch):
    monkeypatch.setattr("designspace.sweeps.slurm.queued", lambda run: {})
    run = make_run(tmp_path / "run", n=2)
    a, b = run.ids()
    # It is written into the run folder only once SLURM has accepted the tasks.
    plan = dataclasses.replace(run.plan(), repeats=Repeats((1,)))
    settings = SlurmSettings(trials_per_task=3)
    planned, batches = _plan_batches(run, plan, settings, lambda: 1.0, 1, None)
    assert batches == [[a, b, f"{a}-s1"], [f"{b}-s1"]]
    assert (planned.trials, planned.finished) == (4, 0)
    _, batches = _plan_batches(run, plan, settings, lambda: 1.0, 1, {f"{b}-s1"})
    assert batches == [[f"{b}-s1"]]
    launch_folder = run.new_launch({})
    launch_folder.write_tasks([[a, f"{b}-s1"]])
    assert launch_folder.tasks() == [[a, f"{b}-s1"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("parallelism", [None, 1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 5, 12, 40])
def test_batches_hold_every_trial_once(size, parallelism, count):
    trials = [str(i) for i in range(count)]
    batches = batches_of(trials, size, parallelism)
    assert sorted(key for batch in batches for key in batch) == sorted(trials)
    assert len(batches) == -(-count // size)
    assert all(0 < len(batch) <= size for batch in batches)


def test_parallel_tasks_finish_the_beginning_of_the_population_first():
    """4 tasks at once, of 5 trials each: when these tasks have each finished 2 trials, the first 8 are finished."""
    trials = [f"{i:02}" for i in range(30)]
    batches = batches_of(trials, 5, 4)
    assert batches[0] == ["00", "04", "08", "12", "16"]
    assert [batch[0] for batch in batches] == ["00", "01", "02", "03", "20", "21"]
    assert sorted(key for batch in batches[:4] for key in batch[:2]) == trials[:8]
    assert batches_of(trials, 5, None)[0] == trials[:5]


def test_starts_are_counted_by_network(trained):
    assert starts(trained) == dict.fromkeys(trained.ids(), 1)
