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


def test_population_reads_back_equal_and_writes_the_same_bytes(population, tmp_path):
    population.write(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"population.csv", "space.yaml", "sampling.json"}
    again = read_population(tmp_path)
    assert again == population
    assert list(again) == list(population)
    again.write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_table_can_be_opened_by_pandas_alone(population, tmp_path):
    population.write(tmp_path)
    table = pd.read_csv(tmp_path / "population.csv")
    expected = ["id", *(f"{letter}{i}" for letter in "dwbg" for i in (1, 2, 3, 4))]
    assert list(table.columns)[:17] == expected
    assert {"radix", "flops", "params", "activations", "draws"} <= set(table.columns)
    assert table["flops"].between(360e6, 400e6).all()
    assert table.drop(columns=["id", "w_a", "w_m"], errors="ignore").dtypes.eq("int64").all()


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["population.csv", "space.yaml", "sampling.json"])
def test_error_names_a_file_cut_in_half(population, tmp_path, name):
    population.write(tmp_path)
    cut_in_half(tmp_path / name)
    with pytest.raises(RunError, match=name):
        read_population(tmp_path)


def test_table_cut_between_two_lines_is_rejected(population, tmp_path):
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:10]))
    with pytest.raises(RunError, match="holds 9 networks, but sampling.json says 20"):
        read_population(tmp_path)


def test_edited_row_is_rejected(population, tmp_path):
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    lines = path.read_text().splitlines()
    fields = lines[3].split(",")
    fields[1] = str(int(fields[1]) + 1)
    lines[3] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match="line 4: the row is not the network"):
        read_population(tmp_path)


def test_row_that_is_not_a_network_is_rejected(population, tmp_path):
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
        (lambda line: line + ",1", "line 3: 2. fields instead of 2.; it may be cut off"),
        (lambda line: "", "line 3: 0 fields instead of 2."),
        (
            lambda line: line.rpartition(",")[0] + ",many",
            "column draws: 'many' is not a number",
        ),
    ],
    ids=["one field more", "empty line", "no number"],
)
def test_error_names_a_broken_line(population, tmp_path, change, message):
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    lines = path.read_text().splitlines()
    lines[2] = change(lines[2])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=message):
        read_population(tmp_path)


def test_table_does_not_depend_on_chunks(population, tmp_path, monkeypatch):
    """The table is written and read a few lines at a time; a column may be whole in some pieces and not in others."""
    whole = population.to_csv()
    monkeypatch.setattr("designspace.spaces.population.CHUNK", 3)
    assert population.to_csv() == whole
    population.write(tmp_path)
    again = read_population(tmp_path)
    assert again == population
    assert {name: column.dtype for name, column in again.columns.items()} == {
        name: population.columns[name].dtype for name in population.column_names()
    }


def test_table_rewritten_by_other_programs_is_read(population, tmp_path):
    """Spreadsheets and R write quotes and carriage returns."""
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    path.write_bytes(
        path.read_text().replace(population.ids[0], f'"{population.ids[0]}"').replace("\n", "\r\n").encode()
    )
    assert read_population(tmp_path) == population


def test_error_for_a_missing_population_suggests_sampling(tmp_path):
    with pytest.raises(RunError, match="sample one first"):
        read_population(tmp_path)


def test_sampling_record_counts_all_draws(population, tmp_path):
    population.write(tmp_path)
    record = json.loads((tmp_path / "sampling.json").read_text())
    assert record["drawn"] == record["n"] + sum(record["rejected"].values())


@pytest.mark.parametrize("folder", sorted((Path(__file__).parents[1] / "fixtures" / "populations").iterdir()), ids=str)
def test_files_of_every_version_load_and_equal_what_is_drawn_today(folder):
    """There is one folder per format and kind of space. Never change an existing folder; add a new one."""
    population = read_population(folder)
    assert population.space.sample(len(population), population.seed).ids == population.ids
    assert all(population.space.contains(network) for network in population)
