"""Tables and progress for the person in front of the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from designspace.support.notebook import NotebookBar, in_notebook
from designspace.support.text import duration

if TYPE_CHECKING:  # a command that only prints tables spares the imports of sweeps
    from designspace.sweeps.progress import Progress

T = TypeVar("T")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is left-aligned, the others right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    # Into a file or a pipe, lines may be long: nobody wants a table cut at 80 characters there.
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200).print(table)


def repeat(show: Callable[[], T], is_over: Callable[[T], bool], every_s: float = 5.0) -> None:
    """Show something again and again until it is over; on a terminal each time in the place of the last."""
    while True:
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
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
    with Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:

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
