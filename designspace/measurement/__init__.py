"""Measurement of what networks cost on a machine: latency, and energy where the device tells it."""

from designspace.measurement.session import Measured, Session, measure

__all__ = ["Measured", "Session", "measure"]
