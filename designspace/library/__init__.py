"""Trained networks: load, verify, describe, write and export them, and train one from their weights."""

from designspace.library.backbones import backbone
from designspace.library.loading import load

__all__ = ["backbone", "load"]
