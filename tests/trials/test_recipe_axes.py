"""Fields of a recipe that are drawn for each network."""

import dataclasses
import hashlib
import math
import re

import numpy as np
import pytest
import yaml
from merge_runs import make, result
from scipy import stats
from sweep_runs import RECIPE, SPACE

from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder
from designspace.trials.merge import MergeResult, merge
from designspace.trials.plan import NO_REPEATS, Plan, Repeats, further_seeds
from designspace.trials.recipe import Recipe
from designspace.trials.recipe_axes import FIELDS, WHOLE_FIELDS, RecipeAxes, RecipeAxis, random_word
from designspace.trials.siblings import shared_results
from designspace.trials.trial import Trial

LR = {"kind": "log_uniform", "low": 0.01, "high": 1}
DECAY = {"kind": "log_uniform", "low": 1e-5, "high": 1e-3}
IDS = [f"{number:012x}" for number in range(3000)]
A, B = "60e881614052", "deecd128e827"


def plan_of(seed=0, repeats=NO_REPEATS, **fields):
    """Return a plan from fields of a recipe, some of which may be axes."""
    axes = RecipeAxes.from_fields(fields)
    return Plan(axes.recipe(fields), seed, repeats, axes)


def uniform_number(seed, id_, field):
    """Return the random number of a draw, computed from its definition."""
    return int(hashlib.sha256(f"{seed} {id_} recipe.{field}".encode()).hexdigest()[:16], 16) / 2**64


# Draws


def test_draws_equal_those_by_hand():
    plan = plan_of(
        seed=3,
        lr=LR,
        mixup={"kind": "uniform", "low": 0, "high": 0.8},
        batch_size={"kind": "uniform", "low": 32, "high": 128, "step": 32},
        policy={"kind": "choice", "values": [None, "randaugment", "randaugment"]},
    )
    for id_ in (A, B):
        recipe, u = plan.recipe_of(id_), {name: uniform_number(3, id_, name) for name in plan.axes.by_field}
        assert recipe.lr == float(f"{0.01 * 100 ** u['lr']:.6g}")
        assert recipe.mixup == float(f"{0.8 * u['mixup']:.6g}")
        assert recipe.batch_size == 32 + 32 * math.floor(4 * u["batch_size"])
        assert recipe.policy == (None if u["policy"] < 1 / 3 else "randaugment")
    assert plan.recipe_of(A) == Recipe(batch_size=64, lr=0.307378, policy="randaugment", mixup=0.615501)


def test_the_ends_of_an_axis_are_drawn_by_the_ends_of_the_words():
    for axis in (RecipeAxis("log_uniform", 0.01, 1), RecipeAxis("uniform", 0.01, 1), RecipeAxis("uniform", 1, 4, 1)):
        assert (axis.draw(0), axis.draw(2**64 - 1)) == (axis.low, axis.high)
    long = RecipeAxis("uniform", 0.123456789, 0.123456789)
    assert long.draw(5) == 0.123456789
    assert RecipeAxis("choice", values=("a", "b")).draw(2**63 - 1) == "a"
    assert RecipeAxis("choice", values=("a", "b")).draw(2**63) == "b"


def test_draws_have_the_distribution_of_their_axis():
    switch = {"kind": "choice", "values": [True, False, True]}
    plan = plan_of(lr=LR, dropout={"kind": "uniform", "low": 0, "high": 0.5}, flip=switch)
    recipes = [plan.recipe_of(id_) for id_ in IDS]
    assert stats.kstest([math.log(recipe.lr / 0.01) / math.log(100) for recipe in recipes], "uniform").pvalue > 0.01
    assert stats.kstest([2 * recipe.dropout for recipe in recipes], "uniform").pvalue > 0.01
    assert sum(recipe.flip for recipe in recipes) / len(IDS) == pytest.approx(2 / 3, abs=0.03)
    assert abs(np.corrcoef([r.lr for r in recipes], [r.dropout for r in recipes])[0, 1]) < 0.05
    assert len({recipe.lr for recipe in recipes}) > 2980


def test_a_grid_that_is_log_uniform_is_that_of_spaces():
    plan = plan_of(batch_size={"kind": "log_uniform", "low": 32, "high": 256, "step": 32})
    sizes = [plan.recipe_of(id_).batch_size for id_ in IDS]
    assert set(sizes) == set(range(32, 257, 32))
    expected = math.log(48 / 16) / math.log(272 / 16)
    assert sizes.count(32) / len(IDS) == pytest.approx(expected, abs=0.03)
    whole = plan_of(batch_size={"kind": "uniform", "low": 32, "high": 64})
    assert {type(whole.recipe_of(id_).batch_size) for id_ in IDS[:20]} == {int}
    assert whole.axes.by_field["batch_size"].step == 1


