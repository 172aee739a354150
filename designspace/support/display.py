"""Representations of objects: one line at a prompt, a small table in a notebook."""

from __future__ import annotations

import dataclasses
import html
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any


class _Outline(reprlib.Repr):
    """A `reprlib.Repr` that shows arrays and tables by their shape and shortens long values."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxother = self.maxstring = 80

    def repr1(self, x: Any, level: int) -> str:
        """Return a short representation of a value."""
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple) and shape:
            return f"<{type(x).__name__} of shape {tuple(shape)}>"
        return f"{x:.6g}" if isinstance(x, float) else super().repr1(x, level)


_outline = _Outline()


def outline(instance: Any) -> str:
    """Return a one-line representation of a dataclass: arrays and tables by their shape, long values shortened.

    >>> @dataclasses.dataclass
    ... class Curve:
    ...     name: str
    ...     points: list[int]
    >>> outline(Curve("a", list(range(1000))))
    "Curve(name='a', points=[0, 1, 2, 3, 4, 5, ...])"
    """
    fields = [
        f"{field.name}={_outline.repr(getattr(instance, field.name))}"
        for field in dataclasses.fields(instance)
        if field.repr
    ]
    return f"{type(instance).__name__}({', '.join(fields)})"


class Outlined:
    """Base class with a short representation, for dataclasses (with ``repr=False``) that hold arrays or tables.

    If the class has a method ``table``, notebooks also show the table that it returns.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return outline(self)

    def _repr_html_(self) -> str | None:
        table = getattr(self, "table", None)
        if not callable(table):
            return None
        return f"<div>{html.escape(repr(self))}</div>{table()._repr_html_()}"


def shortened(values: Sequence[Any], most: int = 8) -> str:
    """Return a list as text; of a long list, only both ends.

    >>> shortened([1, 2, 3]), shortened(range(100), most=4)
    ('[1, 2, 3]', '[0, 1, ..., 98, 99]')
    """
    if len(values) <= most:
        return f"[{', '.join(map(str, values))}]"
    half = most // 2
    return f"[{', '.join(map(str, values[:half]))}, ..., {', '.join(map(str, values[-half:]))}]"


def html_table(title: str, rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML, in which the first cell of each row is a heading; all text is escaped.

    >>> html_table("a < b", [("x", 1)])  # doctest: +ELLIPSIS
    '<table><caption>a &lt; b</caption><tr><th...>x</th><td...>1</td></tr></table>'
    """
    left = ' style="text-align:left"'
    body = ""
    for head, *cells in rows:
        data = "".join(f"<td{left}>{html.escape(str(cell))}</td>" for cell in cells)
        body += f"<tr><th{left}>{html.escape(str(head))}</th>{data}</tr>"
    return f"<table><caption>{html.escape(title)}</caption>{body}</table>"
