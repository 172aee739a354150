"""Where on this machine things are kept that were fetched: data sets and weights."""

from __future__ import annotations

import os
from pathlib import Path


def default_root() -> Path:
    """The folder of all that is fetched: ``$DESIGNSPACE_DATA``, or ``~/.cache/designspace`` where that is not set."""
    given = os.environ.get("DESIGNSPACE_DATA")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "designspace"
