"""Fixtures shared by the tests of several packages."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from full_disks import no_file_larger_than
from hypothesis import HealthCheck, settings

pytest_plugins = ["stripes", "data_sets"]  # fixtures for the tests that train, and for those of commands

# Tests run side by side, one process per core. With two threads each on two cores, tests of models took 2.4 times the
# CPU time, because torch's threads spin while they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The machine may be busy, so no test has a deadline.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def unchanged_path(monkeypatch) -> None:
    """Undo what a command that runs in this process adds to the path of modules."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that creates a folder once for all processes of a test run, which only read it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def create_once(name: str, create: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left by a process that failed
                create(folder)
                done.touch()
        return folder

    return create_once


@pytest.fixture(scope="session")
def data_root(once) -> Path:
    """The folder of data sets, which contains the small data set of `patterns`."""
    from patterns import prepare_patterns

    return once("data_root", prepare_patterns)


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of data sets, which contains Fashion-MNIST (`make test` fetches it). Only two test files need it."""
    from designspace import data

    root = data.default_root()
    if not data.is_prepared("fashion_mnist", root):
        pytest.skip(f"needs Fashion-MNIST in {root}: {data.how_to_prepare('fashion_mnist')}")
    return root


@pytest.fixture
def one_thread():
    """Limit torch to one thread, because maps are small and other tests run at the same time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def full_disk(tmp_path):
    """A folder in which no file can be larger than 64 KiB, as on a full disk."""
    with no_file_larger_than(65536):
        yield tmp_path
