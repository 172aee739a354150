"""Tables and progress bars for the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from designspace.cli import terminal
from designspace.support.notebook import NotebookBar, in_notebook
from designspace.support.text import duration, printable

if TYPE_CHECKING:  # a command that only prints tables need not import sweeps
    from designspace.sweeps.progress import Progress

T = TypeVar("T")


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]], *, texts: Collection[int] = (0,)
) -> None:
    """Print a table; if it is wider than the terminal, split it into several tables that share the first column.

    Words are never broken. Text columns that are too wide are wrapped. Empty columns are left out.

    Args:
        title: title above the table; may be empty.
        header: names of the columns.
        rows: values; None gives an empty cell.
        texts: positions of the text columns, which are left-aligned; the others contain numbers.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else _one_line(str(cell)) for cell in row] for row in (header, *rows)]
    filled = [i for i in range(len(header)) if i == 0 or not rows or any(row[i] for row in cells[1:])]
    widths = {i: max(cell_len(row[i]) for row in cells) for i in filled}
    width = _width()
    # Long words may need more than the terminal's width, and rich must not squeeze them.
    needed_width = sum(widths.values()) + 2 * len(widths)
    console = Console(file=terminal.raw(sys.stdout), highlight=False, markup=False, width=max(width, needed_width))
    if title:
        console.print(Text(_one_line(title), style="bold"), soft_wrap=True)
    for columns in _in_width(widths, width, texts):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
        for i in columns:
            table.add_column(cells[0][i], justify="left" if i in texts else "right", no_wrap=True)
        for row in cells[1:]:
            available = {i: width - sum(widths[j] + 2 for j in columns if j != i) for i in columns if i in texts}
            table.add_row(*("\n".join(_wrapped(row[i], available[i])) if i in texts else row[i] for i in columns))
        with console.capture() as lines:
            console.print(table)
        for line in lines.get().splitlines():
            console.print(line.rstrip(), soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a cell; words longer than the width are not broken."""
    return textwrap.wrap(text, max(width, _MIN_TEXT_WIDTH), break_long_words=False, break_on_hyphens=False) or [""]


def _one_line(text: str) -> str:
    """Return the text of a cell without line breaks, tabs and control characters."""
    return printable(text.replace("\n", " ").replace("\t", " "))


def _width() -> int:
    """Return $COLUMNS if it is set, else the width of the terminal; a large width for files and pipes."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def _in_width(widths: Mapping[int, int], width: int, texts: Collection[int]) -> list[list[int]]:
    """Return the columns of each table: the first column, and as many others as fit beside it."""
    first, *others = widths
    tables: list[list[int]] = [[first]]
    for i in others:
        used = sum(widths[j] + 2 for j in tables[-1])
        needed = min(widths[i], _MIN_TEXT_WIDTH) if i in texts else widths[i]
        if used + needed > width and len(tables[-1]) > 1:
            tables.append([first])
        tables[-1].append(i)
    return tables


_MIN_TEXT_WIDTH = 30
"""Minimum width of a text column beside other columns."""


def repeat(show: Callable[[], T], is_finished: Callable[[T], bool], every_s: float = 5.0) -> None:
    """Call ``show`` again and again until its result is finished; on a terminal, clear the screen each time."""
    while True:
        if sys.stdout.isatty():
            terminal.raw(sys.stdout).write("\x1b[H\x1b[2J")
        began = time.monotonic()
        result = show()
        sys.stdout.flush()
        if is_finished(result):
            return
        time.sleep(max(every_s, 5 * (time.monotonic() - began)))


ProgressUpdate = Callable[[int, str], None]
"""Function that takes the number of finished items and a status text."""


@contextmanager
def counting(label: str) -> Iterator[Callable[[int], ProgressUpdate]]:
    """Show the number of finished items, such as trials, while the block runs.

    The block gets a function that takes the total and returns a `ProgressUpdate`. On a terminal and in a notebook this
    moves a bar; elsewhere (a log file) it writes a line every half minute and at the end.
    """
    if in_notebook():
        yield lambda total: NotebookBar(label, total).update
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"))
    console = Console(file=terminal.raw(sys.stderr))
    with Bar(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        terminal.protect()  # text printed above the bar passes through rich, so it must be safe before

        def start(total: int) -> ProgressUpdate:
            if bar.disable:
                return _log_lines(label, total)
            task = bar.add_task(label, total=total, status="")
            return lambda finished, status: bar.update(task, completed=finished, status=status)

        yield start


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], Callable[[], None]]]:
    """Show the progress of a launch while the block runs.

    The block gets a function that takes the `Progress` and returns a function to call whenever it has changed.
    """
    with counting("trials") as start:

        def show(progress: Progress) -> Callable[[], None]:
            update = start(progress.total)
            return lambda: update(progress.finished, _status(progress))

        yield show


@contextmanager
def image_progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a test; the block gets a function that takes the numbers of tested and correct images."""
    with counting("images") as start:
        update = start(total)
        began = time.monotonic()

        def show(tested: int, correct: int) -> None:
            speed = tested / max(time.monotonic() - began, 1e-9)
            left = f", time left {duration((total - tested) / speed)}" if tested < total else ""
            update(tested, f"{speed:.0f} images/s, top-1 {100 * correct / tested:.2f}%{left}")

        yield show


@contextmanager
def image_counter(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show the number of finished images; the block gets a function that takes this number and the total."""
    with counting(label) as start:
        update: ProgressUpdate | None = None
        began, first = time.monotonic(), 0

        def show(finished: int, total: int) -> None:
            nonlocal update, began, first
            if update is None:  # images that were finished before do not count for the speed
                update, began, first = start(total), time.monotonic(), finished
            speed = (finished - first) / max(time.monotonic() - began, 1e-9)
            left = f", time left {duration((total - finished) / speed)}" if finished < total and speed else ""
            update(finished, f"{speed:.0f} images/s{left}")

        yield show


LOG_EVERY_S = 30.0
"""Seconds between progress lines in a log."""


def _log_lines(label: str, total: int) -> ProgressUpdate:
    """Return a progress update that writes a line to stderr every `LOG_EVERY_S` seconds and at the end."""
    last_time = float("-inf")

    def line(finished: int, status: str) -> None:
        nonlocal last_time
        now = time.monotonic()
        if now - last_time >= LOG_EVERY_S or finished == total:
            last_time = now
            sys.stderr.write(f"{label} {finished}/{total}, {status}\n")
            sys.stderr.flush()

    return line


def _status(progress: Progress) -> str:
    """Return the time left, the best error and the number of failures as text."""
    metric = progress.metric
    best = "none yet" if progress.best is None else metric.text(progress.best)
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"time left {duration(progress.left_s)}, best {metric.name} {best}{failed}"
