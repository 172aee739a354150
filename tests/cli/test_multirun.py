"""--multirun: run a command once for each combination of values."""

import subprocess
import sys

import pytest

from designspace import plan
from designspace.cli import app
from designspace.cli.command_line import read_command_line
from designspace.cli.multirun import combinations
from designspace.support.errors import InputError, RunError


def arguments_of(command, *arguments):
    """Return the arguments of each combination."""
    return [
        list(combination.line.arguments) for combination in combinations(command, read_command_line(["-m", *arguments]))
    ]


def designspace(command, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", f"designspace.{command}", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_last_key_changes_fastest():
    assert arguments_of("plan", "effect=0.6,0.7", "pairs=range(1,3)") == [
        ["effect=0.6", "pairs=1"],
        ["effect=0.6", "pairs=2"],
        ["effect=0.7", "pairs=1"],
        ["effect=0.7", "pairs=2"],
    ]
    labels = [
        combination.label for combination in combinations("plan", read_command_line(["effect=0.6,0.7", "pairs=2"]))
    ]
    assert labels == ["effect=0.6", "effect=0.7"]


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("n=1e2,1e3", ["1e2", "1e3"]),
        ("n=choice(16,32)", ["16", "32"]),
        ("seed=range(0,10,4)", ["0", "4", "8"]),
        ("space.flops=[1e6,2e6],[2e6,4e6]", ["[1e6,2e6]", "[2e6,4e6]"]),
        ("space.flops=[1e6,2e6]", ["[1e6,2e6]"]),
        ("space=glob(RegNet*)", ["RegNetX", "RegNetXConstrained", "RegNetY"]),
        ("data=cifar10,pets", ["cifar10", "pets"]),
        ("run=a,'b,c',2024_01", ["a", "'b,c'", "2024_01"]),
    ],
)
def test_values_are_listed_in_the_syntax_of_hydra(argument, values):
    key = argument.partition("=")[0]
    assert [arguments[-1] for arguments in arguments_of("sample", "count=true", argument)] == [
        f"{key}={value}" for value in values
    ]


def test_each_combination_has_its_own_folder():
    folders = lambda command, *arguments: [combination[-1] for combination in arguments_of(command, *arguments)]  # noqa: E731
    assert folders("sample", "space=RegNetX,RegNetY", "run=runs/x") == [
        "run=runs/x/space=RegNetX",
        "run=runs/x/space=RegNetY",
    ]
    assert folders("train", "model=m", "data=pets,cifar10", "seed=0,1", "out='a b'")[1] == "out=a b/data=pets,seed=1"
    assert folders("sample", "space.flops=[1e6,2e6],[2e6,4e6]", "run=x")[0] == "run=x/space.flops=1e6-2e6"
    assert folders("sample", "file=a/b.yaml,a-b.yaml", "run=x") == ["run=x/0", "run=x/1"]
    assert folders("sample", "n=2", "run=x,y") == ["run=x", "run=y"]
    assert folders("sample", "seed=1,2", "run=x,y")[1:3] == ["run=y/seed=1", "run=x/seed=2"]


def test_without_a_given_folder_the_defaults_must_differ():
    assert arguments_of("sample", "space=RegNetX,RegNetY") == [["space=RegNetX"], ["space=RegNetY"]]
    assert arguments_of("sample", "space.radix=0,2", "count=true")
    with pytest.raises(
        InputError, match=r"would share a folder; give run=\.\.\., .* such as runs/x/seed=1 for run=runs/x"
    ):
        arguments_of("sample", "seed=1,2")
    with pytest.raises(InputError, match=r"with different recipe\.lr=.* would share a folder; give out="):
        arguments_of("train", "model=a,b", "recipe.lr=0.1,0.2")


