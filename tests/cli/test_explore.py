"""The populations that `explore` samples, without training."""

import json

import patterns
import pytest

from designspace import explore, sample
from designspace.cli import app
from designspace.spaces import catalog
from designspace.spaces.population_files import read_population, read_seed
from designspace.spaces.seeds import independent_seed
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder

SPACE = [*patterns.INPUT, "space.stem_width=16", "space.flops=[2e5,6e5]"]
"""Options that `explore` chooses for the images of `patterns`, except for the budget."""


@pytest.fixture
def study(tmp_path, monkeypatch, data_root):
    """Return a function that runs `explore` for two spaces with further arguments; returns the seed of the training."""
    trained = []
    monkeypatch.setattr("designspace.launch.train", lambda plans, *_, **__: trained.extend(plans.values()))
    monkeypatch.setattr("designspace.analyze.show", lambda *_, **__: None)

    def run(*more):
        arguments = ["name=study", f"run={tmp_path}", "spaces=[AnyNetXA,RegNetX]", "experiment=quickstart", "n=3",
                     "data=patterns", f"data.root={data_root}", "space.flops=[2e5,6e5]", *more]  # fmt: skip
        explore.run(app.options(explore.Options, "explore", arguments))
        return trained[-1].seed

    return run


def spaces():
    settings = app.compose("sample", SPACE)["space"]
    return [catalog.space(**{**settings, "name": name}) for name in ("AnyNetXA", "RegNetX")]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_each_population_has_its_own_seed_and_sample_reproduces_it(study, tmp_path):
    assert study("seed=5") == 5  # the seed of the training
    for space in spaces():
        population = read_population(tmp_path / space.name)
        assert population.space == space
        assert population.seed == independent_seed(space, 5) == read_seed(tmp_path / space.name)
        arguments = [f"space={space.name}", *SPACE, "n=3",
                     f"seed={population.seed}", f"run={tmp_path / 'again'}"]  # fmt: skip
        sample.run(app.options(sample.Options, "sample", arguments))
        again = tmp_path / "again"
        assert (again / "population.csv").read_bytes() == (tmp_path / space.name / "population.csv").read_bytes()
        for path in again.iterdir():
            path.unlink()


def test_the_same_command_resumes_a_study_and_a_larger_n_extends_it(study, tmp_path):
    study()
    before = {space.name: files(tmp_path / space.name) for space in spaces()}
    study()
    assert {space.name: files(tmp_path / space.name) for space in spaces()} == before
    ids = {space.name: RunFolder(tmp_path / space.name).ids() for space in spaces()}
    study("n=5")
    for space in spaces():
        assert RunFolder(tmp_path / space.name).ids()[:3] == ids[space.name]
        assert len(RunFolder(tmp_path / space.name).ids()) == 5
    with pytest.raises(InputError, match="already holds another population"):
        study("seed=1")


def test_a_study_of_an_earlier_version_keeps_its_seed(study, tmp_path, capsys):
    """Its runs use the given seed itself; a space that is added later has its own seed."""
    for space in spaces():
        RunFolder(tmp_path / space.name).create(space.sample(3, seed=0), {})
    before = {space.name: files(tmp_path / space.name)["population.csv"] for space in spaces()}
    study()
    assert {space.name: files(tmp_path / space.name)["population.csv"] for space in spaces()} == before
    study("n=5", "spaces=[AnyNetXA,RegNetX,AnyNetXE]")
    for space in spaces():
        assert read_population(tmp_path / space.name).ids == space.sample(5, seed=0).ids
    assert json.loads((tmp_path / "AnyNetXE" / "sampling.json").read_text())["seed"] > 2**32
    output = capsys.readouterr().out
    assert "an earlier version sampled AnyNetXA, RegNetX with the same seed" in output
    assert "a new study (name=...) samples each with its own seed" in output


def test_sample_names_a_run_with_the_same_random_numbers(tmp_path, capsys):
    def notes(*more):
        arguments = ["n=2", "input=fashion_mnist", *more]
        sample.run(app.options(sample.Options, "sample", arguments))
        return [line for line in capsys.readouterr().out.splitlines() if "share random numbers" in line]

    assert notes("space=RegNetX", f"run={tmp_path}/a") == []
    [line] = notes("space=RegNetY", f"run={tmp_path}/b")
    assert line.startswith(f"note: {tmp_path}/a was also sampled with seed 0, from another space")
    seed = int(line.rpartition("seed=")[2])
    assert notes("space=RegNetY", f"run={tmp_path}/c", f"seed={seed}") == []
    assert notes("space=RegNetX", f"run={tmp_path}/other/d") == []


def test_sample_prints_a_note_about_many_duplicates(tmp_path, capsys):
    def notes(*more):
        arguments = ["n=150", "space=RegNetX", "input=fashion_mnist", "space.flops=[2e6,3.5e6]", *more]
        sample.run(app.options(sample.Options, "sample", arguments))
        return [line for line in capsys.readouterr().out.splitlines() if "flatter than the distribution" in line]

    assert notes(f"run={tmp_path}/few") == []
    [line] = notes(f"run={tmp_path}/many", "regime=auto", "n=700")
    population = read_population(tmp_path / "many")
    duplicates = population.columns["draws"].sum() - len(population)
    assert line.startswith(f"note: {duplicates / population.columns['draws'].sum():.0%} of the accepted draws repeated")
    assert "edf(results.errors(), results.draws())" in line


def test_the_distribution_of_pycls_is_used_and_recorded(tmp_path):
    arguments = ["space=AnyNetXA", "space.law=pycls", "n=20", f"run={tmp_path}/pycls"]
    sample.run(app.options(sample.Options, "sample", arguments))
    space = read_population(tmp_path / "pycls").space
    assert (space.axes.depth.law, space.axes.width.law, space.axes.group_width.law) == ("pycls", "pycls", None)
