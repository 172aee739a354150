"""Costs that results.csv lacks: measured ones of costs.csv, and counted ones of the population."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from populations import make_results

from designspace.analysis import overview
from designspace.analysis.best_values import best_value, best_values
from designspace.analysis.matched import compare_matched
from designspace.analysis.preconditions import same_budget
from designspace.analysis.quantities import available, quantity, values, varying_quantities, with_columns
from designspace.analysis.results import Results
from designspace.analysis.tables import best_table
from designspace.analysis.tradeoffs import cost_fit, pareto
from designspace.analysis.trends import trend
from designspace.networks.quantities import Quantity
from designspace.spaces.costs import Cost, Setting, write_costs
from designspace.support.errors import InputError, RunError
from designspace.trials.folder import RunFolder

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart"
SETTING = Setting(threads=2)


def measured_run(
    tmp_path, name="RegNetX", *, machine="laptop", factor=1e-5, disturbed=0, settings=(SETTING,), speed=math.nan
):
    """Copy a run and write a latency for each of its networks, in proportion to its flops."""
    folder = tmp_path / name
    shutil.copytree(QUICKSTART / name, folder)
    population = RunFolder(folder).population()
    costs = [
        Cost(
            *(id_, "latency", setting, machine, 28, flops * factor, flops * factor * 0.9, flops * factor * 1.1),
            *(10, index < disturbed, 3000.0, "2026-01-31T12:00:00Z", "torch 2.13", speed),
        )
        for setting in settings
        for index, (id_, flops) in enumerate(zip(population.ids, population.columns["flops"].tolist(), strict=True))
    ]
    write_costs(folder, costs)
    return folder


@pytest.fixture(scope="module")
def regnet(tmp_path_factory):
    return Results.read(measured_run(tmp_path_factory.mktemp("runs"), disturbed=2))


def test_measured_costs_are_columns_of_results(regnet):
    latency = quantity("latency", regnet)
    assert (latency.name, latency.unit, latency.source, latency.direction) == (
        *("latency_cpu_t2_b1", "ms", "measured"),
        "lower",
    )
    assert latency.machine == "laptop"
    assert values(regnet, "latency_cpu") == pytest.approx(1e-5 * values(regnet, "flops"), rel=1e-4)
    assert latency in available(regnet, ["measured"])
    assert regnet.notes == (
        "2 of 24 measurements of costs of RegNetX may be too high, because the machine had other load (column "
        "disturbed of costs.csv).",
    )
    assert regnet.where("latency_cpu_t2_b1 < 10").measured == regnet.measured


def test_any_cost_can_be_used_where_flops_can(regnet):
    assert pareto(regnet, "latency").on_front.tolist() == pareto(regnet, "flops").on_front.tolist()
    assert best_value(regnet, "latency").median == pytest.approx(1e-5 * best_value(regnet, "flops").median, rel=1e-4)
    assert "latency_cpu_t2_b1" in best_values(regnet).table()["quantity"].tolist()
    assert trend([regnet], "d", x="latency").x_quantity == quantity("latency", regnet)
    assert cost_fit(regnet, "flops", "latency", form="linear").r == pytest.approx(1)
    assert "latency" in best_table(regnet, 1).header
    assert best_table(regnet, 1).rows[0][best_table(regnet, 1).header.index("latency")].endswith(" ms")
    panels = set(overview.pareto_figure([regnet]).numbers["cost"])
    assert panels == {"flops", "params", "activations", "latency_cpu_t2_b1"}
    assert set(overview.pareto_figure([regnet], ["peak_memory"]).numbers["cost"]) == {"peak_memory"}


def test_runs_of_two_machines_have_a_column_for_each(tmp_path):
    folders = [measured_run(tmp_path, "RegNetX"), measured_run(tmp_path, "AnyNetXA", machine="big server")]
    both = Results.read(*folders)
    assert set(both.measured) == {"latency_cpu_t2_b1_laptop", "latency_cpu_t2_b1_big_server"}
    assert np.isfinite(values(both, "latency_cpu_t2_b1_laptop")).sum() == 24
    check = same_budget(*(Results.read(folder) for folder in folders))
    assert "latency" not in check.sentence  # of different machines


def test_runs_of_different_speeds_of_a_machine_are_not_compared(tmp_path):
    speeds = {"RegNetX": 10.0, "AnyNetXA": 10.4, "AnyNetXE": 11.0}
    first, same, slower = (Results.read(measured_run(tmp_path, name, speed=speed)) for name, speed in speeds.items())
    unknown = Results.read(measured_run(tmp_path / "unknown", "AnyNetXE"))
    assert compare_matched(first, same, "latency").quantity.reference_ms == 10.0
    assert compare_matched(first, unknown, "latency").n_a > 0
    with pytest.raises(
        InputError, match=r"different speeds .*RegNetX: 10 ms; AnyNetXE: 11 ms.*measure runs=\[\.\.\.\]"
    ):
        compare_matched(first, slower, "latency")


def test_budgets_differ_in_measured_costs_too(tmp_path):
    slow = Results.read(measured_run(tmp_path, "RegNetX", factor=3e-5))
    fast = Results.read(measured_run(tmp_path, "AnyNetXA", factor=1e-5))
    check = same_budget(slow, fast)
    assert not check.holds
    assert "median latency 30.1 ms against 10 ms" in check.sentence


def test_counted_costs_are_computed_when_they_are_requested(regnet):
    population = RunFolder(regnet.folders["RegNetX"]).population()
    expected = dict(zip(population.ids, population.quantity("peak_memory").tolist(), strict=True))
    column = values(regnet, "peak_memory")
    assert column.tolist() == [expected[id_] for id_ in regnet.table["id"]]
    assert "peak_memory" not in regnet.table.columns
    with_peak = with_columns(regnet, ["peak_memory", "flops"])
    assert with_peak.table["peak_memory"].tolist() == column.tolist()
    assert "peak_memory" in [each.name for each in varying_quantities(with_peak)] or np.ptp(column) == 0
    best = regnet.best(3, by="weight_bytes")
    assert best["weight_bytes"].tolist() == sorted(values(regnet, "weight_bytes"))[:3]


def test_networks_are_ranked_by_any_quantity_with_a_direction(regnet):
    assert regnet.best(2, by="latency")["flops"].tolist() == sorted(regnet.table["flops"])[:2]
    assert regnet.best(1, by="error")["id"].tolist() == regnet.best(1)["id"].tolist()
    with pytest.raises(InputError, match="cannot be ranked by d4, because neither its low nor its high values are"):
        regnet.best(1, by="d4")


def test_results_of_other_programs_lack_these_columns_and_say_so():
    other = make_results("Other", [30.0, 31.0])
    with pytest.raises(
        InputError, match="peak_memory of Other cannot be counted, because Other was not read from a run"
    ):
        values(other, "peak_memory")
    with pytest.raises(InputError, match="latency of Other has not been measured; measure it with python -m design"):
        values(other, "latency")
    with pytest.raises(InputError, match="unknown quantity 'colour'; choose from: d, stages"):
        values(other, "colour")


def test_several_columns_are_listed(tmp_path):
    run = Results.read(measured_run(tmp_path, settings=(SETTING, Setting("cuda", 64))))
    with pytest.raises(
        InputError, match="latency has several columns; name one.*: latency_cpu_t2_b1, latency_cuda_b64"
    ):
        values(run, "latency")
    assert quantity("latency_cuda", run).name == "latency_cuda_b64"


def test_a_damaged_file_of_costs_is_named(tmp_path):
    folder = measured_run(tmp_path)
    (folder / "costs.csv").write_text("id,quantity\n")
    with pytest.raises(RunError, match=r"costs.csv, line 1: the columns must be"):
        Results.read(folder)


def test_higher_values_can_be_better():
    results = Results.from_errors("A", [30.0, 20.0, 25.0], 10, {"throughput": [300.0, 100.0, 50.0]})
    throughput = Quantity("throughput", "images per second", "1/s", "measured", "higher")
    front = pareto(results, throughput)
    assert front.on_front.tolist() == [True, True, False]
    assert results.best(1, by=throughput)["throughput"].tolist() == [300]
