"""costs.csv of a folder: resumed, shared by several processes, and complete after any end."""

import dataclasses

import pytest
from small import SIDE, network

from designspace.measurement.into_folder import Request, add_costs, measure_into
from designspace.spaces.costs import COSTS_FILE, Setting, read_costs

pytestmark = pytest.mark.usefixtures("quiet")

ONE = Setting("cpu", 1, threads=1)
NETWORKS = [network(width) for width in (8, 16, 32)]


def into(folder, networks=NETWORKS, setting=ONE, on_start=None, rounds=5, **options):
    return measure_into({folder: networks}, setting, Request(resolution=SIDE, rounds=rounds, **options), on_start)


def ids(costs):
    return [cost.id for cost in costs]


def test_only_networks_without_a_cost_are_measured(tmp_path):
    first = into(tmp_path, NETWORKS[:2])
    assert first.new == 2
    assert ids(first.costs) == ids(NETWORKS[:2])
    second = into(tmp_path, NETWORKS[::-1])
    assert second.new == 1
    assert ids(second.costs) == ids(NETWORKS[::-1])
    assert second.costs[1:] == first.costs[::-1]
    nothing = into(tmp_path)
    assert nothing.new == 0
    assert nothing.noise != nothing.noise
    assert len(read_costs(tmp_path)) == 3
    assert into(tmp_path, setting=Setting("cpu", 2, threads=1)).new == 3
    assert len(read_costs(tmp_path)) == 6


def test_networks_of_several_folders_are_measured_together(tmp_path):
    folders = {tmp_path / "a": NETWORKS[:2], tmp_path / "b": NETWORKS[1:]}
    for folder in folders:
        folder.mkdir()
    request = Request(resolution=SIDE, rounds=5)
    measured = measure_into(folders, ONE, request)
    assert measured.new == 3
    assert ids(measured.costs) == ids(NETWORKS)
    for folder, networks in folders.items():
        assert sorted(ids(read_costs(folder))) == sorted(ids(networks))
    (reference_ms,) = {cost.reference_ms for folder in folders for cost in read_costs(folder)}
    assert reference_ms > 0
    assert measured.reference_ms == (reference_ms, reference_ms)
    (tmp_path / "b" / COSTS_FILE).unlink()
    again = measure_into(folders, ONE, request)
    assert again.new == 1  # the other cost is copied from the first folder
    assert sorted(ids(read_costs(tmp_path / "b"))) == sorted(ids(NETWORKS[1:]))


def test_networks_may_be_measured_again(tmp_path):
    costs = into(tmp_path).costs
    add_costs(tmp_path, [dataclasses.replace(costs[1], disturbed=True, n=1)])
    assert into(tmp_path).new == 0
    assert into(tmp_path, again="disturbed").new == 1
    assert [(cost.n, cost.disturbed) for cost in read_costs(tmp_path)] == [(5, False)] * 3
    assert into(tmp_path, again="all", rounds=6).new == 3
    assert [cost.n for cost in read_costs(tmp_path)] == [6] * 3


def interrupt_at(visits):
    def on_start(count):
        def progress(number, status):
            if number == visits:
                raise KeyboardInterrupt

        return progress

    return on_start


def test_an_interrupted_measurement_keeps_what_has_enough_visits(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        into(tmp_path, rounds=8, on_start=interrupt_at(14))
    assert not (tmp_path / COSTS_FILE).exists()
    with pytest.raises(KeyboardInterrupt):
        into(tmp_path, rounds=8, on_start=interrupt_at(20))
    kept = read_costs(tmp_path)
    assert sorted(ids(kept)) == sorted(ids(NETWORKS))
    assert into(tmp_path, rounds=8).new == 0
    assert not list(tmp_path.glob("claim*"))


def test_costs_of_another_process_are_kept(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    costs = into(elsewhere, NETWORKS[:1]).costs
    other = dataclasses.replace(costs[0], machine="another machine")

    def on_start(count):
        return lambda number, status: add_costs(tmp_path, [other]) if number == 4 else None

    measured = into(tmp_path, on_start=on_start)
    assert ids(measured.costs) == ids(NETWORKS)
    assert other in read_costs(tmp_path)
    assert len(read_costs(tmp_path)) == 4
