"""Fixtures that several rooms' tests share."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from full_disks import no_file_larger_than
from hypothesis import HealthCheck, settings

pytest_plugins = ["stripes"]  # fixtures of the rooms that train

# Tests run side by side, one process per core. With two threads each on two cores, tests of models took 2.4 times the
# CPU time, because torch's threads spin while they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test depends on how fast the machine is, which may be busy.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A function that makes a folder once for all processes of a test run, which only read it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                make(folder)
                done.touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def data_root(once) -> Path:
    """The folder of data sets, with the small one of `patterns` in it."""
    from patterns import prepare_patterns

    return once("data_root", prepare_patterns)


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of data sets, with Fashion-MNIST in it (`make test` fetches it). Only two files of tests need it."""
    from designspace import data

    root = data.default_root()
    if not data.is_prepared("fashion_mnist", root):
        pytest.skip(f"needs Fashion-MNIST in {root}: {data.how_to_prepare('fashion_mnist')}")
    return root


@pytest.fixture
def one_thread():
    """One thread of torch's: maps are small, and other tests run beside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def full_disk(tmp_path):
    """A folder in which no file can be larger than 64 KiB, as on a disk that is full."""
    with no_file_larger_than(65536):
        yield tmp_path
