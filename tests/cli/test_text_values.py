"""Values of paths and names are read as text in all commands."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from designspace.cli import app, text_values
from designspace.support.errors import InputError
from designspace.support.text import command

NAMES = [
    *("20240115", "2024_01_15", "1e3", "5.", "true", "null", "42", "0x10", "1_000", "o'brien", "a,b", "a=b", 'x"y'),
    *(
        "[x]",
        "[a,b]",
        "{y}",
        "$z",
        "${n}",
        "with spaces",
        " around ",
        "back\\slash",
        "-x",
        "%j",
        "ä",
        "a#b",
        "x:y",
        "~",
    ),
    *("'quoted'", '"quoted"', "!x", "a;b", "@x", "+x", "~nobody_here", "..."),
]


def compose(name, *words):
    return app.compose(name, words)


def as_typed(name):
    """Return a name as it must be typed: as ./name if it would be read as a home folder, a quoted text or a list."""
    return f"./{name}" if name[0] in "~'\"[" else name


def read(argument):
    """Return the value of an argument."""
    [(_, value)] = text_values.split_arguments([argument], [])[0].items()
    return value


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_as_text(name):
    for key in ("run", "out", "to", "file", "root", "data.root"):
        assert Path(read(f"{key}={as_typed(name)}")) == Path(name)
    in_quotes = as_typed(name).replace('"', '\\"')
    for key in ("runs", "others", "from"):
        for item in (as_typed(name), f'["{in_quotes}"]'):
            assert [Path(path) for path in read(f"{key}={item}")] == [Path(name)]


def test_names_are_not_parsed_by_hydra():
    for name in ("2024_01_15", "${n}", "a\\", "x: {y}", "null", "0x10"):
        assert compose("status", f"run={name}")["run"] == name
        assert compose("sample", f"run={name}")["run"] == name
        assert compose("launch", "run=x", f"data.root={name}")["data"]["root"] == name


def test_printed_commands_preserve_names():
    """Commands in messages pass the same paths through bash, alone and in lists."""
    values_by_key = [{key: value} for name in map(Path, NAMES)
             for key, value in (("run", name), ("runs", [name]), ("runs", [Path("first"), name]))]  # fmt: skip
    script = "".join(f"printf '%s\\0' {command('x', **values)}\n" for values in values_by_key)
    echoed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    for argument, values in zip(echoed.split("\0")[3::4], values_by_key, strict=True):
        [value] = values.values()
        paths = read(argument)
        assert ([Path(path) for path in paths] if isinstance(value, list) else Path(paths)) == value


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for text in ("~/x", "'~/x'", '"~/x"'):
        assert compose("status", f"run={text}")["run"] == "/home/me/x"
        assert compose("analyze", f"runs=[{text},b]")["runs"] == ["/home/me/x", "b"]
        assert compose("prepare", f"data.root={text}", f"from={text}")["data"]["root"] == "/home/me/x"
    assert compose("launch", "run=x", "launcher=slurm", 'launcher.setup=["source ~/x"]')["launcher"]["setup"] == [
        "source ~/x"
    ]
    with pytest.raises(InputError, match=r"there is no user 'nobody_here' here; .* type run=\./~nobody_here"):
        compose("status", "run=~nobody_here")


def test_lists_are_split_at_commas():
    runs = lambda text: compose("analyze", f"runs={text}")["runs"]  # noqa: E731
    assert runs("[a,b]") == runs("[ a , b ]") == ["a", "b"]
    assert runs("a") == runs("[a]") == ["a"]
    assert runs("a,b") == ["a,b"]
    assert runs("['a,b',\"c]\",o'brien,x\"y,[z]]") == ["a,b", "c]", "o'brien", 'x"y', "[z]"]
    assert runs("[2024_01_15,1e3]") == ["2024_01_15", "1e3"]
    assert runs("[]") == []
    assert compose("explore", "spaces=RegNetX")["spaces"] == ["RegNetX"]
    assert compose("clean", "run=x", "delete=claims")["delete"] == ["claims"]


def test_null_means_no_name():
    assert compose("train", "id=null")["id"] is None
    assert compose("train", "id=60e881614052")["id"] == "60e881614052"
    assert compose("export", "to=x", "weights=true")["weights"] is True
    assert compose("export", "to=x", "weights=timm")["weights"] == "timm"
    assert compose("export", "to=x", "weights='true'")["weights"] == "true"
    assert compose("verify", "model=null")["model"] == "null"


def test_a_default_made_from_a_name_contains_its_text():
    assert compose("explore", "name=2024_01_15")["run"] == "runs/2024_01_15"
    assert compose("explore", "name=${seed}")["run"] == "runs/${seed}"


def test_invalid_arguments_are_rejected():
    for argument in ("run=a\x1b[2J", "run=caf\udce9", "run=a\nb", "run=a\u202eb", "run=a\rb"):
        with pytest.raises(InputError, match="control characters, or bytes that are not UTF-8"):
            compose("status", argument)
    for argument in ("~n", "~run=x", "run", "=x"):
        with pytest.raises(InputError, match="does not have the form key=value"):
            compose("status", argument)


def test_all_text_keys_exist():
    known = {key for name in ("sample", "launch", "explore", "verify", "export", "train", "retry", "status", "clean")
             for key in app.known_keys(name, ["launcher=slurm"] if name in ("launch", "explore") else [])}  # fmt: skip
    known |= {key for name in ("analyze", "collect", "prepare") for key in app.known_keys(name)}
    assert known >= text_values.PATHS | text_values.NAMES
    assert text_values.PATHS | text_values.NAMES >= text_values.LISTS


def test_a_number_in_a_name_is_not_converted(tmp_path):
    """A regression: analyze runs=[2024_01_15] once read the run 20240115."""

    def designspace(command, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", f"designspace.{command}", *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    assert designspace("sample", "space=RegNetX", "input=fashion_mnist", "n=1", "run=20240115")[0] == 0
    code, text = designspace("analyze", "runs=[2024_01_15]")
    assert code == 1
    assert "2024_01_15" in text
    assert "20240115" not in text
    shutil.move(tmp_path / "20240115", tmp_path / "~")
    assert designspace("status", "run=./~")[0] == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [("1e3", "1000"), ("2.5E2", "250"), ("1.5e0", "1.5e0"), ("1e-3", "1e-3"), ("1e999", "1e999")],
)
def test_a_whole_number_may_have_an_exponent(given, expected):
    assert text_values.split_arguments([f"n={given}"], ()) == ({}, [f"n={expected}"])
    assert text_values.split_arguments([f"run={given}"], ()) == ({"run": given}, [])


@pytest.mark.parametrize(
    ("given", "expected"),
    [("flops", ["flops"]), ("[flops,latency_cpu]", ["flops", "latency_cpu"]), ("auto", ["auto"]), ("null", None)],
)
def test_quantities_to_match_by_are_one_or_several_or_none(given, expected):
    assert text_values.split_arguments([f"match={given}"], ()) == ({"match": expected}, [])
