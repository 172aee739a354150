import json
from pathlib import Path

import pandas as pd
import pytest

from designspace.spaces import catalog
from designspace.spaces.population_files import read_population
from designspace.support.errors import RunError


@pytest.fixture(scope="module", params=["AnyNetXB", "RegNetY"])
def population(request):
    return catalog.space(request.param, radix=[0, 2], flops=(360e6, 400e6)).sample(20, seed=1)


def test_it_reads_back_equal_and_writes_the_same_bytes(population, tmp_path):
    population.write(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"population.csv", "space.yaml", "sampling.json"}
    again = read_population(tmp_path)
    assert again == population
    assert list(again) == list(population)
    again.write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_the_table_opens_with_no_knowledge_of_ours(population, tmp_path):
    population.write(tmp_path)
    table = pd.read_csv(tmp_path / "population.csv")
    expected = ["id", *(f"{letter}{i}" for letter in "dwbg" for i in (1, 2, 3, 4))]
    assert list(table.columns)[:17] == expected
    assert {"radix", "flops", "params", "activations", "draws"} <= set(table.columns)
    assert table["flops"].between(360e6, 400e6).all()
    assert table.drop(columns=["id", "w_a", "w_m"], errors="ignore").dtypes.eq("int64").all()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["population.csv", "space.yaml", "sampling.json"])
def test_a_file_cut_in_half_is_named(population, tmp_path, name):
    population.write(tmp_path)
    cut(tmp_path / name)
    with pytest.raises(RunError, match=name):
        read_population(tmp_path)


def test_a_table_cut_between_two_lines_is_noticed(population, tmp_path):
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:10]))
    with pytest.raises(RunError, match="holds 9 networks, but sampling.json says 20"):
        read_population(tmp_path)


def test_an_edited_row_is_noticed(population, tmp_path):
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    lines = path.read_text().splitlines()
    fields = lines[3].split(",")
    fields[1] = str(int(fields[1]) + 1)
    lines[3] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match="line 4: the row is not the network"):
        read_population(tmp_path)


def test_a_row_that_is_no_network_is_noticed(population, tmp_path):
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    lines = path.read_text().splitlines()
    fields = lines[5].split(",")
    fields[1] = "0"
    lines[5] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match="line 6: depth must be a whole number >= 1, not 0; the file was changed"):
        read_population(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line + ",1", "line 3: 2. fields where 2. are needed; it may be cut off"),
        (lambda line: "", "line 3: 0 fields where 2. are needed"),
        (
            lambda line: line.rpartition(",")[0] + ",many",
            "column draws: 'many' is not a number",
        ),
    ],
    ids=["one field more", "empty line", "no number"],
)
def test_a_broken_line_is_named(population, tmp_path, change, message):
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    lines = path.read_text().splitlines()
    lines[2] = change(lines[2])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=message):
        read_population(tmp_path)


def test_pieces_of_the_table_do_not_matter(population, tmp_path, monkeypatch):
    """Written and read a few lines at a time; numbers that are whole in some pieces only are read as what they are."""
    whole = population.to_csv()
    monkeypatch.setattr("designspace.spaces.population.CHUNK", 3)
    assert population.to_csv() == whole
    population.write(tmp_path)
    again = read_population(tmp_path)
    assert again == population
    assert {name: column.dtype for name, column in again.columns.items()} == {
        name: population.columns[name].dtype for name in population.column_names()
    }


def test_the_table_may_be_rewritten_by_other_programs(population, tmp_path):
    """Quotes and carriage returns, as spreadsheets and R write them."""
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    path.write_bytes(
        path.read_text().replace(population.ids[0], f'"{population.ids[0]}"').replace("\n", "\r\n").encode()
    )
    assert read_population(tmp_path) == population


def test_a_missing_population_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="sample one first"):
        read_population(tmp_path)


def test_the_story_of_the_drawing_is_kept(population, tmp_path):
    population.write(tmp_path)
    story = json.loads((tmp_path / "sampling.json").read_text())
    assert story["drawn"] == story["n"] + sum(story["rejected"].values())


@pytest.mark.parametrize("folder", sorted((Path(__file__).parents[1] / "fixtures" / "populations").iterdir()), ids=str)
def test_files_of_every_version_load_and_are_what_is_drawn_today(folder):
    """One folder for each format and kind of space, for ever: never change one, add one."""
    population = read_population(folder)
    assert population.space.sample(len(population), population.seed).ids == population.ids
    assert all(population.space.contains(network) for network in population)
