"""Progress bar for notebooks, which needs only IPython."""

from __future__ import annotations

import html
import sys
from typing import Any


def in_notebook() -> bool:
    """Return whether this code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookBar:
    """Progress bar in the output of the running cell, with a text beside it."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, total
        self._handle: Any = None

    def update(self, finished: int, status: str) -> None:
        """Show the number of finished items and a status text."""
        from IPython import display

        text = html.escape(f"{self._label} {finished}/{self._total}, {status}")
        ipython_display: Any = display  # IPython has no type hints
        bar = ipython_display.HTML(f'<progress value="{finished}" max="{self._total}"></progress> <code>{text}</code>')
        if self._handle is None:
            self._handle = ipython_display.display(bar, display_id=True)
        else:
            self._handle.update(bar)
