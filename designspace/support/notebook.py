"""Progress in a notebook: a bar that is drawn in place, with nothing but IPython."""

from __future__ import annotations

import html
import sys
from typing import Any


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookBar:
    """A bar in the output of the running cell, with words beside it."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._handle: Any = None

    def update(self, finished: int, words: str) -> None:
        """Show how many are finished."""
        from IPython import display

        text = html.escape(f"{self._what} {finished}/{self._total}, {words}")
        shown: Any = display  # IPython has no types
        bar = shown.HTML(f'<progress value="{finished}" max="{self._total}"></progress> <code>{text}</code>')
        if self._handle is None:
            self._handle = shown.display(bar, display_id=True)
        else:
            self._handle.update(bar)