def test_a_draw_depends_only_on_the_first_seed_the_network_and_the_field():
    plan = plan_of(lr=LR)
    more = plan_of(lr=LR, weight_decay=DECAY, epochs=3, repeats=Repeats((1, 2), {A: (5,)}))
    lr = plan.recipe_of(A).lr
    assert {more.recipe_of(key).lr for key in (A, f"{A}-s1", f"{A}-s2", f"{A}-s5")} == {lr}
    assert plan_of(seed=1, lr=LR).recipe_of(A).lr != lr
    assert plan.recipe_of(B).lr != lr
    narrower = plan_of(lr={**LR, "high": 0.1}).recipe_of(A).lr  # the same random number on another axis
    assert math.log(narrower / 0.01) / math.log(10) == pytest.approx(math.log(lr / 0.01) / math.log(100), abs=1e-4)
    assert random_word(0, A, "lr") != random_word(0, A, "weight_decay")


def test_a_trial_with_a_drawn_recipe_is_the_same_as_one_with_that_recipe():
    plan = plan_of(seed=2, lr=LR)
    network = SPACE.sample(1)[0]
    recipe = plan.recipe_of(network.id)
    assert plan.fingerprint(network.id) == Plan(recipe, 2).fingerprint(network.id)
    assert plan.fingerprint(f"{network.id}-s4") == Trial(network, recipe, 4).fingerprint
    assert plan.fingerprint(network.id) != Plan(plan.recipe, 2).fingerprint(network.id)


def test_without_axes_plans_are_as_before():
    plan = plan_of(lr=0.2)
    assert plan == Plan(Recipe(lr=0.2), 0)
    assert plan.recipe_of(A) is plan.recipe
    assert plan.recipe_fields() == Recipe(lr=0.2).to_dict()


# Bad input


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": {**LR, "low": 2}}, "recipe.lr: low must be at most high, not low=2, high=1"),
        ({"lr": {**LR, "low": 0}}, "recipe.lr: a log_uniform axis needs low above 0, not low=0; uniform allows 0"),
        (
            {"lr": {"kind": "uniform", "low": -1, "high": 1}},
            "recipe: lr must be a number >= 0, not -1; it is drawn by recipe.lr={kind: uniform, low: -1, high: 1}",
        ),
        ({"lr": {**LR, "high": "1"}}, "recipe.lr: high must be a number, not '1'"),
        ({"lr": {**LR, "high": math.inf}}, "recipe.lr: high must be a number, not inf"),
        ({"lr": {"kind": "log_uniform", "low": 0.1}}, "recipe.lr, a log_uniform axis: high is missing"),
        ({"lr": {"low": 0.1, "high": 1}}, "recipe.lr: kind is missing"),
        ({"lr": {**LR, "kind": "normal"}}, "unknown kind of axis 'normal'; choose from: log_uniform, uniform, choice"),
        ({"lr": {**LR, "hihg": 1}}, "unknown key 'hihg'; did you mean 'high'?"),
        (
            {"lr": {"kind": "uniform", "low": 0, "high": 1, "step": 0.3}},
            "recipe.lr: an axis needs low <= high, a whole",
        ),
        ({"lr": {"kind": "uniform", "low": 0, "high": 1, "step": 0}}, "recipe.lr: step must be above 0"),
        ({"lr": {"kind": "choice", "values": []}}, "recipe.lr: values must be a list of 1 to 100 values, not []"),
        ({"lr": {"kind": "choice", "values": "0.1"}}, "recipe.lr: values must be a list"),
        ({"lr": {"kind": "choice", "values": [0.1, True]}}, "recipe: lr must be a number >= 0, not True"),
        (
            {"optimiser": {"kind": "choice", "values": ["sgd", "lion"]}},
            "optimiser must be one of sgd, adamw, not 'lion'",
        ),
        (
            {"data": {"kind": "choice", "values": ["cifar10"]}},
            "recipe.data must be one value, not {kind: choice, values:",
        ),
        (
            {"epochs": {"kind": "uniform", "low": 1, "high": 9}},
            "recipe.epochs must be one value, not {kind: uniform, low",
        ),
        ({"devices": {"kind": "choice", "values": [1, 2]}}, "because all trials of a run share it; fields that can be"),
        ({"weight_deacy": DECAY}, "recipe: unknown option 'weight_deacy'; did you mean weight_decay?"),
        (
            {"warmup_epochs": {"kind": "uniform", "low": 0, "high": 11}},
            "recipe: warmup_epochs 11 is more than epochs 10; it is drawn by recipe.warmup_epochs={kind: uniform",
        ),
        (
            {"batch_size": {"kind": "uniform", "low": 32, "high": 64}, "devices": 2},
            "recipe: batch_size 33 is not divisible by devices 2; it is drawn by recipe.batch_size={kind: uniform",
        ),
        ({"batch_size": {"kind": "choice", "values": [64, 48, 30]}, "devices": 4}, "batch_size 30 is not divisible by"),
        ({"batch_size": {"kind": "uniform", "low": 0.5, "high": 1.5}}, "batch_size must be a whole number >= 1, not"),
        (
            {"momentum": {"kind": "choice", "values": [0.9, 0, 0.5]}},
            "nesterov needs a momentum above 0; it is drawn by",
        ),
        (
            {
                "momentum": {"kind": "choice", "values": [0.9, 0]},
                "optimiser": {"kind": "choice", "values": ["sgd", "adamw"]},
            },
            "nesterov needs a momentum above 0; it is drawn by recipe.momentum={kind: choice, values: [0.9, 0]}",
        ),
        (dict.fromkeys(FIELDS[:9], LR), "at most 8 fields can be drawn, not 9"),
    ],
)
def test_an_axis_that_allows_a_bad_recipe_is_refused(fields, message):
    with pytest.raises(InputError, match=re.escape(message)):
        plan_of(**fields)


