from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table

from designspace.analysis.figures.drawing import Drawing
from designspace.analysis.papers import nds
from designspace.analysis.papers.panels import panel_edfs
from designspace.analysis.results import Results
from designspace.support.errors import InputError


def space(name, mean, n=60, **others):
    rng = np.random.default_rng(int(mean))
    results = make_results(name, rng.normal(mean, 2, n).round(2).tolist(), **others)
    results.table["flops"] = rng.uniform(1e6, 2e6, len(results.table)).round()
    results.table["params"] = rng.uniform(1e4, 9e4, len(results.table)).round()
    return results


def rerun(seeds=5, networks=9):
    rng = np.random.default_rng(0)
    true = rng.normal(30, 3, networks)
    tables = []
    for seed in range(seeds):
        table = make_table((true + rng.normal(0, 1, networks)).tolist())
        columns = {"seed": seed, "lr": 0.1 * 2**seed, "weight_decay": 1e-4, "run": f"s{seed}"}
        tables.append(table.assign(trial=table["id"] + f"@s{seed}", **columns))
    return Results("Reruns", pd.concat(tables, ignore_index=True), 90.0)


A, B = space("A", 30), space("B", 33)
HALF = space("Half", 31, n=20, failed=[("diverged", "loss is nan")], waiting=9)


def drawings():
    yield nds.point_estimates(A, (5, 50), repeats=200)
    yield nds.normalised_edfs([A, B])
    yield nds.complexity_histograms([A, B])
    yield nds.sample_size(A, repeats=20)
    yield nds.spaces_edf([A, B])
    yield nds.optimiser_settings([rerun()])
    yield nds.rerun_histograms(rerun())
    yield nds.binned_complexity([A, B])
    yield nds.data_sets({"one": [A, B], "other": [B]})


@pytest.fixture(scope="module")
def drawn():
    return list(drawings())


def test_each_figure_has_a_picture_numbers_and_a_caption(drawn, tmp_path):
    assert len({drawing.name for drawing in drawn}) == len(drawn)
    for drawing in drawn:
        assert isinstance(drawing, Drawing)
        assert not drawing.numbers.empty
        assert len(drawing.caption) > 40
        assert drawing.svg().count("<svg") == 1
    written = drawn[0].write(tmp_path)
    assert [path.suffix for path in written] == [".svg", ".pdf", ".png", ".csv"]
    again = drawn[0].write(tmp_path / "again")
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
    pd.testing.assert_frame_equal(pd.read_csv(written[3]), drawn[0].numbers)


def test_figures_of_an_unfinished_sweep_say_so():
    note = "Half: 21 of 30 trials finished, 1 of them failed, "
    for drawing in (
        nds.point_estimates(HALF, (5, 20), repeats=50),
        nds.normalised_edfs([A, HALF], bins=3),
        nds.complexity_histograms([A, HALF]),
        nds.sample_size(HALF, repeats=5),
        nds.spaces_edf([A, HALF]),
        nds.binned_complexity([A, HALF]),
        nds.data_sets({"one": [A], "other": [HALF, A]}),
    ):
        assert note in drawing.caption
        assert note.split(",")[0] in " ".join(drawing.figure.get_supxlabel().split())


def test_captions_agree_with_the_numbers():
    minima = nds.point_estimates(A, (10, 40), repeats=2000)
    drawn = minima.numbers[minima.numbers["panel"] == "minima"].pivot_table(
        index=minima.numbers.groupby("size").cumcount(), columns="size", values="min_error"
    )
    wins = (drawn[40] < drawn[10]).mean() + (drawn[40] == drawn[10]).mean() / 2
    assert f"in {100 * wins:.0f}% of the pairs" in minima.caption
    assert "Best on average: Reruns: lr" in nds.optimiser_settings([rerun()]).caption
    binned = nds.binned_complexity([A], bins=3).numbers
    assert binned.groupby("cost")["n"].sum().tolist() == [60, 60]


def test_normalising_removes_a_difference_due_to_complexity_alone():
    """Errors depend on multiply-adds alone, and one space has larger networks."""
    rng = np.random.default_rng(0)
    spaces = []
    for name, power in (("small", 2.0), ("large", 0.5)):
        flops = 1e6 + 1e6 * rng.random(400) ** power
        results = make_results(name, (60 - flops / 5e4).round(3).tolist())
        results.table["flops"] = flops
        results.table["params"] = flops
        spaces.append(results)
    table = nds.normalised_edfs(spaces, bins=20).numbers
    medians = {
        panel: rows[rows["probability"] >= 0.5].groupby("space")["error"].min()
        for panel, rows in table.groupby("panel")
    }
    assert medians["raw"]["small"] - medians["raw"]["large"] > 5
    assert abs(medians["flops"]["small"] - medians["flops"]["large"]) < 0.5


def test_results_of_a_panel_need_different_names():
    with pytest.raises(InputError, match="two runs have the name 'A'"):
        panel_edfs("x", "X", {"": [A, A]}, "Caption.")
    with pytest.raises(InputError, match="no results to draw"):
        panel_edfs("x", "X", {}, "Caption.")
