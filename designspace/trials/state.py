"""The state of a trial, as its files tell it."""

from __future__ import annotations

from dataclasses import dataclass

from designspace.trials import claims
from designspace.trials.plan import id_of
from designspace.trials.trial import TrialFailure, TrialResult

STATUSES = ("done", "failed", "running", "waiting", "stopped")
"""``stopped``: not trained to the end, because of its error after some epochs (see `designspace.trials.fidelity`)."""


@dataclass(frozen=True, slots=True)
class TrialState:
    """State of a trial, as read from its files."""

    key: str
    """Key of the trial (see `designspace.trials.plan`)."""
    status: str
    """One of `STATUSES`."""
    result: TrialResult | None = None
    failure: TrialFailure | None = None
    claim: claims.ObservedClaim | None = None
    """The claim of the process that is working on an unfinished trial, or was the last to do so."""
    finished_at: float = 0.0
    """Time at which it finished, in seconds since 1970; 0 if unknown."""
    is_damaged: bool = False
    """Whether files of the trial cannot be read. It then counts as failed, and ``failure`` describes the damage."""
    is_edited: bool = False
    """Whether its result is complete but holds a value that training cannot produce, such as an error of -1.

    The file was edited, so the rank of the trial is unknown."""

    @property
    def id(self) -> str:
        """Id of the trial's network."""
        return id_of(self.key)

    @property
    def is_finished(self) -> bool:
        """Whether the trial is done or has failed."""
        return self.status in ("done", "failed")
