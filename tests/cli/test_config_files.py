"""The configuration files that commands choose from."""

import pytest

from designspace.cli import app
from designspace.cli.config_files import ConfigFiles, read_config
from designspace.support.errors import InputError


def test_default_choices_are_those_of_the_defaults_list():
    assert ConfigFiles().default_choices("launch") == {"recipe": "sweep", "data": "sampled", "launcher": "local"}
    assert ConfigFiles().default_choices("status") == {}
    assert app.chosen("train", "recipe", []) == "sweep"
    assert app.chosen("train", "recipe", ["recipe=quick", "seed=1"]) == "quick"


def test_an_experiment_may_choose_from_further_groups():
    assert ConfigFiles().groups("explore") == ["data", "experiment", "launcher"]
    assert ConfigFiles().choosable("explore") == ["data", "experiment", "launcher", "input@space", "recipe"]


@pytest.mark.parametrize(
    ("content", "message"), [("a: [1", "mine.yaml is not YAML"), ("- a", "mine.yaml must hold keys and values")]
)
def test_a_file_that_is_no_configuration_is_refused(content, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "mine.yaml")
