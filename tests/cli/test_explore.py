"""The populations that `explore` draws, with the training left out."""

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
"""What `explore` chooses for the images of `patterns`, but for the budget."""


@pytest.fixture
def study(tmp_path, monkeypatch, data_root):
    """Run `explore` for a study of two spaces with some more words typed; gives its folder."""
    trained = []
    monkeypatch.setattr("designspace.launch.train", lambda plans, *_, **__: trained.extend(plans.values()))
    monkeypatch.setattr("designspace.analyze.show", lambda *_: None)

    def run(*words):
        typed = ["name=study", f"run={tmp_path}", "spaces=[AnyNetXA,RegNetX]", "experiment=quickstart", "n=3",
                 "data=patterns", f"data.root={data_root}", "space.flops=[2e5,6e5]", *words]  # fmt: skip
        explore.run(app.options(explore.Options, "explore", typed))
        return trained[-1].seed

    return run


def spaces():
    settings = app.compose("sample", SPACE)["space"]
    return [catalog.space(**{**settings, "name": name}) for name in ("AnyNetXA", "RegNetX")]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_each_population_has_a_seed_of_its_own_and_sample_draws_it_again(study, tmp_path):
    assert study("seed=5") == 5  # the training's
    for space in spaces():
        population = read_population(tmp_path / space.name)
        assert population.space == space
        assert population.seed == independent_seed(space, 5) == read_seed(tmp_path / space.name)
        typed = [f"space={space.name}", *SPACE, "n=3",
                 f"seed={population.seed}", f"run={tmp_path / 'again'}"]  # fmt: skip
        sample.run(app.options(sample.Options, "sample", typed))
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
    """Its runs have the typed seed itself; a space that is added to it has a seed of its own."""
    for space in spaces():
        RunFolder(tmp_path / space.name).create(space.sample(3, seed=0), {})
    before = {space.name: files(tmp_path / space.name)["population.csv"] for space in spaces()}
    study()
    assert {space.name: files(tmp_path / space.name)["population.csv"] for space in spaces()} == before
    study("n=5", "spaces=[AnyNetXA,RegNetX,AnyNetXE]")
    for space in spaces():
        assert read_population(tmp_path / space.name).ids == space.sample(5, seed=0).ids
    assert json.loads((tmp_path / "AnyNetXE" / "sampling.json").read_text())["seed"] > 2**32
    said = capsys.readouterr().out
    assert "an earlier version drew AnyNetXA, RegNetX with one seed" in said
    assert "another study (name=...) draws each with a seed of its own" in said


def test_sample_says_which_run_shares_its_random_words(tmp_path, capsys):
    def draw(*words):
        typed = ["n=2", "input=fashion_mnist", *words]
        sample.run(app.options(sample.Options, "sample", typed))
        return [line for line in capsys.readouterr().out.splitlines() if "share random words" in line]

    assert draw("space=RegNetX", f"run={tmp_path}/a") == []
    [line] = draw("space=RegNetY", f"run={tmp_path}/b")
    assert line.startswith(f"note: {tmp_path}/a was drawn from another space with seed 0 too")
    seed = int(line.rpartition("seed=")[2])
    assert draw("space=RegNetY", f"run={tmp_path}/c", f"seed={seed}") == []
    assert draw("space=RegNetX", f"run={tmp_path}/other/d") == []


def test_sample_says_where_duplicates_matter(tmp_path, capsys):
    def draw(*words):
        typed = ["n=150", "space=RegNetX", "input=fashion_mnist", "space.flops=[2e6,3.5e6]", *words]
        sample.run(app.options(sample.Options, "sample", typed))
        return [line for line in capsys.readouterr().out.splitlines() if "flatter than the law" in line]

    assert draw(f"run={tmp_path}/few") == []
    [line] = draw(f"run={tmp_path}/many", "regime=auto", "n=700")
    population = read_population(tmp_path / "many")
    duplicates = population.columns["draws"].sum() - len(population)
    assert line.startswith(f"note: {duplicates / population.columns['draws'].sum():.0%} of the accepted draws gave")
    assert "edf(results.errors(), results.draws())" in line


def test_the_law_of_pycls_is_drawn_from_and_written(tmp_path):
    typed = ["space=AnyNetXA", "space.law=pycls", "n=20", f"run={tmp_path}/pycls"]
    sample.run(app.options(sample.Options, "sample", typed))
    space = read_population(tmp_path / "pycls").space
    assert (space.axes.depth.law, space.axes.width.law, space.axes.group_width.law) == ("pycls", "pycls", None)
