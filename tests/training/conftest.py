"""Fixtures of this room's tests."""

import pytest
from stripes import data, network, recipe  # noqa: F401


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Maps are small."""
