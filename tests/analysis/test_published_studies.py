"""What the READMEs of experiments say follows from the trials that are kept beside them."""

import dataclasses
import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from designspace.analysis import Results
from designspace.analysis.comparison import compare_all
from designspace.analysis.p_values import p_text
from designspace.analysis.refinement import refine
from designspace.analysis.refinement.confirming import Question, confirm
from designspace.cli import app
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
STUDY = EXPERIMENTS / "anynet_to_regnet"
REFINED = EXPERIMENTS / "refine_from_scratch"
EPOCHS = EXPERIMENTS / "epochs_and_samples"
QUICKSTART = EXPERIMENTS / "quickstart"
STEPS = ("AnyNetXA", "AnyNetXE", "RegNetX")
SPACES = ("AnyNetXA", "AnyNetXB", "AnyNetXC", "AnyNetXD", "AnyNetXE", "RegNetX")


def test_regnet_is_better_than_the_spaces_that_it_was_refined_from():
    results = [Results.read(STUDY / "runs" / name) for name in SPACES]
    text = (STUDY / "README.md").read_text()
    for each in results:
        errors = each.errors()
        row = rf"\| {each.name} \| {len(errors)} \| {errors.mean():.1f}% \| {errors.min():.1f}% \|"
        assert re.search(row, text), row
    early = ["AnyNetXA", "AnyNetXB", "AnyNetXC"]
    worse = {"AnyNetXE": early, "RegNetX": [*early, "AnyNetXD"]}
    better = {(pair.a, pair.b): pair.better for pair in compare_all(results) if pair.better}
    assert better == {(other, name): name for name, others in worse.items() for other in others}


@pytest.mark.parametrize(
    ("name", "proposals"),
    [
        ("AnyNetXA", {"width_non_decreasing", "width_16_to_128"}),
        ("AnyNetXB", {"width_non_decreasing", "width_at_least_16"}),
        ("AnyNetXC", {"width_non_decreasing"}),
        ("AnyNetXD", {"width_at_least_16"}),
        ("AnyNetXE", {"quantised_line"}),
    ],
)
def test_refine_takes_the_steps_of_the_authors(name, proposals):
    run = RunFolder(STUDY / "runs" / name)
    assert set(refine(Results.read(run), run.space()).proposals) == proposals


@pytest.mark.parametrize("run", [STUDY / "runs" / "RegNetX", REFINED / "runs" / "AnyNetXA"], ids=lambda run: run.name)
def test_the_scripts_train_as_the_published_trials_were_trained(run):
    options = runpy.run_path(str(EXPERIMENTS / "cifar10.py"))["OPTIONS"]
    composed = Recipe.from_dict(app.compose("explore", ["name=x", *options])["recipe"])
    assert dataclasses.replace(composed, data="cifar10_jpeg") == RunFolder(run).plan().recipe


def test_the_refined_space_is_better_than_anynets_and_not_shown_to_differ_from_regnet():
    refined = "AnyNetXA-width_non_decreasing-width_16_to_128"
    folders = [
        REFINED / "runs" / "AnyNetXA",
        REFINED / "runs" / refined,
        *(STUDY / "runs" / name for name in STEPS[1:]),
    ]
    results = [Results.read(folder) for folder in folders]
    better = {(pair.a, pair.b): pair.better for pair in compare_all(results) if pair.better}
    assert better == {
        ("AnyNetXA", refined): refined,
        ("AnyNetXA", "AnyNetXE"): "AnyNetXE",
        ("AnyNetXA", "RegNetX"): "RegNetX",
        (refined, "AnyNetXE"): refined,
        ("AnyNetXE", "RegNetX"): "RegNetX",
    }
    text = (REFINED / "README.md").read_text()
    for each in results:
        errors = each.errors()
        assert f"| {len(errors)} | {errors.mean():.1f}% | {errors.min():.1f}% |" in text


@pytest.mark.parametrize(
    ("parent", "names", "adopted"),
    [
        ("AnyNetXA", ["width_non_decreasing", "width_16_to_128"], True),
        ("AnyNetXA-width_non_decreasing-width_16_to_128", ["width3_at_least_40"], False),
    ],
)
def test_fresh_networks_confirm_what_was_adopted(parent, names, adopted):
    population = RunFolder(REFINED / "runs" / parent)
    assert set(refine(Results.read(population), population.space()).proposals) == set(names)
    fresh, *children = (Results.read(REFINED / "runs/confirmations" / parent / name) for name in ("parent", *names))
    old = set(population.ids())
    assert not any(old & set(each.table["id"]) for each in (fresh, *children))
    questions = dict(zip((Question(name, name, "better") for name in names), children, strict=True))
    readme = (REFINED / "README.md").read_text()
    for each in confirm(fresh, questions):
        assert each.is_adopted == adopted
        low, high = each.estimate.low, each.estimate.high
        assert f"| {each.estimate.value:.2f} ({low:.2f} to {high:.2f}), {p_text(each.p_holm)} |" in readme


@pytest.fixture(scope="module")
def script():
    """The names of the script of experiments/epochs_and_samples."""
    return runpy.run_path(str(EPOCHS / "run.py"))


@pytest.mark.parametrize(("name", "function"), [("epochs", "by_epochs"), ("seeds", "by_seed")])
def test_tables_of_epochs_and_seeds_follow_from_the_trials(name, function, script):
    pd.testing.assert_frame_equal(script[function](), pd.read_csv(EPOCHS / f"{name}.csv"))


def test_five_epochs_need_the_fewest_networks(script):
    sizes = pd.read_csv(EPOCHS / "sizes.csv").query("n == 24").set_index("epochs")["shown"]
    assert sizes.idxmax() == 5
    a, b = (script["after"](name, 5).errors() for name in script["SPACES"])
    rng = np.random.default_rng(1)
    shown = [script["concludes"](rng.choice(a, 24, False), rng.choice(b, 24, False)) for _ in range(40)]
    assert np.mean(shown) == pytest.approx(sizes[5], abs=0.1)


def test_the_steps_of_the_quickstart_make_better_spaces():
    better = {
        (pair.a, pair.b): pair.better for pair in compare_all([Results.read(QUICKSTART / name) for name in STEPS])
    }
    assert better == {
        ("AnyNetXA", "AnyNetXE"): "AnyNetXE",
        ("AnyNetXA", "RegNetX"): "RegNetX",
        ("AnyNetXE", "RegNetX"): "RegNetX",
    }
