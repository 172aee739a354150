"""Fixtures of this room's tests."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Maps are small."""
