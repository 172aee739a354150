"""Fixtures for the tests of training."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Use one thread, because the activations are small."""