def test_axes_at_the_edge_of_what_is_allowed_are_accepted():
    plan_of(batch_size={"kind": "uniform", "low": 32, "high": 64, "step": 2}, devices=2)
    plan_of(warmup_epochs={"kind": "uniform", "low": 0, "high": 10})
    plan_of(momentum={"kind": "choice", "values": [0.9, 0]}, nesterov=False)
    plan_of(momentum={"kind": "choice", "values": [0.9, 0]}, optimiser="adamw")
    plan_of(lr={"kind": "uniform", "low": 0, "high": 0})
    numpy = plan_of(lr={"kind": "choice", "values": [np.float64(0.1), np.float32(0.5)]})
    assert {type(value) for value in numpy.axes.by_field["lr"].values} == {float}
    sizes = RecipeAxes({"batch_size": RecipeAxis("choice", values=(36, 33, 32))})
    with pytest.raises(InputError, match="batch_size 32 is not divisible by devices 3"):
        Plan(Recipe(devices=3, batch_size=36), 0, axes=sizes)


def test_every_field_is_either_shared_or_can_be_drawn():
    names = {field.name for field in dataclasses.fields(Recipe)}
    assert set(FIELDS) <= names
    wholes = {field.name for field in dataclasses.fields(Recipe) if field.type == "int"}
    assert set(WHOLE_FIELDS) == wholes & set(FIELDS)
    for name in names - set(FIELDS):
        with pytest.raises(InputError, match=f"recipe.{name} must be one value"):
            plan_of(**{name: {"kind": "choice", "values": [getattr(Recipe(), name)]}})


# Files


def run_with(path, seed=0, n=4, **fields):
    """Create a run folder whose plan has axes."""
    plan = plan_of(seed, **{**RECIPE.to_dict(), **fields})
    run = RunFolder(path)
    run.create(SPACE.sample(n), {})
    run.write_plan(plan.recipe, plan.seed, plan.repeats, plan.axes)
    return run, plan


def test_a_run_keeps_its_axes(tmp_path):
    run, plan = run_with(tmp_path, lr=LR, optimiser={"kind": "choice", "values": ["sgd", "adamw"]})
    assert run.plan() == plan
    written = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert (written["lr"], written["optimiser"]["values"], written["epochs"]) == (LR, ["sgd", "adamw"], 2)
    run.write_plan(plan.recipe, 0, further_seeds(0, 2), plan.axes)
    trial = run.read_trials()
    for key in run.trial_keys():
        assert trial(key).recipe == plan.recipe_of(key)
        assert trial(key).fingerprint == run.fingerprint(key)
    for other in ({"lr": 1.0}, {"lr": {**LR, "high": 2}}, {"lr": LR, "momentum": 0.8}):
        changed = plan_of(**{**RECIPE.to_dict(), "optimiser": written["optimiser"], **other})
        with pytest.raises(InputError, match=r"another recipe \(recipe\.(lr|momentum) is "):
            run.write_plan(changed.recipe, 0, axes=changed.axes)
    with pytest.raises(InputError, match=re.escape("recipe.lr is {kind: log_uniform, low: 0.01, high: 1} there and 1")):
        run.check_plan(plan.recipe, 0)
    with pytest.raises(InputError, match="another seed"):
        run.check_plan(plan.recipe, 1, plan.axes)


