"""The column that counts the draws of each network of a population."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest

from designspace.analysis.edf import edf
from designspace.networks.blocks.widths import compatible_widths
from designspace.networks.network import Stem
from designspace.spaces.axes import choice, log_uniform
from designspace.spaces.constraints import Order
from designspace.spaces.drawing import draw_block
from designspace.spaces.identity import Identifier
from designspace.spaces.parameters import AnyNetAxes
from designspace.spaces.population import DRAWS, DUPLICATE, Population
from designspace.spaces.population_files import read_population
from designspace.spaces.space import DesignSpace
from designspace.spaces.streams import Streams
from designspace.spaces.template import Template
from designspace.support.errors import RunError
from designspace.trials.folder import RunFolder
from designspace.trials.merge import merge

AXES = AnyNetAxes(log_uniform(1, 6), log_uniform(8, 64, 8), choice([1, 2]), choice([4, 16]))
SMALL = DesignSpace("small", AXES, Template(stem=Stem("cifar", 8), strides=(2, 2), resolution=8)).refine(
    Order("bottleneck_ratio", "shared"), Order("group_width", "shared")
)


def distribution(space):
    """Return the multiply-adds and the probability of every setting of the small space."""
    axes = (AXES.depth, AXES.depth, AXES.width, AXES.width, AXES.bottleneck_ratio, AXES.group_width)
    grids = [list(zip(axis.values.tolist(), axis.probabilities, strict=True)) for axis in axes]
    settings = list(itertools.product(*grids))
    d1, d2, w1, w2, b, g = np.array([[value for value, _ in setting] for setting in settings]).T.astype(np.int64)
    columns = {"d1": d1, "d2": d2, "b1": b, "b2": b, "radix": np.zeros_like(b)}
    for i, width in (("1", w1), ("2", w2)):
        columns[f"w{i}"], columns[f"g{i}"] = compatible_widths(width, b, g)
    probabilities = np.array([np.prod([p for _, p in setting]) for setting in settings])
    return space.complexity(columns).flops, probabilities


def test_draws_count_the_accepted_draws_up_to_the_last_network():
    population = SMALL.sample(300, seed=2)
    drawn = list(Identifier(SMALL).ids(draw_block(SMALL, Streams(2), population.drawn).accepted))
    counts = Counter(drawn)
    assert tuple(counts) == population.ids
    assert population.columns[DRAWS].tolist() == list(counts.values())
    assert population.columns[DRAWS].sum() == len(population) + population.rejected[DUPLICATE] == population.drawn
    assert population.columns[DRAWS][-1] == 1
    assert population.columns[DRAWS].max() > 1


def test_draws_do_not_decrease_in_a_larger_population(monkeypatch):
    small, large = SMALL.sample(100, seed=4), SMALL.sample(300, seed=4)
    assert large.ids[:100] == small.ids
    more = large.columns[DRAWS][:100] - small.columns[DRAWS]
    assert more.min() == 0
    assert more.max() > 0
    monkeypatch.setattr("designspace.spaces.sampling.BLOCK_SIZE", 37)
    assert SMALL.sample(300, seed=4) == large


def test_edf_weighted_by_draws_is_that_of_the_space():
    """The exact EDF is known from all settings; the unweighted one stays far from it for any number of networks."""
    flops, probabilities = distribution(SMALL)
    scale = flops.max() / 100
    exact = edf(flops / scale, probabilities)
    for seed in range(5):
        population = SMALL.sample(1000, seed=seed)
        assert population.rejected[DUPLICATE] > 0.3 * population.columns[DRAWS].sum()
        errors = population.columns["flops"] / scale
        at = flops / scale
        weighted, unweighted = (
            abs(exact(at) - edf(errors, weights)(at)).max() for weights in (population.columns[DRAWS], None)
        )
        assert weighted < 0.05 < 0.1 < unweighted


def test_draws_are_part_of_slices_tables_and_files(tmp_path):
    population = SMALL.sample(50, seed=1)
    draws = population.columns[DRAWS].tolist()
    assert population[10:20].columns[DRAWS].tolist() == draws[10:20]
    assert population.to_frame()[DRAWS].tolist() == draws
    run = RunFolder(tmp_path / "run")
    run.create(population, {})
    assert (tmp_path / "run" / "population.csv").read_text().splitlines()[0].endswith(",activations,draws")
    assert read_population(tmp_path / "run") == population
    gathered = run.gather()
    assert [row[gathered.header.index(DRAWS)] for row in gathered.rows] == draws


def without_draws(population):
    """Return the population as written by versions before the column."""
    columns = {name: column for name, column in population.columns.items() if name != DRAWS}
    return Population(population.space, population.seed, population.ids, columns, population.drawn, population.rejected)


def test_folder_of_an_earlier_version_is_read_and_stays_without_draws(tmp_path):
    """Extending it adds no column either, because a launch of that version may be reading the table."""
    run = RunFolder(tmp_path)
    run.create(without_draws(SMALL.sample(50, seed=1)), {})
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert DRAWS not in run.population().columns
    assert run.create(SMALL.sample(50, seed=1), {"again": True}) == run.population()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert run.create(SMALL.sample(70, seed=1), {}) == without_draws(SMALL.sample(70, seed=1)) == run.population()
    assert DRAWS not in run.gather().header


def test_extending_a_folder_counts_draws_again(tmp_path):
    run = RunFolder(tmp_path)
    run.create(SMALL.sample(50, seed=1), {})
    run.create(SMALL.sample(200, seed=1), {})
    assert run.population() == SMALL.sample(200, seed=1)
    assert SMALL.sample(200, seed=1) != without_draws(SMALL.sample(200, seed=1))


def test_folders_with_and_without_draws_can_be_merged(tmp_path):
    old, new, target = (RunFolder(tmp_path / name) for name in ("old", "new", "target"))
    old.create(without_draws(SMALL.sample(50, seed=1)), {})
    new.create(SMALL.sample(80, seed=1), {})
    merge(target, [old, new], {})
    assert target.population() == without_draws(SMALL.sample(80, seed=1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",1", ",0", "column draws: 0 is not a whole number >= 1; the file was changed"),
        (",1", ",1.5", "column draws: 1.5 is not a whole number >= 1; the file was changed"),
        (",1", ",2", r"column draws: the sum is \d+, but sampling.json says \d+: 50 networks and \d+ duplicates"),
    ],
)
def test_impossible_draws_are_rejected(tmp_path, old, new, message):
    SMALL.sample(50, seed=1).write(tmp_path)
    path = tmp_path / "population.csv"
    text = path.read_text().rstrip("\n")
    assert text.endswith(old)  # the last network was drawn once
    path.write_text(text.removesuffix(old) + new + "\n")
    with pytest.raises(RunError, match=message):
        read_population(tmp_path)


def test_whole_numbers_with_a_decimal_point_are_read(tmp_path):
    population = SMALL.sample(50, seed=1)
    population.write(tmp_path)
    path = tmp_path / "population.csv"
    path.write_text(
        "\n".join(f"{line}.0" if i else line for i, line in enumerate(path.read_text().splitlines())) + "\n"
    )
    assert read_population(tmp_path) == population


def test_interrupted_extension_can_be_read(tmp_path):
    """A sampling.json of both populations fits the old and the new table."""
    small, large = SMALL.sample(50, seed=1), SMALL.sample(80, seed=1)
    small.write(tmp_path)
    record = {**large._sampling_record(), "extends": small._sampling_record()}
    (tmp_path / "sampling.json").write_text(json.dumps(record))
    assert read_population(tmp_path) == small
    (tmp_path / "population.csv").write_text(large.to_csv())
    assert read_population(tmp_path) == large
