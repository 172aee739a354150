"""Cores and memory that are available to a process."""

import os
import subprocess
import sys

import pytest

from designspace.support import machine
from designspace.support.machine import available_bytes, available_cores

HERE = len(os.sched_getaffinity(0))


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A temporary folder instead of the folder of the control groups."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_cgroups", lambda: iter([tmp_path / "job", tmp_path]))
    (tmp_path / "job").mkdir()
    return tmp_path


def test_cores_follow_the_cpu_affinity(groups):
    assert available_cores() == HERE
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
    code += "from designspace.support.machine import available_cores; print(available_cores())"
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert finished.stdout == "1\n"


@pytest.mark.parametrize(
    ("task", "node", "cores"), [("1", "8", 1), ("", "1", 1), ("100", "", HERE), ("(x2)", "1", 1), ("0", "", 1)]
)
def test_cores_are_limited_by_the_allocation_of_slurm(groups, monkeypatch, task, node, cores):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", task)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", node)
    assert available_cores() == cores


@pytest.mark.parametrize(("limit", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", HERE)])
def test_cores_are_limited_by_any_control_group(groups, limit, cores):
    (groups / "cpu.max").write_text(f"{limit}\n")
    assert available_cores() == cores
    (groups / "job" / "cpu.max").write_text("max 100000\n")
    assert available_cores() == cores


def test_older_control_groups_limit_cores_too(groups):
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (groups / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert available_cores() == HERE
    (groups / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    assert available_cores() == 1


def test_memory_follows_the_tightest_limit(groups, monkeypatch):
    assert 0 < available_bytes() < float("inf")
    (groups / "memory.max").write_text("3000000\n")
    (groups / "memory.current").write_text("1000000\n")
    assert available_bytes() == 2e6
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    assert available_bytes() == 2**20
