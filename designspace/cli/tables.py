"""Tables and progress for the person in front of the terminal."""

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

if TYPE_CHECKING:  # a command that only prints tables spares the imports of sweeps
    from designspace.sweeps.progress import Progress

T = TypeVar("T")


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]], *, texts: Collection[int] = (0,)
) -> None:
    """Print a table no wider than the terminal; where it does not fit, as several tables that share the first column.

    A word is never broken. A column of words that is too wide by itself is wrapped. Empty columns are left out.

    Args:
        title: stands above the table; may be empty.
        header: names of the columns.
        rows: values; None stands for an empty cell.
        texts: positions of the columns that hold words and are left-aligned; the others hold numbers.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else _one_line(str(cell)) for cell in row] for row in (header, *rows)]
    filled = [i for i in range(len(header)) if i == 0 or not rows or any(row[i] for row in cells[1:])]
    widths = {i: max(cell_len(row[i]) for row in cells) for i in filled}
    width = _width()
    wide = sum(widths.values()) + 2 * len(
        widths
    )  # more than the terminal has where words are long, which rich must not squeeze
    console = Console(file=terminal.raw(sys.stdout), highlight=False, markup=False, width=max(width, wide))
    if title:
        console.print(Text(_one_line(title), style="bold"), soft_wrap=True)
    for columns in _in_width(widths, width, texts):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
        for i in columns:
            table.add_column(cells[0][i], justify="left" if i in texts else "right", no_wrap=True)
        for row in cells[1:]:
            room = {i: width - sum(widths[j] + 2 for j in columns if j != i) for i in columns if i in texts}
            table.add_row(*("\n".join(_wrapped(row[i], room[i])) if i in texts else row[i] for i in columns))
        with console.capture() as lines:
            console.print(table)
        for line in lines.get().splitlines():
            console.print(line.rstrip(), soft_wrap=True)


def _wrapped(text: str, room: int) -> list[str]:
    """Return the lines of a cell; words longer than the room stay whole."""
    return textwrap.wrap(text, max(room, _LEAST_ROOM), break_long_words=False, break_on_hyphens=False) or [""]


def _one_line(text: str) -> str:
    """Return a cell's text, without what would leave its line or be obeyed by the terminal."""
    return printable(text.replace("\n", " ").replace("\t", " "))


def _width() -> int:
    """Return the width of the terminal; $COLUMNS, where that is set; a lot, where a file or a pipe takes long lines."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def _in_width(widths: Mapping[int, int], width: int, texts: Collection[int]) -> list[list[int]]:
    """Return the columns of each table to print: the first column, and as many others as fit beside it."""
    first, *others = widths
    tables: list[list[int]] = [[first]]
    for i in others:
        used = sum(widths[j] + 2 for j in tables[-1])
        needed = min(widths[i], _LEAST_ROOM) if i in texts else widths[i]
        if used + needed > width and len(tables[-1]) > 1:
            tables.append([first])
        tables[-1].append(i)
    return tables


_LEAST_ROOM = 30
"""Characters that a column of words needs at least beside other columns."""


def repeat(show: Callable[[], T], is_over: Callable[[T], bool], every_s: float = 5.0) -> None:
    """Show something again and again until it is over; on a terminal each time in the place of the last."""
    while True:
        if sys.stdout.isatty():
            terminal.raw(sys.stdout).write("\x1b[H\x1b[2J")
        began = time.monotonic()
        shown = show()
        sys.stdout.flush()
        if is_over(shown):
            return
        time.sleep(max(every_s, 5 * (time.monotonic() - began)))


Count = Callable[[int, str], None]
"""Takes how many are finished, and words on how it goes."""


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], Count]]:
    """Show how many of something are finished while the block runs.

    The block gets a function that takes the total and gives a `Count`. On a terminal and in a notebook that moves a
    bar, elsewhere (a log file) it writes a line every half minute and at the end.
    """
    if in_notebook():
        yield lambda total: NotebookBar(what, total).update
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
    console = Console(file=terminal.raw(sys.stderr))
    with Bar(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        terminal.protect()  # what is printed above the bar passes through rich, and must be safe before

        def start(total: int) -> Count:
            if bar.disable:
                return _log_lines(what, total)
            task = bar.add_task(what, total=total, words="")
            return lambda finished, words: bar.update(task, completed=finished, words=words)

        yield start


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], Callable[[], None]]]:
    """Show how far a launch is while the block runs.

    The block gets a function that takes the `Progress` and gives what to call whenever it has changed.
    """
    with counting("trials") as start:

        def show(progress: Progress) -> Callable[[], None]:
            count = start(progress.total)
            return lambda: count(progress.finished, _words(progress))

        yield show


@contextmanager
def image_progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """Show how far a test on so many images is; the block gets a function that takes images seen and images right."""
    with counting("images") as start:
        count = start(total)
        began = time.monotonic()

        def show(seen: int, right: int) -> None:
            speed = seen / max(time.monotonic() - began, 1e-9)
            left = f", time left {duration((total - seen) / speed)}" if seen < total else ""
            count(seen, f"{speed:.0f} images/s, top-1 {100 * right / seen:.2f}%{left}")

        yield show


@contextmanager
def image_counter(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many images are finished; the block gets a function that takes how many are, and of how many."""
    with counting(what) as start:
        count: Count | None = None
        began, first = time.monotonic(), 0

        def show(finished: int, total: int) -> None:
            nonlocal count, began, first
            if count is None:  # what was finished before says nothing of the speed
                count, began, first = start(total), time.monotonic(), finished
            speed = (finished - first) / max(time.monotonic() - began, 1e-9)
            left = f", time left {duration((total - finished) / speed)}" if finished < total and speed else ""
            count(finished, f"{speed:.0f} images/s{left}")

        yield show


LOG_EVERY_S = 30.0


def _log_lines(what: str, total: int) -> Count:
    """Write a line to stderr now and then."""
    said = float("-inf")

    def line(finished: int, words: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LOG_EVERY_S or finished == total:
            said = now
            sys.stderr.write(f"{what} {finished}/{total}, {words}\n")
            sys.stderr.flush()

    return line


def _words(progress: Progress) -> str:
    """Time left, best error, failures."""
    best = "none yet" if progress.best is None else f"{progress.best:.2f}%"
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"time left {duration(progress.left_s)}, best error {best}{failed}"
