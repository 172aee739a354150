"""Numbers of trials of a run by status."""

from __future__ import annotations

from dataclasses import dataclass

from designspace.support.text import counted


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of trials of a run by status."""

    done: int
    failed: int
    running: int
    waiting: int
    stopped: int = 0
    """Trials that were stopped early, because of their errors after some epochs."""

    @property
    def total(self) -> int:
        """Number of all trials of the run."""
        return self.finished + self.unfinished + self.stopped

    @property
    def finished(self) -> int:
        """Number of trials that are done or have failed."""
        return self.done + self.failed

    @property
    def unfinished(self) -> int:
        """Number of trials that are running or waiting; they do not count yet."""
        return self.running + self.waiting

    def sentence(self) -> str:
        """Return the progress as text.

        >>> Counts(done=11, failed=1, running=2, waiting=2).sentence()
        '12 of 16 trials finished, 1 of them failed'
        """
        failed = f", {self.failed} of them failed" if self.failed else ""
        stopped = f", {self.stopped} stopped early" if self.stopped else ""
        return f"{self.finished} of {counted(self.total, 'trial')} finished{failed}{stopped}"
