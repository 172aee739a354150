import pytest
from quiet_machine import make_quiet


@pytest.fixture
def quiet(monkeypatch) -> None:
    """Make this machine count as quiet."""
    make_quiet(monkeypatch)
