"""Tests of the slots of a pool: how many there are, and what each is."""

import os

import pytest
from sweep_runs import CPU, RECIPE, SPACE

from designspace.data import DataShape
from designspace.support.errors import InputError
from designspace.sweeps.estimate import Costs
from designspace.sweeps.process import Slot
from designspace.sweeps.slots import within_memory, worker_bytes, worker_slots
from designspace.trials.recipe import Recipe


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tpu",), "device must be auto, cpu or cuda, not 'tpu'"),
        (("cpu", 0), "workers \\(or null\\) must be a whole number >= 1"),
        (("cpu", "two"), "workers \\(or null\\) must be a whole number >= 1"),
    ],
)
def test_invalid_slot_options(arguments, message):
    with pytest.raises(InputError, match=message):
        worker_slots(*arguments)


def test_memory_limits_the_number_of_workers(monkeypatch, data_root):
    monkeypatch.setattr("designspace.sweeps.slots.available_bytes", lambda: 4e9)
    need = worker_bytes(Costs.of(SPACE.sample(4), 16), RECIPE, "cpu", data_root)
    assert 0.3e9 < need < 1e9
    assert within_memory(CPU, need, is_fixed=False) == (CPU, "")
    slots, note = within_memory(32 * CPU, need, is_fixed=False)
    assert len(slots) == int(3.6e9 / need)
    assert f"{len(slots)} workers are started" in note
    slots, note = within_memory(32 * CPU, need, is_fixed=True)
    assert len(slots) == 64
    assert note.startswith("warning: 64 workers need about")


def test_memory_mapped_images_are_not_counted_per_worker(monkeypatch):
    costs, recipe = Costs.of(SPACE.sample(4), 160), Recipe(data="large")
    monkeypatch.setattr("designspace.data.shape", lambda name, root: DataShape(3, 160, 1000))
    monkeypatch.setattr("designspace.data.counts", lambda name, root: (1_281_167, 50_000))
    assert worker_bytes(costs, recipe, "cpu") < 1e9
    part = worker_bytes(costs, Recipe(data="large", train_images=100_000), "cpu")
    assert part - worker_bytes(costs, recipe, "cpu") == 2.0 * 100_000 * 3 * 160**2


def test_gpus_are_divided_among_slots(monkeypatch):
    monkeypatch.setattr("designspace.sweeps.slots._count_gpus", lambda: 4)
    assert worker_slots() == [Slot("cuda", (i,)) for i in range(4)]
    assert worker_slots(workers_per_gpu=2) == 2 * [Slot("cuda", (i,)) for i in range(4)]
    assert worker_slots(gpus_per_trial=2) == [Slot("cuda", (0, 1)), Slot("cuda", (2, 3))]
    assert worker_slots(gpus_per_trial=3) == [Slot("cuda", (0, 1, 2))]
    with pytest.raises(InputError, match="gpus_per_trial is 8, but there are 4 GPUs"):
        worker_slots(gpus_per_trial=8)
    with pytest.raises(InputError, match="cannot both be above 1"):
        worker_slots(gpus_per_trial=2, workers_per_gpu=2)


def test_there_is_one_worker_per_core():
    assert worker_slots("cpu") == [Slot("cpu")] * len(os.sched_getaffinity(0))
    assert worker_slots("cpu", 3) == [Slot("cpu")] * 3
