"""--multirun: a command for each combination of values."""

import subprocess
import sys

import pytest

from designspace import plan
from designspace.cli import app
from designspace.cli.command_line import read_command_line
from designspace.cli.multirun import combinations
from designspace.support.errors import InputError, RunError


def words_of(command, *words):
    """The words of each combination."""
    return [list(each.line.words) for each in combinations(command, read_command_line(["-m", *words]))]


def designspace(command, *words, cwd):
    return subprocess.run(
        [sys.executable, "-m", f"designspace.{command}", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_last_key_changes_fastest():
    assert words_of("plan", "effect=0.6,0.7", "pairs=range(1,3)") == [
        ["effect=0.6", "pairs=1"],
        ["effect=0.6", "pairs=2"],
        ["effect=0.7", "pairs=1"],
        ["effect=0.7", "pairs=2"],
    ]
    labels = [each.label for each in combinations("plan", read_command_line(["effect=0.6,0.7", "pairs=2"]))]
    assert labels == ["effect=0.6", "effect=0.7"]


@pytest.mark.parametrize(
    ("word", "values"),
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
def test_values_in_hydra_s_syntax(word, values):
    key = word.partition("=")[0]
    assert [words[-1] for words in words_of("sample", "count=true", word)] == [f"{key}={value}" for value in values]


def test_each_combination_has_a_folder_of_its_own():
    folders = lambda command, *words: [words[-1] for words in words_of(command, *words)]  # noqa: E731
    assert folders("sample", "space=RegNetX,RegNetY", "run=runs/x") == [
        "run=runs/x/space=RegNetX",
        "run=runs/x/space=RegNetY",
    ]
    assert folders("train", "model=m", "data=pets,cifar10", "seed=0,1", "out='a b'")[1] == "out=a b/data=pets,seed=1"
    assert folders("sample", "space.flops=[1e6,2e6],[2e6,4e6]", "run=x")[0] == "run=x/space.flops=1e6-2e6"
    assert folders("sample", "file=a/b.yaml,a-b.yaml", "run=x") == ["run=x/0", "run=x/1"]
    assert folders("sample", "n=2", "run=x,y") == ["run=x", "run=y"]
    assert folders("sample", "seed=1,2", "run=x,y")[1:3] == ["run=y/seed=1", "run=x/seed=2"]


def test_without_a_typed_folder_the_defaults_must_differ():
    assert words_of("sample", "space=RegNetX,RegNetY") == [["space=RegNetX"], ["space=RegNetY"]]
    assert words_of("sample", "space.radix=0,2", "count=true")
    with pytest.raises(InputError, match=r"would share a folder; type run=\.\.\., .* as run=runs/x for runs/x/seed=1"):
        words_of("sample", "seed=1,2")
    with pytest.raises(InputError, match=r"with different recipe\.lr=.* would share a folder; type out="):
        words_of("train", "model=a,b", "recipe.lr=0.1,0.2")


def test_one_run_is_not_launched_in_several_ways():
    with pytest.raises(InputError, match="several combinations would train the same run"):
        words_of("launch", "run=a", "recipe=quick,cifar")
    assert len(words_of("launch", "run=a", "recipe=quick,cifar", "dry_run=true")) == 2
    assert len(words_of("launch", "run=a,b", "recipe=quick")) == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("n=range(1,1e9)", "--multirun runs at most 1,000 combinations"),
        ("n=interval(1,2)", r"n=interval\(1,2\) is a range of real numbers; list values instead, as n=1,2,3"),
        ("space=glob(Nope*)", r"space=glob\(Nope\*\) matches nothing; choose from: AnyNeSt, "),
        ("n=a b,(", r"cannot read n=a b,\("),
    ],
)
def test_values_that_cannot_be_listed(word, message):
    with pytest.raises(InputError, match=message):
        words_of("sample", word)


def test_without_the_option_a_list_of_values_is_an_error_that_names_it():
    for word in ("seed=1,2", "seed=range(1,3)", "space=RegNetX,RegNetY"):
        with pytest.raises(InputError, match=r"cannot read .* add --multirun$"):
            app.compose("sample", [word])


def test_sample_draws_each_space(tmp_path):
    done = designspace("sample", "--multirun", "space=RegNetX,RegNetY", "n=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"RegNetX", "RegNetY"}
    assert done.stdout.index("[1/2] space=RegNetX\n") < done.stdout.index("[2/2] space=RegNetY\n")
    provenance = (tmp_path / "runs" / "RegNetY" / "provenance.json").read_text()
    assert "python -m designspace.sample space=RegNetY n=2" in provenance


def test_the_others_run_where_one_fails(tmp_path):
    assert designspace("sample", "n=2", "run=a", cwd=tmp_path).returncode == 0
    done = designspace("status", "-m", "run=a,nowhere,a", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.count("waiting") == 2
    assert done.stderr.endswith("designspace.status: 1 of 3 combinations failed:\n  run=nowhere\n")
    done = designspace("status", "run=a,nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "a,nowhere is not a run folder" in done.stderr
    assert "add --multirun" in done.stderr


def fail(options):
    """Fail in the way that the value of ``pairs`` says."""
    errors = [None, InputError("wrong"), RunError("full"), KeyError("bug"), SystemExit(1), SystemExit("text")]
    if error := (*errors, SystemExit(130))[options.pairs]:
        raise error


def test_all_failures_are_told(capsys):
    seen = []

    def run(options: plan.Options):
        seen.append(list(options.line.words))
        fail(options)

    with pytest.raises(SystemExit) as end:
        app.main("plan", run, ["-m", "pairs=1,2,3,4,5,0"])
    assert end.value.code == 2
    assert seen[-1] == ["pairs=0"]
    error = capsys.readouterr().err
    assert "designspace.plan: wrong\ndesignspace.plan: full\n" in error
    assert "KeyError: 'bug'" in error
    assert "5 of 6 combinations failed:\n  pairs=1\n  pairs=2\n" in error


def test_a_command_that_is_stopped_stops_all(monkeypatch):
    seen = []

    def run(options: plan.Options):
        seen.append(list(options.line.words))
        fail(options)

    with pytest.raises(SystemExit) as end:
        app.main("plan", run, ["-m", "pairs=0,6,0"])
    assert (end.value.code, len(seen)) == (130, 2)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as end:
        app.main("plan", run, ["-m", "pairs=0,0"])
    assert (end.value.code, len(seen)) == (2, 2)


def test_nothing_runs_if_a_combination_is_wrong():
    def run(options: plan.Options):
        raise AssertionError

    with pytest.raises(SystemExit) as end:
        app.main("sample", run, ["-m", "space=RegNetX,RegNetZ"])
    assert end.value.code == 2
