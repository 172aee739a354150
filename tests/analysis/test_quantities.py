from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from populations import make_table

from designspace.analysis.planes import plane
from designspace.analysis.quantities import (
    available,
    counted_errors,
    parameters_of,
    quantity,
    values,
    varying_quantities,
)
from designspace.analysis.results import Results
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart"


def results_of(columns, errors=None, **others):
    """Return results with given columns; the other columns are those of `make_table`."""
    rows = len(next(iter(columns.values())))
    table = make_table(np.linspace(30, 40, rows) if errors is None else errors, **others)
    for name, column in columns.items():
        table[name] = np.asarray(column, float)
    return Results.from_table("A", table, num_classes=10)


def quickstart(name):
    return Results.read(RunFolder(QUICKSTART / name))


def names(quantities):
    return [item.name for item in quantities]


def test_depth_and_widths_are_those_of_the_blocks():
    results = results_of({"d1": [1, 2], "d2": [3, 0], "d3": [4, np.nan], "d4": [2, np.nan], "w4": [100, np.nan]})
    assert values(results, "d").tolist() == [10, 2]
    assert values(results, "depth").tolist() == [10, 2]
    assert values(results, "stages").tolist() == [4, 1]
    assert values(results, "w_mean").tolist() == [(32 + 3 * 64 + 4 * 160 + 2 * 100) / 10, 32]
    assert values(results, "w_last").tolist() == [100, 32]
    assert values(results, "w4")[0] == 100
    assert np.isnan(values(results, "w4")[1])


def test_a_shared_group_width_may_be_cut_to_a_narrow_stage():
    # The inner widths are 16, 32, 80 and 192: a group width of 32 is cut to 16 in the first; 24 is inconsistent.
    shared = {"b1": [2, 2], "b2": [2, 2], "b3": [2, 2], "b4": [2, 2]}
    results = results_of({**shared, "g1": [16, 16], "g2": [32, 24], "g3": [32, 32], "g4": [32, 32]})
    assert values(results, "g")[0] == 32
    assert np.isnan(values(results, "g")[1])
    assert values(results, "b").tolist() == [2, 2]


def test_quantities_that_vary_are_listed_once():
    ratios = {f"b{stage}": [1, 2, 4] for stage in range(1, 5)}
    results = results_of({**ratios, "d2": [1, 2, 3]})
    assert names(varying_quantities(results)) == ["d", "b", "w_mean", "d2", "flops"]
    assert names(parameters_of(results)) == ["b", "d2"]
    different = results_of({**ratios, "b4": [1, 1, 1], "d2": [1, 2, 3]})
    assert names(varying_quantities(different)) == ["d", "w_mean", "d2", "b1", "b2", "b3", "flops"]
    assert "train_s" in names(available(different))
    assert names(available(different, ["measured"])) == ["train_s"]


def test_the_degrees_of_freedom_of_real_spaces():
    each_stage = [f"{letter}{stage}" for letter in "dwbg" for stage in range(1, 5)]
    assert names(parameters_of(quickstart("AnyNetXA"))) == each_stage
    assert names(parameters_of(quickstart("AnyNetXE"))) == ["b", "g", *each_stage[:8]]
    assert names(parameters_of(quickstart("RegNetX"))) == ["d", "w_0", "w_a", "w_m", "b", "g"]


def test_shared_group_widths_of_a_real_space_are_powers_of_two_or_cut_in_all_stages():
    results = quickstart("RegNetX")
    table = results.table
    for group_width, row in zip(values(results, "g"), table.to_dict("records"), strict=True):
        inner = [row[f"w{stage}"] / row[f"b{stage}"] for stage in range(1, 5)]
        assert group_width in (1, 2, 4, 8, 16, 32) or group_width == max(inner)


def test_messages_for_unknown_quantities_list_the_known_ones():
    results = results_of({"d1": [1, 2]})
    with pytest.raises(InputError, match="unknown quantity 'colour'; choose from: d, stages, w_0"):
        quantity("colour")
    with pytest.raises(InputError, match="unknown quantity of A 'w_m'; choose from: d, stages, b, g, radix"):
        values(results, "w_m")
    with pytest.raises(InputError, match="unknown quantity of A 'd5'"):
        values(results, "d5")


def test_quantities_of_stages_have_labels_and_scales():
    assert quantity("w3").axis_label == "width w3"
    assert (quantity("w3").scale, quantity("d3").scale) == ("log", "linear")
    assert quantity("memory").axis_label == "training memory (B)"
    assert quantity(quantity("flops")) is quantity("flops")


def test_failed_trials_count_at_chance_and_unfinished_ones_do_not():
    results = results_of({"d1": [1, 2, 3, 4]}, errors=[30, 40], failed=[("diverged", "nan")], waiting=1)
    rows, errors = counted_errors(results)
    assert (rows.tolist(), errors.tolist()) == ([0, 1, 2], [30, 40, 90])
    rows, errors = counted_errors(results.with_failures("exclude"))
    assert (rows.tolist(), errors.tolist()) == ([0, 1], [30, 40])


def test_a_plane_ranks_errors_and_keeps_failures():
    results = results_of(
        {"d1": [1, 2, 3, 4, np.nan], "w1": [8, 16, 8, 8, 8]}, errors=[30, 40, 40, 20], failed=[("diverged", "")]
    )
    points = plane(results, "d1", "w1")
    assert points.ranks.tolist() == pytest.approx([1 / 3, 2.5 / 3, 2.5 / 3, 0])
    assert points.trials == tuple(results.table["trial"][:4])
    points = plane(results, "w1", "d2")
    assert points.failed.tolist() == [False] * 4 + [True]
    assert list(points.table().columns) == ["run", "trial", "w1", "d2", "error", "rank", "failed"]
