"""What other processes take of the cores, from /proc/stat and without it."""

import os
import time

import pytest

from designspace.measurement import machine
from designspace.measurement.machine import LoadWatch, processor_mhz, processor_name


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """A function that writes a /proc/stat, in which each of the own cores was busy for some seconds."""
    monkeypatch.setattr(machine, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(machine, "available_cores", lambda: len(machine._own_cores()))
    ticks = os.sysconf("SC_CLK_TCK")

    def write(seconds, *, steal=0.0, other_cores=0.0):
        own = machine._own_cores()
        lines = ["cpu  1 2 3 4 5 6 7 8 0 0"]
        for core in range(max(own) + 2):
            used = seconds if core in own else other_cores
            lines.append(f"cpu{core} {round(used * ticks)} 0 0 99999 77777 0 0 {round(steal * ticks)} 0 0")
        (tmp_path / "stat").write_text("\n".join([*lines, "intr 1 2 3", ""]))

    write(100)
    return write


def test_a_machine_has_a_name_and_perhaps_a_clock():
    assert processor_name().strip()
    assert not processor_mhz() <= 0


@pytest.mark.parametrize("kind", ["seconds", "steal"])
def test_others_on_the_own_cores_are_noticed(busy, kind):
    cores = len(machine._own_cores())
    watch = LoadWatch(threads=cores)
    assert not watch.is_loaded()
    busy(130) if kind == "seconds" else busy(100, steal=30)
    assert watch.is_loaded()
    watch.restart()
    assert not watch.is_loaded()


def test_others_on_cores_that_this_process_may_not_use_do_not_matter(busy):
    watch = LoadWatch(threads=len(machine._own_cores()))
    busy(100, other_cores=50)
    assert not watch.is_loaded()


def test_the_own_time_and_single_ticks_do_not_count(busy):
    cores = len(machine._own_cores())
    watch = LoadWatch(threads=cores)
    begin = time.process_time()
    while time.process_time() < begin + 0.1:
        pass
    busy(100 + 0.1 / cores)
    assert not watch.is_loaded()


def test_spare_cores_may_be_used_by_others(busy, monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 64)
    watch = LoadWatch(threads=2)
    wall = time.perf_counter() - watch._wall
    busy(100 + 2 * wall)
    assert not watch.is_loaded() or len(machine._own_cores()) > 7


def test_nothing_is_noticed_where_there_is_no_such_file(tmp_path, monkeypatch):
    for name in ("_STAT", "_CPUINFO"):
        monkeypatch.setattr(machine, name, tmp_path / "missing")
    monkeypatch.setattr(machine, "_FREQUENCY", str(tmp_path / "cpu{}"))
    watch = LoadWatch(threads=1)
    assert not watch.is_loaded()
    assert processor_mhz() != processor_mhz()  # NaN
    assert processor_name()
