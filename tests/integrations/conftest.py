"""Tests of the integrations: `originals` makes torchvision importable."""

import originals  # noqa: F401
import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
