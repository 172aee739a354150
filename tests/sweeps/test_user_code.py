"""The user's own modules are kept with the code of a launch."""

import sys
from pathlib import Path

import pytest
from sweep_runs import launch, make_run

from designspace.support import imported, user_code
from designspace.sweeps import snapshot

TRAINER = """
import helpers
from kit import scale
import numpy, torch

def train(network, recipe, data, **options):
    from designspace.training import train
    result = train(network, recipe, data, **options)
    return helpers.changed(result, scale.FACTOR)
"""
HELPERS = """
import dataclasses

def changed(result, error):
    return dataclasses.replace(result, final_error=error, best_error=error)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on PYTHONPATH with a trainer, a module and a package that it uses, and other files."""
    folder = tmp_path / "mine"
    (folder / "kit").mkdir(parents=True)
    (folder / "trainers.py").write_text(TRAINER)
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "kit" / "__init__.py").write_text("")
    (folder / "kit" / "scale.py").write_text("FACTOR = 42.0\n")
    (folder / "kit" / "table.csv").write_text("1,2\n")
    (folder / "kit" / "images.npy").write_bytes(b"0" * (user_code.LARGEST_FILE + 1))
    (folder / "unrelated.py").write_text("raise SystemExit\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def test_the_files_that_a_module_needs_are_found_without_running_it(folder):
    expected = ["helpers.py", "kit/__init__.py", "kit/scale.py", "kit/table.csv", "trainers.py"]
    assert sorted(map(str, user_code.files_of(["trainers:train"]))) == expected
    (folder / "helpers.py").write_text("raise SystemExit\n")
    assert user_code.files_of(["trainers:train"])[Path("helpers.py")] == b"raise SystemExit\n"


@pytest.mark.parametrize("name", ["nowhere:train", "json:loads", "numpy.linalg:norm", "designspace.training:train"])
def test_installed_and_missing_modules_are_left_out(folder, name):
    assert user_code.files_of([name]) == {}


def test_commands_search_the_working_folder_last(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(folder)
    assert user_code.files_of(["trainers:train"]) == {}
    imported.search_working_folder()
    assert sys.path[-1] == str(folder)
    assert user_code.folder_of("trainers:train") == folder
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "trainers.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "earlier")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert user_code.folder_of("trainers:train") == tmp_path / "earlier"


def test_the_copy_depends_on_the_users_files(folder, tmp_path):
    plain = snapshot.snapshot(tmp_path / "code")
    first = snapshot.snapshot(tmp_path / "code", ["trainers:train"])
    assert (first / "trainers.py").read_text() == TRAINER
    assert snapshot.snapshot(tmp_path / "code", ["trainers:train"]) == first != plain
    (folder / "kit" / "scale.py").write_text("FACTOR = 43.0\n")
    assert snapshot.snapshot(tmp_path / "code", ["trainers:train"]) != first
    assert snapshot.snapshot(tmp_path / "code") == plain


def test_trials_are_trained_by_the_copy(folder, tmp_path, data_root):
    run = make_run(tmp_path / "run", n=2, epochs=1, trainer="trainers:train")
    assert launch(run, data_root).failed == 0
    results = run.gather()
    error = results.header.index("final_error")
    assert [row[error] for row in results.rows] == [42.0, 42.0]
    [code] = (run.path / "code").iterdir()
    assert (code / "kit" / "scale.py").read_text() == "FACTOR = 42.0\n"
