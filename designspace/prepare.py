"""Fetch a data set, check it, and lay it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace import data
from designspace.cli import app


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Prepare the data set and say where it lies."""
    name = config["data"]["name"]
    root = Path(config["data"]["root"] or data.default_root())
    data.prepare(name, root)
    print(f"{name} is whole in {root}")


if __name__ == "__main__":
    app.main("prepare", run)
