"""`explore` with rounds of refinement, with a trainer that takes no time."""

import json
import shutil

import pandas as pd
import pytest
from data_sets import pack_noise, run_command

from designspace import explore
from designspace.cli import app
from designspace.spaces.constraints import Order
from designspace.trials.folder import RunFolder

STUDY = (
    *("name=s", "run=s", "spaces=[AnyNetXC]", "n=40", "data=pets", "space.flops=[2e5,6e5]", "recipe=quick"),
    *("recipe.epochs=1", "recipe.trainer=planted_trainer:train", "launcher.workers=2"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study whose first space is trained."""
    root, folder = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("study")
    pack_noise(root, "pets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESIGNSPACE_DATA", str(root))
        patch.chdir(folder)
        app.main("explore", explore.run, list(STUDY))
    return root, folder


@pytest.fixture
def here(tmp_path, monkeypatch, trained):
    """A folder with a copy of this study."""
    root, folder = trained
    monkeypatch.setenv("DESIGNSPACE_DATA", str(root))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "s", tmp_path / "s")
    return tmp_path


NO_MORE = ("refine.n=50", "budget.trials=100")
"""A budget that suffices for the next space, but not for a confirmation."""


def run_explore(capsys, *more):
    return run_command(capsys, "explore", explore.run, *STUDY, *more)


def decisions(here):
    return [json.loads(line) for line in (here / "s" / "decisions.jsonl").read_text().splitlines()]


def spaces(here):
    return {path.parent.name: RunFolder(path.parent).space() for path in sorted((here / "s").glob("*/space.yaml"))}


def test_the_loop_finds_rising_widths_and_ends(capsys, here):
    code, output, errors = run_explore(capsys, "refine.rounds=1", "refine.n=14")
    assert (code, "Traceback" in errors) == (0, False)
    kinds = [decision["decision"] for decision in decisions(here)]
    assert kinds[0] == "propose"
    assert {"confirm", "adopt", "end"} <= set(kinds)
    assert "Adopted: width non-decreasing from stage to stage" in output
    found = spaces(here)
    assert next(iter(found)) == "AnyNetXC"
    assert len(found) > 1
    assert Order("width", "non_decreasing") in list(found.values())[-1].constraints
    fresh = here / "s" / "confirmations" / "AnyNetXC" / "parent"
    notes = {
        (folder / "data.json").read_text() for folder in (here / "s" / "AnyNetXC", here / "s" / list(found)[-1], fresh)
    }
    assert len(notes) == 1  # the same images
    # Resumed, it trains and decides nothing new.
    before = {path: path.stat().st_mtime_ns for path in (here / "s").rglob("result.json")}
    log = (here / "s" / "decisions.jsonl").read_text()
    code, again, _ = run_explore(capsys, "refine.rounds=1", "refine.n=14")
    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in (here / "s").rglob("result.json")} == before
    assert (here / "s" / "decisions.jsonl").read_text() == log
    assert [line for line in again.splitlines() if line.startswith("- round")] == [
        line for line in output.splitlines() if line.startswith("- round")
    ]


def test_a_person_overrules(capsys, here):
    accepted = "refine.accept=[depth_non_decreasing,depth_non_decreasin]"
    more = ("refine.rounds=1", "refine.reject=[width_non_decreasing]", accepted, *NO_MORE)
    code, output, _ = run_explore(capsys, *more)
    assert code == 0
    assert "(by hand: depth_non_decreasing)" in output
    assert "note: depth_non_decreasin was not a candidate in any round; did you mean depth_non_decreasing" in output
    constraints = list(spaces(here).values())[-1].constraints
    assert Order("depth", "non_decreasing") in constraints
    assert Order("width", "non_decreasing") not in constraints


def test_answers_are_asked_once(capsys, here, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    answers = iter(["wide", "depth_non_decreasing"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    more = ("refine.rounds=1", "refine.interactive=true", *NO_MORE)
    code, output, _ = run_explore(capsys, *more)
    assert code == 0
    assert "not a candidate: wide" in output
    assert "nothing was confirmed, because" in output  # the budget suffices for the next space only
    assert "adopted for AnyNetXC: depth_non_decreasing (by hand: depth_non_decreasing)" in output
    assert list(spaces(here)) == ["AnyNetXC", "AnyNetXC-depth_non_decreasing"]
    assert run_explore(capsys, *more)[0] == 0  # there are no more answers


def test_the_budget_ends_the_loop(capsys, here):
    code, output, _ = run_explore(capsys, "refine.rounds=2", "budget.trials=70")
    assert code == 0
    assert "40 trials are done and" in output
    assert "budget.trials is 70" in output
    assert list(spaces(here)) == ["AnyNetXC"]
    assert decisions(here)[-1]["decision"] == "end"


def test_a_space_is_refined_in_each_regime(capsys, here):
    more = (
        "run=t",
        "n=30",
        "regimes=[[2e5,4e5],[8e5,1.6e6]]",
        "space.regime=auto",
        "refine.rounds=1",
        "budget.trials=60",
    )
    assert run_explore(capsys, *more)[0] == 0
    names = ["AnyNetXC-1.13MF", "AnyNetXC-283kF"]
    assert sorted(path.parent.name for path in (here / "t").glob("*/space.yaml")) == names
    assert "Trends of AnyNetXC" in (here / "t" / "report.html").read_text()
    table = pd.read_csv(here / "t" / "figures" / "trends_AnyNetXC.csv")
    assert set(table["run"]) == set(names)
    assert {"d1", "w1"} <= set(table["quantity"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("regimes=[1e6,2e6]",), "each of regimes must be a minimum and a maximum of multiply-adds"),
        (("regimes=[[2e6,1e6]]",), "each of regimes must be a minimum and a maximum of multiply-adds"),
        (("budget.trials=39",), "budget.trials=39, but the first populations alone take 40 trainings"),
        (("refine.rounds=0", "budget.hours=1"), "a budget limits rounds of refinement; give refine.rounds=..."),
        (("n=10",), "refine.rounds needs at least n=30 networks, not 10"),
        (("refine.interactive=true",), "the input is not a terminal; use refine.accept=[...]"),
        (("budget.hours=0",), "budget.hours must be above 0"),
    ],
)
def test_what_cannot_be_refined_is_refused_before_anything_is_sampled(capsys, here, more, message):
    code, _, errors = run_explore(capsys, "run=t", "refine.rounds=1", *more)
    assert code == 2
    assert message in errors
    assert not (here / "t").exists()
