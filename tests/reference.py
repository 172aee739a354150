"""Files of reference figures."""

import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> list[Any]:
    """The cases of a file of reference figures."""
    return json.loads((GOLDEN / name).read_text())["cases"]
