"""A machine that counts as quiet, whatever runs beside the tests, and measures quickly."""

from designspace.measurement import session, windows
from designspace.measurement.machine import LoadWatch


def make_quiet(monkeypatch):
    """Make every window count as undisturbed, and visits short."""
    monkeypatch.setattr(LoadWatch, "is_loaded", lambda self: False)
    monkeypatch.setattr(windows, "MAX_SLOWDOWN", float("inf"))
    monkeypatch.setattr(session, "VISIT_S", 0.002)
