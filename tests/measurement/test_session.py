"""Latency of networks: which are measured, in what order, and what a foreign load does to the costs."""

import contextlib
import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SIDE, busy_processes, network

from designspace.measurement import Session, measure
from designspace.measurement import session as session_module
from designspace.measurement.machine import LoadWatch
from designspace.measurement.runners import open_runner, with_threads
from designspace.spaces.costs import Setting, read_costs, write_costs
from designspace.support.machine import available_cores

ONE = Setting("cpu", 1, threads=1)
SIZES = (8, 32, 64, 128, 256)


def test_costs_in_the_order_of_the_networks(quiet, tmp_path):
    networks = [network(width) for width in (256, 8, 64)]
    measured = measure([*networks, networks[0]], ONE, SIDE, rounds=5)
    assert [cost.id for cost in measured.costs] == [each.id for each in networks]
    for cost in measured.costs:
        assert 0 < cost.low <= cost.median <= cost.high
        assert (cost.quantity, cost.setting, cost.resolution, cost.n) == ("latency", ONE, SIDE, 5)
        assert not cost.disturbed
        assert f"torch {torch.__version__}" in cost.versions
    assert measured.costs[0].median > measured.costs[1].median
    assert measured.disturbances == ""
    write_costs(tmp_path, measured.costs)
    assert [cost.id for cost in read_costs(tmp_path)] == [each.id for each in networks]


def test_known_networks_are_not_measured_again(quiet):
    networks = [network(width) for width in SIZES[:3]]
    session = Session(ONE, SIDE, rounds=5)
    first = session.measure(networks[:2])
    assert len(first.costs) == 2
    second = session.measure(networks, first.costs)
    assert [cost.id for cost in second.costs] == [networks[2].id]
    elsewhere = [dataclasses.replace(cost, machine="another") for cost in first.costs]
    assert len(session.measure(networks[:2], elsewhere).costs) == 2
    assert session.measure(networks, [*first.costs, *second.costs]).costs == ()
    assert session.measure([]).costs == ()


def test_each_round_visits_all_networks_in_a_new_order(quiet, monkeypatch):
    order = []
    visit = session_module._Subject.visit
    monkeypatch.setattr(
        session_module._Subject, "visit", lambda self, seconds: (order.append(self.id), visit(self, seconds))[1]
    )
    networks = [network(width) for width in SIZES]
    session = Session(ONE, SIDE, rounds=6, seed=3)
    session.measure(networks)
    ids = [each.id for each in networks]
    order = [id_ for id_ in order if id_ in ids]
    rounds = [order[k : k + 5] for k in range(0, 30, 5)]
    assert all(sorted(each) == sorted(ids) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 3
    assert rounds[0] == random.Random(3).sample(ids, 5)


def test_costs_and_progress_are_reported_as_they_come(quiet):
    reports, progress = [], []
    networks = [network(width) for width in SIZES[:3]]
    Session(ONE, SIDE, rounds=7).measure(
        networks, on_costs=lambda costs: reports.append(len(costs)), on_progress=lambda *args: progress.append(args)
    )
    assert reports[-1] == 3
    assert len(reports) == 3  # from the fifth round on
    assert progress[-1] == (21, "round 7 of 7")


def test_networks_that_do_not_fit_into_memory_are_built_for_each_visit(quiet, monkeypatch):
    built = []
    monkeypatch.setattr(session_module, "open_runner", lambda *args: (built.append(args[0].id), open_runner(*args))[1])
    networks = [network(width) for width in SIZES[:2]]
    monkeypatch.setattr(session_module, "available_bytes", lambda: 2 * (1.5 * 2**20))
    costs = measure(networks, ONE, SIDE, rounds=5).costs
    assert len(costs) == 2
    assert [built.count(each.id) for each in networks] == [1, 5]


def test_the_number_of_threads_is_that_of_before():
    before = torch.get_num_threads()
    with with_threads(Setting("cpu", 1, threads=before + 2)):
        assert torch.get_num_threads() == before + 2
    assert torch.get_num_threads() == before


def test_a_lasting_disturbance_marks_the_costs(quiet, monkeypatch):
    monkeypatch.setattr(LoadWatch, "is_loaded", lambda self: True)
    reports = []
    measured = measure(
        [network(8), network(64)], ONE, SIDE, rounds=8, on_costs=lambda costs: reports.append(len(costs))
    )
    assert measured.disturbed == measured.costs
    assert all(cost.n == 13 for cost in measured.costs)  # five rounds of repeats show that it lasts
    assert reports == [0, 0, 0, 2, 2, 2, 2, 2, 2]
    assert "other processes used the cores" in measured.disturbances


def test_disturbed_visits_are_repeated(quiet, monkeypatch):
    answers = iter([True])  # the first round
    monkeypatch.setattr(LoadWatch, "is_loaded", lambda self: next(answers, False))
    monkeypatch.setattr(session_module, "WINDOW_S", 1e9)
    measured = measure([network(8), network(64)], ONE, SIDE, rounds=5)
    assert measured.disturbed == ()
    assert [cost.n for cost in measured.costs] == [5, 5]
    assert "in 1" in measured.disturbances


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the load of others is read from /proc/stat")
def test_a_foreign_load_in_the_middle_is_noticed_and_hardly_changes_the_costs():
    networks = [network(width, depth=4) for width in SIZES]
    session = Session(ONE, 32, rounds=8)
    calm = session.measure(networks)
    with contextlib.ExitStack() as load:

        def switch(visits, status):
            if visits == 10 and not status.startswith("repeating"):
                load.enter_context(busy_processes(available_cores()))
            elif visits == 32:
                load.close()

        loaded = session.measure(networks, on_progress=switch)
    assert "other processes used the cores" in loaded.disturbances
    for costs in (calm.costs, loaded.costs):
        assert np.argmax([cost.median for cost in costs]) == len(SIZES) - 1
    for before, after in zip(calm.costs, loaded.costs, strict=True):
        if not before.disturbed and not after.disturbed:  # this machine may be busy all the time
            assert 2 / 3 < after.median / before.median < 3 / 2
