"""Fixtures that several rooms' tests share."""

import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> list[Any]:
    """The cases of a file of reference figures."""
    return json.loads((GOLDEN / name).read_text())["cases"]


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of data sets, with Fashion-MNIST in it (`make test` fetches it before the tests start)."""
    from designspace import data

    root = data.default_root()
    data.prepare("fashion_mnist", root)
    return root
