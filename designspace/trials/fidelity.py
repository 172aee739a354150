"""Trials that are stopped early because of their errors after some epochs, and random ones that never are.

A random sample of the networks is trained to the end whatever its errors are, so it stays a random sample of the space.
Of the others, those go on whose errors after some epochs are among the best. This is decided once, when all networks
have completed these epochs, and kept in the run (fidelity.json), so that every later step follows from its files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from designspace.support.checks import flag, from_fields, mapping, number, whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_json
from designspace.support.reading import read_json_object
from designspace.trials.trial_folder import TrialState

FIDELITY_FILE = "fidelity.json"
STANDING_COLUMNS = ("sampled", "promising")
"""Columns of a table of results with the standing of each trial, ``yes`` or ``no``."""
MIN_SAMPLED = 8
"""Minimum number of networks of the random sample: fewer say nothing about the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """When trials are stopped early.

    Raises:
        InputError: a value is out of range.
    """

    epochs: int
    """Epochs after which trials are compared."""
    keep: float = 0.5
    """Fraction of the trials, those with the best errors, that go on."""
    sample: float = 0.25
    """Fraction of the trials, drawn at random, that go on whatever their errors are."""

    def __post_init__(self) -> None:
        whole("stop.epochs", self.epochs, 1)
        for name in ("keep", "sample"):
            number(f"stop.{name} (a fraction, such as 0.25)", getattr(self, name), 0, 1)

    def decide(self, errors: Mapping[str, float], seed: int) -> dict[str, Standing]:
        """Return the standing of each trial.

        Args:
            errors: key -> error after ``epochs`` epochs, lower is better; that of guessing for a failed trial.
            seed: seed of the random sample and of the order of ties, which do not depend on the order of the trials.

        >>> standings = Fidelity(epochs=2, keep=0.5, sample=0).decide({str(k): k for k in range(20)}, 0)
        >>> [key for key, standing in standings.items() if standing.promising]
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
        >>> sum(standing.sampled for standing in standings.values())
        8
        """
        drawn = sorted(errors, key=lambda key: _random(f"{seed} sample {key}"))
        sampled = set(drawn[: max(MIN_SAMPLED, math.ceil(self.sample * len(drawn)))])
        # Not in the order of the sample: of those that are not promising, it must be a random part.
        ranked = sorted(errors, key=lambda key: (errors[key], _random(f"{seed} tie {key}")))
        promising = set(ranked[: math.ceil(self.keep * len(ranked))])
        return {key: Standing(error, key in sampled, key in promising) for key, error in errors.items()}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a trial stood when it was decided which trials go on."""

    error: float
    """Its error then, lower is better."""
    sampled: bool
    """Whether it is in the random sample."""
    promising: bool
    """Whether its error was among the best."""

    def __post_init__(self) -> None:
        number("error", self.error)
        flag("sampled", self.sampled)
        flag("promising", self.promising)

    @property
    def goes_on(self) -> bool:
        """Whether the trial is trained to its end."""
        return self.sampled or self.promising


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about the trials of a run."""

    rule: Fidelity
    standings: Mapping[str, Standing]
    """Key of a trial -> its standing."""

    def seen(self, state: TrialState) -> TrialState:
        """Return the state of a trial, which is stopped instead of waiting if it does not go on."""
        standing = self.standings.get(state.key)
        if state.status != "waiting" or standing is None or standing.goes_on:
            return state
        return dataclasses.replace(state, status="stopped")

    def columns(self, key: str) -> tuple[str | None, str | None]:
        """Return the values of `STANDING_COLUMNS` of a trial; None if it is not decided yet."""
        standing = self.standings.get(key)
        return (None, None) if standing is None else (_word(standing.sampled), _word(standing.promising))

    def joined_to(self, other: Decided | None) -> Decided:
        """Return both together; what the other says of a trial counts."""
        return self if other is None else Decided(other.rule, {**self.standings, **other.standings})

    def write(self, run: Path) -> None:
        """Write it into the folder of a run.

        Raises:
            RunError: the file cannot be written.
        """
        trials = {key: dataclasses.asdict(standing) for key, standing in self.standings.items()}
        fields = {**dataclasses.asdict(self.rule), "trials": trials}
        write_json(run / FIDELITY_FILE, fields)


def read_decided(run: Path) -> Decided | None:
    """Return what was decided about the trials of a run, from its folder; None if no trial was ever stopped early.

    Raises:
        RunError: the file cannot be read, or is damaged.
    """
    path = run / FIDELITY_FILE
    if not path.exists():
        return None
    try:
        fields = dict(read_json_object(path))
        trials = mapping("trials", fields.pop("trials", None))
        standings = {key: from_fields(Standing, mapping(key, standing)) for key, standing in trials.items()}
        return Decided(from_fields(Fidelity, fields), standings)
    except InputError as error:
        raise RunError(f"{path} does not say which trials were stopped early ({error})") from error


def _random(text: str) -> bytes:
    """Return random bytes that follow from a text."""
    return hashlib.sha256(text.encode()).digest()


def _word(value: bool) -> str:
    """Return the value of a cell."""
    return "yes" if value else "no"
