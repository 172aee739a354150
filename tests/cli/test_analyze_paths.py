"""The runs that `analyze` finds at the given paths, and tables that a spreadsheet has saved."""

import os
import shutil

import pytest

from designspace import analyze
from designspace.spaces import catalog
from designspace.spaces.population import POPULATION_FILE
from designspace.support.errors import InputError, RunError
from designspace.sweeps.status import run_status
from designspace.trials.folder import RunFolder


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("sampled") / "a")
    folder.create(catalog.space("AnyNetXB").sample(3), {})
    return folder.path


@pytest.fixture
def runs(sampled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(sampled, tmp_path / "runs" / name)
    (tmp_path / "runs" / "figures").mkdir()
    (tmp_path / "runs" / "report.html").write_text("")
    return tmp_path / "runs"


@pytest.mark.parametrize("paths", [["runs"], ["runs/*"], ["runs/a", "runs/b"], ["runs", "runs/a"], ["{runs}/*"]])
def test_folders_of_runs_and_patterns_are_found(runs, paths):
    patterns = [analyze.Path(text.format(runs=runs)) for text in paths]
    assert [run.path.resolve() for run in analyze.runs_at(patterns)] == [runs / "a", runs / "b"]


@pytest.mark.parametrize("path", ["none/*", "runs/figures", "runs/f*"])
def test_a_path_without_a_run_is_an_error(runs, path):
    with pytest.raises(InputError, match="no run folder|is not a run folder and holds none"):
        analyze.runs_at([analyze.Path(path)])


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("separator", [b",", b";", b"\t"])
@pytest.mark.parametrize("quote", [b"", b'"'])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_population_that_a_spreadsheet_saved_is_read(runs, mark, separator, quote, end):
    folder = RunFolder(runs / "a")
    before, path = folder.population(), folder.path / POPULATION_FILE
    rows = [line.split(b",") for line in path.read_bytes().splitlines()]
    lines = [separator.join(quote + cell + quote for cell in row) for row in rows]
    path.write_bytes(mark + end.join(lines) + end)
    assert folder.population() == before
    assert folder.ids() == before.ids
    assert run_status(folder).total == 3


@pytest.mark.parametrize("changed", ["1.23457E+11", "12345678901", "inf"])
def test_ids_that_a_spreadsheet_changed_are_reported(runs, changed):
    path = runs / "a" / POPULATION_FILE
    lines = path.read_text().splitlines()
    lines[2] = ",".join([changed, *lines[2].split(",")[1:]])
    path.write_text("\n".join(lines) + "\n")
    for read in (RunFolder.population, RunFolder.ids):
        with pytest.raises(RunError, match="line 3: .* a spreadsheet changes ids that look like numbers"):
            read(RunFolder(runs / "a"))


HOSTILE = [b"", b"\0", b"\xff\xfe", b"[" * 10_000, b"1.5", b"[1]", b"null", b'"x"', b"x" * 40_000_000, None]


def message_of(read):
    """Return the message of the `RunError` that a function raises, or an empty text."""
    try:
        read()
    except RunError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["space.yaml", "sampling.json", "population.csv", "recipe.yaml", "provenance.json"])
def test_any_content_of_a_file_gives_a_short_error(runs, name, content, monkeypatch):
    monkeypatch.setattr("designspace.trials.folder.REPLACING_S", 0)
    folder = RunFolder(runs / "a")
    path = folder.path / name
    path.unlink(missing_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    for read in (folder.population, folder.ids, folder.space, folder.plan, folder.provenance, folder.gather):
        assert len(message_of(read)) < 600
