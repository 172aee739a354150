"""The help: the list of commands, and the help of each command."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from designspace.__main__ import GROUPS, commands, overview
from designspace.cli import app
from designspace.cli.config_files import ConfigFiles
from designspace.cli.examples import EXAMPLES
from designspace.cli.help import help_text
from designspace.support.errors import InputError

ROOT = Path(__file__).parents[2]


def designspace(*arguments, cwd):
    return subprocess.run([sys.executable, "-m", "designspace", *arguments], cwd=cwd, capture_output=True, text=True)


def test_the_overview_lists_all_commands_in_order():
    assert set(commands()) == {path.stem for path in (ROOT / "configs").glob("*.yaml")} == set(EXAMPLES)
    names = [name for group in GROUPS.values() for name in group]
    positions = [overview().index(f"\n  {name} ") for name in names]
    assert positions == sorted(positions)
    assert all(len(line) <= 80 for line in overview().splitlines())


def test_the_name_of_a_command_runs_it(tmp_path):
    finished = designspace("sample", "space=RegNetX", "input=fashion_mnist", "n=2", "run=a b", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "a b" / "population.csv").is_file()
    assert "python -m designspace.launch 'run=a b'" in finished.stdout
    rejected = designspace("sample", "n=0", cwd=tmp_path)
    assert rejected.returncode == 2
    assert rejected.stderr.startswith("designspace.sample: n must be")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_without_a_command_the_commands_are_listed(arguments, tmp_path):
    finished = designspace(*arguments, cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (0, overview() + "\n")


def test_an_unknown_command_gives_the_closest_name(tmp_path):
    finished = designspace("lanch", "run=x", cwd=tmp_path)
    assert finished.returncode == 2
    assert "unknown command 'lanch'; did you mean launch?" in finished.stderr


@pytest.mark.parametrize("arguments", [("--version",), ("sample", "--version")])
def test_the_version_is_printed(arguments, tmp_path):
    finished = designspace(*arguments, cwd=tmp_path)
    assert (finished.returncode, finished.stdout.split()[0]) == (0, "network-design-spaces")


def test_there_is_a_console_script():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["designspace"].partition(":")
    assert callable(getattr(import_module(module), function))


def keys_of(name):
    """Return the keys that users can set, without names that only repeat the choice from a group."""
    keys = [
        key
        for key in app.known_keys(name)
        if key not in ("data", "launcher", "limit", "recipe", "space", "stop", "refine", "budget")
    ]
    return [key for key in keys if not key.endswith(".name")]


@pytest.mark.parametrize("name", commands())
def test_help_shows_every_key_with_its_full_name_and_hides_hydra(name):
    text = help_text(name)
    assert text.startswith(f"usage: python -m designspace.{name} ")
    for key in keys_of(name):
        assert re.search(rf"^  {re.escape(key)}=", text, re.M), key
    for text_of_hydra in ("defaults:", "_self_", "@package", "_here_", "???", "${", "--cfg"):
        assert text_of_hydra not in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("name", commands())
def test_examples_in_the_help_are_valid(name):
    assert len(EXAMPLES[name]) == 3
    for example in EXAMPLES[name]:
        assert f"python -m designspace.{name} {example}" in help_text(name)
        app.compose(name, shlex.split(example))


def test_help_shows_the_keys_of_the_choice():
    assert "launcher.partition=" not in help_text("launch", ["--help"])
    slurm = help_text("launch", ["--help", "launcher=slurm"])
    assert "launcher.partition=null" in slurm
    assert "launcher=... chooses where trials run (default: local):" in slurm
    with pytest.raises(InputError, match=r"unknown launcher 'slrm'; did you mean slurm\?"):
        help_text("launch", ["--help", "launcher=slrm"])


def test_help_describes_every_choice():
    text = help_text("sample")
    for option in ConfigFiles().options("space"):
        assert re.search(rf"^  {option} +\S", text, re.M), option