def test_a_run_without_axes_is_written_as_before(tmp_path):
    run = make(tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == yaml.safe_dump({**RECIPE.to_dict(), "seed": 0}, sort_keys=False)
    with pytest.raises(
        InputError, match=re.escape("recipe.lr is 0.1 there and {kind: log_uniform, low: 0.01, high: 1}")
    ):
        run.check_plan(
            *(getattr(plan_of(**{**RECIPE.to_dict(), "lr": LR}), name) for name in ("recipe", "seed", "axes"))
        )
    assert run.gather().header[-1] == "detail"


def test_a_damaged_axis_is_an_error_of_the_file(tmp_path):
    run, _ = run_with(tmp_path, lr=LR)
    text = (tmp_path / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(text.replace("high: 1\n", "high: 0.001\n"))
    with pytest.raises(RunError, match=r"recipe\.yaml is not whole \(recipe\.lr: low must be at most high"):
        run.plan()


def test_drawn_settings_are_the_last_columns_of_results(tmp_path):
    switch = {"kind": "choice", "values": [True, False]}
    policy = {"kind": "choice", "values": [None, "randaugment"]}
    run, plan = run_with(tmp_path, lr=LR, flip=switch, policy=policy)
    run.write_plan(plan.recipe, 0, further_seeds(0, 2), plan.axes)
    gathered = run.gather()
    assert gathered.header[-3:] == ("lr", "flip", "policy")
    for row in gathered.rows:
        recipe = plan.recipe_of(row[0])
        assert row[-3:] == (recipe.lr, "true" if recipe.flip else "false", recipe.policy)
    header, *lines = run.write_results().read_text().splitlines()
    assert header.endswith(",reason,detail,lr,flip,policy")
    assert lines[0].endswith(f",{plan.recipe_of(run.ids()[0]).lr},{gathered.rows[0][-2]},{gathered.rows[0][-1] or ''}")


def test_a_larger_population_keeps_the_draws(tmp_path):
    run, plan = run_with(tmp_path, n=2, lr=LR)
    before = [run.read_trials()(key).recipe for key in run.ids()]
    run.create(SPACE.sample(5), {})
    assert [run.read_trials()(key).recipe for key in run.ids()][:2] == before
    assert len({plan.recipe_of(key).lr for key in run.ids()}) == 5


def finish(run, key, error):
    """Write the files of a trial that is done."""
    trial = run.read_trials()(key)
    run.trial(key).write_trial(trial)
    run.trial(key).checkpoint.write_bytes(b"weights")
    run.trial(key).write_result(result(error))


def test_results_are_shared_only_between_runs_with_the_same_axes(tmp_path):
    (a, plan), (b, _), (c, _) = (
        run_with(tmp_path / name, lr=axis) for name, axis in (("a", LR), ("b", LR), ("c", {**LR, "high": 2}))
    )
    finish(a, a.ids()[1], 30.0)
    assert [list(each.keys) for each in shared_results(b, b.ids(), plan)] == [[a.ids()[1]]]
    assert shared_results(c, c.ids(), c.plan()) == []
    assert merge(b, [a], {}) == [MergeResult(1, 0, 0, shared=4)]
    assert [state.status for state in b.states(b.ids())] == ["waiting", "done", "waiting", "waiting"]
    with pytest.raises(InputError, match=r"another recipe \(recipe\.lr is"):
        merge(c, [a], {})
    new = RunFolder(tmp_path / "new")
    merge(new, [a], {})
    assert new.plan() == plan
    with pytest.raises(InputError, match="trained with another recipe or seed"):
        merge(RunFolder(tmp_path / "newer"), [a, c], {})


def test_a_result_of_another_draw_is_refused(tmp_path):
    run, _ = run_with(tmp_path, lr=LR)
    key = run.ids()[0]
    trial = run.read_trials()(key)
    run.trial(key).write_trial(trial)
    run.trial(key).write_result(result(30.0))
    assert run.states([key])[0].result
    text = (tmp_path / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(text.replace("high: 1\n", "high: 2\n"))
    changed = RunFolder(tmp_path)
    with pytest.raises(RunError, match="another"):
        changed.states([key])
