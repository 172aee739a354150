"""Fixtures that several rooms' tests share."""

from pathlib import Path

import pytest
from full_disks import no_file_larger_than
from hypothesis import HealthCheck, settings

pytest_plugins = ["stripes"]  # fixtures of the rooms that train

# No test depends on how fast the machine is, which may be busy.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of data sets, with Fashion-MNIST in it (`make test` fetches it before the tests start)."""
    from designspace import data

    root = data.default_root()
    data.prepare("fashion_mnist", root)
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
