"""The options of a command: the types of their values, and which of them were given."""

import dataclasses
from pathlib import Path

import pytest

from designspace import analyze, clean, launch, prepare, status, train
from designspace.cli import app
from designspace.cli.config_files import configs_folder, read_config
from designspace.support.errors import InputError


def test_values_have_the_types_of_their_fields():
    options = app.options(prepare.Options, "prepare", ["data=folder", "from=a", "name=2020", "heldout=0.1"])
    assert (options.from_, options.name, options.heldout, options.size) == ((Path("a"),), "2020", 0.1, None)
    assert (options.check, options.data.root, options.data.name) == (True, None, None)
    assert app.options(clean.Options, "clean", ["run=x", "delete=claims"]).delete == ("claims",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.size = 5


def test_a_path_in_a_file_of_the_user_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("name: fashion_mnist\nroot: ~/sets\n")
    arguments = [f"--config-dir={tmp_path}", "data=mine"]
    assert app.options(prepare.Options, "prepare", arguments).data.root == tmp_path / "sets"
    assert app.options(launch.Options, "launch", ["run=./~x"]).run == Path("~x")


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "message"),
    [
        (launch.Options, "launch", ["run=x", "wait=maybe"], "wait must be true or false, not 'maybe'"),
        (launch.Options, "launch", ["run=x", "seed=1.5"], "seed must be a whole number >= 0, not 1.5"),
        (launch.Options, "launch", ["run=x", "launcher.workers=two"], r"launcher.workers \(or null\) must be a whole"),
        (analyze.Options, "analyze", ["runs=x", "margin=wide"], "margin must be a number, not 'wide'"),
        (analyze.Options, "analyze", ["runs=x", "failures=none"], "unknown treatment of failures 'none'; choose from:"),
        (status.Options, "status", ["run=x", "watch=1"], "watch must be true or false, not 1"),
        (prepare.Options, "prepare", ["size=[8]"], r"size must be a whole number, not \[8\]"),
    ],
)
def test_a_value_of_the_wrong_type_is_rejected(kind, name, arguments, message):
    with pytest.raises(InputError, match=message):
        app.options(kind, name, arguments)


def test_options_know_which_values_were_given():
    options = app.options(launch.Options, "launch", ["run=x", "recipe=quick", "recipe.lr=0.5"])
    assert options.is_given("seed", "recipe.lr")
    assert not options.is_given("seed")
    assert (options.chosen("recipe"), options.chosen("launcher")) == ("quick", "local")
    assert (options.recipe["lr"], options.choice_values("recipe")["lr"]) == (0.5, 0.2)


def test_the_values_of_a_choice_are_known_beside_given_values(tmp_path):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("defaults: [quick]\nbatch_size: 32\n")
    arguments = [f"--config-dir={tmp_path}", "model=m", "recipe=mine", "recipe.batch_size=8"]
    options = app.options(train.Options, "train", arguments)
    assert (options.recipe["batch_size"], options.choice_values("recipe")["batch_size"]) == (8, 32)


@pytest.mark.parametrize("path", sorted(configs_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_of_a_command_is_a_field(path):
    command = __import__(f"designspace.{path.stem}", fromlist=["Options"])
    fields = {field.name.rstrip("_") for field in dataclasses.fields(command.Options)}
    assert set(read_config(path)) - {"defaults"} <= fields