def test_one_run_is_not_launched_in_several_ways():
    with pytest.raises(InputError, match="several combinations would train the same run"):
        arguments_of("launch", "run=a", "recipe=quick,cifar")
    assert len(arguments_of("launch", "run=a", "recipe=quick,cifar", "dry_run=true")) == 2
    assert len(arguments_of("launch", "run=a,b", "recipe=quick")) == 2


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("n=range(1,1e9)", "--multirun runs at most 1,000 combinations"),
        ("n=interval(1,2)", r"n=interval\(1,2\) is a range of real numbers; list the values, such as n=1,2,3"),
        ("space=glob(Nope*)", r"space=glob\(Nope\*\) matches nothing; choose from: AnyNeSt, "),
        ("n=a b,(", r"cannot read n=a b,\("),
    ],
)
def test_values_that_cannot_be_listed(argument, message):
    with pytest.raises(InputError, match=message):
        arguments_of("sample", argument)


def test_several_values_without_the_option_are_an_error_that_names_it():
    for argument in ("seed=1,2", "seed=range(1,3)", "space=RegNetX,RegNetY"):
        with pytest.raises(InputError, match=r"cannot read .* add --multirun$"):
            app.compose("sample", [argument])


def test_sample_samples_each_space(tmp_path):
    finished = designspace("sample", "--multirun", "space=RegNetX,RegNetY", "n=2", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"RegNetX", "RegNetY"}
    assert finished.stdout.index("[1/2] space=RegNetX\n") < finished.stdout.index("[2/2] space=RegNetY\n")
    provenance = (tmp_path / "runs" / "RegNetY" / "provenance.json").read_text()
    assert "python -m designspace.sample space=RegNetY n=2" in provenance


def test_the_other_combinations_run_if_one_fails(tmp_path):
    assert designspace("sample", "n=2", "run=a", cwd=tmp_path).returncode == 0
    finished = designspace("status", "-m", "run=a,nowhere,a", cwd=tmp_path)
    assert finished.returncode == 2
    assert finished.stdout.count("waiting") == 2
    assert finished.stderr.endswith("designspace.status: 1 of 3 combinations failed:\n  run=nowhere\n")
    finished = designspace("status", "run=a,nowhere", cwd=tmp_path)
    assert finished.returncode == 2
    assert "a,nowhere is not a run folder" in finished.stderr
    assert "add --multirun" in finished.stderr


def fail(options):
    """Raise the error that the value of ``pairs`` selects."""
    errors = [None, InputError("wrong"), RunError("full"), KeyError("bug"), SystemExit(1), SystemExit("text")]
    if error := (*errors, SystemExit(130))[options.pairs]:
        raise error


def test_all_failures_are_reported(capsys):
    seen = []

    def run(options: plan.Options):
        seen.append(list(options.line.arguments))
        fail(options)

    with pytest.raises(SystemExit) as end:
        app.main("plan", run, ["-m", "pairs=1,2,3,4,5,0"])
    assert end.value.code == 2
    assert seen[-1] == ["pairs=0"]
    error = capsys.readouterr().err
    assert "designspace.plan: wrong\ndesignspace.plan: full\n" in error
    assert "KeyError: 'bug'" in error
    assert "5 of 6 combinations failed:\n  pairs=1\n  pairs=2\n" in error


def test_stopping_one_combination_stops_all(monkeypatch):
    seen = []

    def run(options: plan.Options):
        seen.append(list(options.line.arguments))
        fail(options)

    with pytest.raises(SystemExit) as end:
        app.main("plan", run, ["-m", "pairs=0,6,0"])
    assert (end.value.code, len(seen)) == (130, 2)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as end:
        app.main("plan", run, ["-m", "pairs=0,0"])
    assert (end.value.code, len(seen)) == (2, 2)


def test_nothing_runs_if_a_combination_is_invalid():
    def run(options: plan.Options):
        raise AssertionError

    with pytest.raises(SystemExit) as end:
        app.main("sample", run, ["-m", "space=RegNetX,RegNetZ"])
    assert end.value.code == 2
