"""The configuration files that commands choose from."""

import subprocess
import sys

import pytest

from designspace.cli import app
from designspace.cli.command_line import read_command_line
from designspace.cli.config_files import ConfigFiles, read_config
from designspace.cli.help import help_text
from designspace.support.errors import InputError


def test_default_choices_are_those_of_the_defaults_list():
    assert ConfigFiles().default_choices("launch") == {"recipe": "sweep", "data": "sampled", "launcher": "local"}
    assert ConfigFiles().default_choices("status") == {}
    assert app.chosen("train", "recipe", []) == "sweep"
    assert app.chosen("train", "recipe", ["recipe=quick", "seed=1"]) == "quick"


def test_an_experiment_may_choose_from_further_groups():
    assert ConfigFiles().groups("explore") == ["data", "experiment", "launcher"]
    assert ConfigFiles().choice_keys("explore") == ["data", "experiment", "launcher", "input@space", "recipe"]


@pytest.mark.parametrize(
    ("content", "message"), [("a: [1", "mine.yaml is not YAML"), ("- a", "mine.yaml must contain keys and values")]
)
def test_a_file_that_is_not_a_configuration_is_rejected(content, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "mine.yaml")


@pytest.fixture(params=["my_configs", "o'brien, [my] configs"])
def user_folder(request, tmp_path, monkeypatch):
    """Name of a folder with configuration files of the user."""
    files = {
        "recipe/mine": "# Mine: few epochs.\ndefaults:\n  - quick\nepochs: 3\n",
        "space/narrow": "# Narrow networks.\ndefaults:\n  - /base/space@_here_\nname: RegNetX\nstem_width: 8\n",
        "launcher/night": "# This machine by night.\ndefaults:\n  - local\nworkers: 7\npatience: 1\n",
        "experiment/mine": "# @package _global_\n# Mine.\ndefaults:\n  - /input@space: cifar10\n  - /recipe: mine\n"
        "name: mine\nspaces: [RegNetX]\nn: 3\n",
    }
    for name, text in files.items():
        path = tmp_path / request.param / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return request.param


def test_files_of_the_user_can_be_chosen(user_folder):
    option = f"--config-dir={user_folder}"
    launched = app.compose("launch", [option, "run=x", "recipe=mine", "launcher=night"])
    assert (launched["recipe"]["epochs"], launched["recipe"]["batch_size"]) == (3, 64)
    assert launched["launcher"]["workers"] == 7
    assert (
        app.compose("launch", ["run=x", "recipe=mine", "recipe.epochs=4", "-cd", user_folder])["recipe"]["epochs"] == 4
    )
    assert app.compose("sample", ["space=narrow", "--config-dir", user_folder])["space"]["stem_width"] == 8
    assert app.compose("launch", [option, "run=x"])["recipe"]["epochs"] == 10
    explored = app.compose("explore", [option, "experiment=mine"])
    assert (explored["run"], explored["recipe"]["epochs"], explored["space"]["resolution"]) == ("runs/mine", 3, 32)
    assert app.chosen("explore", "experiment", [option]) == "quickstart"


def test_errors_and_help_list_files_of_the_user(user_folder):
    option = f"--config-dir={user_folder}"
    with pytest.raises(InputError, match=r"unknown recipe 'mien'; did you mean mine\? choose from: .*mine.*quick"):
        app.compose("launch", [option, "run=x", "recipe=mien"])
    with pytest.raises(InputError, match=r"'launcher.patience'; it needs launcher=night"):
        app.compose("launch", [option, "run=x", "launcher.patience=2"])
    text = help_text("launch", [option, "recipe=mine"])
    assert "\n  mine                Mine: few epochs\n" in text
    assert "\n  recipe.epochs=3 " in text
    assert "--config-dir FOLDER" in text
    assert "--config-dir" not in help_text("status")


def test_files_of_the_user_do_not_replace_those_of_the_project(user_folder, tmp_path):
    (tmp_path / user_folder / "recipe" / "quick.yaml").write_text("epochs: 1")
    with pytest.raises(
        InputError, match=r"recipe/quick\.yaml has the same name as one of designspace's own files; rename it"
    ):
        app.compose("launch", [f"--config-dir={user_folder}", "run=x", "recipe=quick"])


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    for arguments in (
        ["--config-dir=nowhere", "n=2"],
        ["n=2", "--config-dir", "nowhere"],
        ["--help", "-cd", "nowhere"],
    ):
        command = [sys.executable, "-m", "designspace.sample", *arguments]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (finished.returncode, finished.stdout) == (2, "")
        assert finished.stderr == "designspace.sample: --config-dir=nowhere: there is no such folder\n"
    with pytest.raises(InputError, match="--config-dir needs a folder, such as --config-dir my_configs"):
        read_command_line(["--config-dir"])


def test_a_command_line_with_options_can_be_read_again(user_folder, tmp_path):
    line = read_command_line(["n=2", "--config-dir", user_folder])
    assert line.all_arguments == [f"--config-dir={user_folder}", "n=2"]
    assert read_command_line(line.all_arguments) == line
    assert not app.is_given("n", line.all_arguments[:1])


def test_a_malformed_file_is_named(user_folder, tmp_path):
    (tmp_path / user_folder / "recipe" / "mine.yaml").write_text("epochs: [1\n")
    with pytest.raises(InputError, match=r"recipe/mine\.yaml is not YAML"):
        app.compose("launch", [f"--config-dir={user_folder}", "run=x", "recipe=mine"])
    (tmp_path / user_folder / "recipe" / "mine.yaml").write_text("defaults: [nothing]\n")
    with pytest.raises(InputError, match=r"recipe/nothing"):
        app.compose("launch", [f"--config-dir={user_folder}", "run=x", "recipe=mine"])
