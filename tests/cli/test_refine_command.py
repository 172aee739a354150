"""`refine` on the command line, on published runs; tests/analysis/test_refinement.py tests its numbers."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from data_sets import run_command

from designspace import refine, sample
from designspace.spaces.constraints import Order
from designspace.spaces.description import space_from_dict
from designspace.trials.folder import RunFolder

RUNS = Path(__file__).parents[2] / "experiments" / "paper_figures" / "runs"


@pytest.fixture
def here(tmp_path, monkeypatch):
    shutil.copytree(RUNS / "AnyNetXC", tmp_path / "r")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run_refine(capsys, *arguments):
    return run_command(capsys, "refine", refine.run, "run=r", "permutations=400", *arguments)


def test_refine_writes_a_space_that_can_be_sampled(capsys, here):
    code, output, errors = run_refine(capsys)
    assert (code, errors) == (0, "")
    assert re.search(r"^width_non_decreasing +proposed +4.6 ", output, re.M)
    assert "- Proposed: width non-decreasing from stage to stage" in output
    files = {path.name: path.read_bytes() for path in (here / "r" / "refinement").iterdir()}
    pictures = [f"refinement.{kind}" for kind in ("csv", "pdf", "png", "svg")]
    assert sorted(files) == ["candidates.csv", "refined.yaml", *pictures]
    candidates = pd.read_csv(here / "r" / "refinement" / "candidates.csv")
    assert candidates["candidate"].iloc[0] == "width_non_decreasing"
    assert run_refine(capsys)[1] == output
    assert {path.name: path.read_bytes() for path in (here / "r" / "refinement").iterdir()} == files
    path = "r/refinement/refined.yaml"
    code, output, errors = run_command(capsys, "sample", sample.run, f"file={path}", "n=10", "run=child")
    assert (code, errors) == (0, "")
    parent, child = RunFolder(here / "r").space(), RunFolder(here / "child").space()
    assert child.name == "AnyNetXC-refined"
    assert Order("width", "non_decreasing") in child.constraints
    assert all(parent.contains(network) for network in RunFolder(here / "child").population())


def test_candidates_are_accepted_by_name(capsys, here):
    names = ["width_non_decreasing", "depth_non_decreasing", "bottleneck_ratio_1"]
    code, output, _ = run_refine(capsys, f"accept=[{','.join(names[:2])}]", "out=mine")
    assert code == 0
    assert "refined space, with width_non_decreasing, depth_non_decreasing: mine/refined.yaml" in output
    space = space_from_dict(yaml.safe_load((here / "mine" / "refined.yaml").read_text()))
    assert space.constraints[-2:] == (Order("width", "non_decreasing"), Order("depth", "non_decreasing"))
    code, _, errors = run_refine(capsys, "accept=[width_rising]", "out=other")
    assert code == 2
    assert "unknown candidate 'width_rising' for r; choose from 13" in errors
    assert not (here / "other").exists()


def test_nothing_accepted_leaves_no_file(capsys, here):
    run_refine(capsys)
    code, output, _ = run_refine(capsys, "accept=[]")
    assert code == 0
    assert "no refined space is written" in output
    assert not (here / "r" / "refinement" / "refined.yaml").exists()


def test_runs_that_cannot_be_refined_are_refused(capsys, here):
    shutil.rmtree(here / "r")
    shutil.copytree(RUNS / "ResNeXt-A", here / "r")
    results = here / "r" / "results.csv"
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:20]))
    code, _, errors = run_refine(capsys)
    assert code == 2
    assert "a refinement needs at least 30 finished networks" in errors
    assert run_command(capsys, "refine", refine.run, "run=nowhere")[0] == 1
    assert run_command(capsys, "refine", refine.run, "run=r", "level=5")[0] == 2
