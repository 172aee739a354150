"""Where data sets, weights and compiled kernels are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The folder of all that is kept: ``$DESIGNSPACE_DATA``, or ``~/.cache/designspace`` where that is not set."""
    given = os.environ.get("DESIGNSPACE_DATA")
    return Path(given) if given else Path.home() / ".cache" / "designspace"
