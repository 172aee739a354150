"""What one does with trained networks: load, verify, describe, write, export them, and train one from their weights."""

from designspace.library.loading import load

__all__ = ["load"]
