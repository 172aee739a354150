"""What the README of experiments/anynet_to_regnet says follows from the trials that are kept beside it."""

import re
from pathlib import Path

import pytest

from designspace.analysis import Results
from designspace.analysis.comparison import compare_all
from designspace.analysis.refinement import refine
from designspace.trials.folder import RunFolder

STUDY = Path(__file__).parents[2] / "experiments" / "anynet_to_regnet"
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
