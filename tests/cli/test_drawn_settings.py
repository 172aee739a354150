"""Axes of the recipe on the command line and in configuration files."""

import re

import pytest
from data_sets import run_command

from designspace import analyze, explore, launch, sample, train
from designspace.cli import app
from designspace.cli.command_line import read_command_line
from designspace.cli.multirun import combinations, hint
from designspace.trials.folder import RunFolder

QUICK = ["recipe=quick", "recipe.epochs=1", "recipe.warmup_epochs=0", "launcher.workers=1"]
LR = "recipe.lr={kind: log_uniform, low: 0.01, high: 1}"
DECAY = "recipe.weight_decay={kind: log_uniform, low: 1e-5, high: 1e-3}"


@pytest.fixture
def here(tmp_path, monkeypatch, pets):
    """A working folder with a run of two networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESIGNSPACE_DATA", str(pets))
    app.main("sample", sample.run, ["data=pets", "space=RegNetX", "n=2", "run=r"])
    return tmp_path


def test_a_launch_draws_and_resumes_and_is_analysed(here, capsys):
    code, output, errors = run_command(capsys, "launch", launch.run, "run=r", *QUICK, LR, DECAY, "dry_run=true")
    assert code == 0, errors
    assert "lr drawn log-uniformly from 0.01 to 1, weight_decay drawn log-uniformly from 1e-05 to 0.001" in output
    assert RunFolder(here / "r").plan() is None
    assert run_command(capsys, "launch", launch.run, "run=r", *QUICK, LR, DECAY)[0] == 0
    run = RunFolder(here / "r")
    plan, rates = run.plan(), {}
    assert list(plan.axes.by_field) == ["lr", "weight_decay"]
    for row in run.results.read_text().splitlines()[1:]:
        rates[row.split(",")[0]] = float(row.split(",")[-2])
    assert rates == {id_: plan.recipe_of(id_).lr for id_ in run.ids()}
    assert len(set(rates.values())) == 2
    code, _, errors = run_command(capsys, "launch", launch.run, "run=r", "seeds=2", LR, "launcher.workers=1")
    assert code == 0, errors
    assert run.results.read_text().count(",done,") == 4
    for other in ("recipe.lr=0.1", LR.replace("high: 1", "high: 2"), "recipe.momentum=0.8"):
        code, _, errors = run_command(capsys, "launch", launch.run, "run=r", other)
        assert (code, "another recipe (recipe." in errors, "--multirun" in errors) == (2, True, False)
    code, output, errors = run_command(capsys, "analyze", analyze.run, "runs=r", "out=out")
    assert code == 0, errors
    output = " ".join(output.split())
    assert "learning rate drawn log-uniformly from 0.01 to 1, weight decay drawn log-uniformly" in output
    assert "r: the best networks have lr " in output
    report = (here / "out" / "report.html").read_text()
    assert "drawn log-uniformly from 0.01 to 1" in report


def config(here, *arguments):
    """Return the composed recipe of a launch with the file recipe/mine.yaml."""
    folder = here / "cfg" / "recipe"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# Mine.\ndefaults:\n  - /recipe/quick@_here_\nlr: {kind: log_uniform, low: 0.01, high: 1}\n"
    )
    line = [f"--config-dir={here / 'cfg'}", "recipe=mine", "run=r", *arguments]
    return app.compose("launch", line)["recipe"]["lr"]


@pytest.mark.parametrize(
    ("arguments", "lr"),
    [
        ([], {"kind": "log_uniform", "low": 0.01, "high": 1}),
        (["recipe.lr.low=0.1"], {"kind": "log_uniform", "low": 0.1, "high": 1}),
        (["recipe.lr=0.1"], 0.1),
        (["recipe.lr={kind: choice, values: [0.1, 1e-2]}"], {"kind": "choice", "values": [0.1, 0.01]}),
        (["recipe.lr={kind:uniform,low:0,high:1}"], {"kind": "uniform", "low": 0, "high": 1}),
    ],
)
def test_a_file_can_have_axes_and_arguments_replace_them(tmp_path, arguments, lr):
    assert config(tmp_path, *arguments) == lr


def test_multirun_with_axes():
    def values(argument):
        return [
            each.line.arguments[-1] for each in combinations("launch", read_command_line(["dry_run=true", argument]))
        ]

    assert values(LR) == [LR]
    both = [LR, "recipe.lr={kind:choice,values:[0.1,1]}", "recipe.lr=0.1"]
    assert values(",".join([both[0], *(each.partition("=")[2] for each in both[1:])])) == both
    assert hint(f"cannot read {LR.partition('=')[2]}", [LR]) == ""
    assert hint("cannot read 1,2", ["recipe.lr=1,2"])


def test_a_study_of_several_spaces_draws(here, capsys, monkeypatch):
    plans = []
    monkeypatch.setattr("designspace.launch.train", lambda given, *_, **__: plans.extend(given.values()))
    monkeypatch.setattr("designspace.analyze.show", lambda *_, **__: None)
    arguments = [
        "name=study",
        "run=s",
        "spaces=[AnyNetXA,RegNetX]",
        "n=2",
        "data=pets",
        "space.flops=[1e5,6e6]",
        *QUICK,
    ]
    code, _, errors = run_command(capsys, "explore", explore.run, *arguments, LR, "recipe.data=x")
    assert (code, "unknown option 'recipe.data'" in errors) == (2, True)
    code, _, errors = run_command(capsys, "explore", explore.run, *arguments, LR)
    assert code == 0, errors
    assert (len(plans), plans[0]) == (2, plans[1])
    assert list(plans[0].axes.by_field) == ["lr"]


def test_train_refuses_axes(here, capsys):
    code, _, errors = run_command(capsys, "train", train.run, "run=r", "data=pets", LR)
    assert code == 2
    assert re.search(r"recipe\.lr=\{kind.*\} draws a value for each network of a run.*such as recipe\.lr=0\.1$", errors)
