import dataclasses
import math

import numpy as np
import pytest

from designspace.spaces.costs import COSTS_FILE, Cost, Setting, cost_columns, read_costs, write_costs
from designspace.support.errors import InputError, RunError

SETTING = Setting("cpu", 1, threads=2)
FIRST = Cost(
    *("0" * 12, "latency", SETTING, "AMD EPYC", 224, 1.25, 1.2, 1.5, 30, False, 2250.0, "2026-01-31T12:00:00Z"),
    *("torch 2.13.0", 12.5),
)
SECOND = dataclasses.replace(
    FIRST, id="1" * 12, median=2.0, low=1.9, high=2.5, disturbed=True, clock_mhz=math.nan, reference_ms=math.nan
)


def test_costs_are_read_as_written(tmp_path):
    assert read_costs(tmp_path) == ()
    write_costs(tmp_path, [FIRST, SECOND])
    first, second = read_costs(tmp_path)
    assert first == FIRST
    assert math.isnan(second.clock_mhz)
    assert math.isnan(second.reference_ms)
    known = {"clock_mhz": 0.0, "reference_ms": 0.0}
    assert dataclasses.replace(second, **known) == dataclasses.replace(SECOND, **known)


def test_files_without_the_time_of_the_reference_are_read(tmp_path):
    write_costs(tmp_path, [FIRST])
    path = tmp_path / COSTS_FILE
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in path.read_text().splitlines()))
    (cost,) = read_costs(tmp_path)
    assert math.isnan(cost.reference_ms)
    assert dataclasses.replace(cost, reference_ms=FIRST.reference_ms) == FIRST


def test_a_later_measurement_replaces_an_equal_one(tmp_path):
    later = dataclasses.replace(FIRST, median=1.3)
    other_batch = dataclasses.replace(FIRST, setting=Setting("cpu", 64, threads=2))
    write_costs(tmp_path, [FIRST, other_batch, later])
    assert read_costs(tmp_path) == (later, other_batch)


def test_columns_have_a_value_per_network():
    columns = cost_columns([FIRST, SECOND], [SECOND.id, "2" * 12, FIRST.id])
    (quantity,) = columns
    assert (quantity.name, quantity.unit, quantity.direction) == ("latency_cpu_t2_b1", "ms", "lower")
    np.testing.assert_array_equal(columns[quantity], [2.0, math.nan, 1.25])
    assert quantity.reference_ms == 12.5  # the only one that is known


def test_machines_and_sizes_are_not_mixed():
    costs = [FIRST, dataclasses.replace(FIRST, machine="Xeon (R) 6"), dataclasses.replace(FIRST, resolution=96)]
    names = [quantity.name for quantity in cost_columns(costs, [FIRST.id])]
    assert names == [
        *("latency_cpu_t2_b1_amd_epyc_224px", "latency_cpu_t2_b1_xeon_r_6_224px"),
        "latency_cpu_t2_b1_amd_epyc_96px",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("latency", "speed", "unknown quantity"),
        (",cpu,", ",gpu,", "choose from: cpu, cuda, onnxruntime"),
        (",1.25,", ",fast,", "line 2: could not convert"),
        (",1.25,", ",-1,", "needs 0 < low <= median <= high"),
        (",1.25,", ",inf,", "needs 0 < low <= median <= high"),
        (",224,", ",", "16 fields instead of 17"),
        ("id,quantity", "name,quantity", "line 1: the columns must be id,quantity"),
        ("0" * 12, "zero", "line 2"),
    ],
)
def test_a_damaged_line_is_an_error_that_names_it(tmp_path, old, new, message):
    write_costs(tmp_path, [FIRST])
    path = tmp_path / COSTS_FILE
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RunError, match=message):
        read_costs(tmp_path)


@pytest.mark.parametrize("fields", [{"device": "tpu"}, {"precision": "int4"}, {"batch": 0}, {"threads": -1}])
def test_unknown_settings_are_refused(fields):
    with pytest.raises(InputError):
        Setting(**fields)
