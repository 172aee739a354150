"""Files of reference values."""

import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> list[Any]:
    """Return the cases of a file of reference values."""
    return json.loads((GOLDEN / name).read_text())["cases"]
