"""Stopping trials early: which trials continue after some epochs, and which are stopped.

A random sample of the networks is trained to the end regardless of its errors, so it remains a random sample of the
space. Of the other networks, those with the best errors after some epochs continue. This is decided once, after all
networks have completed these epochs, and recorded in the run (fidelity.json), so every later step follows from its
files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.support.checks import flag, from_fields, mapping, number, whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_json
from designspace.support.reading import read_json_object
from designspace.trials.metric import Metric
from designspace.trials.state import TrialState
from designspace.trials.trial import EpochRecord

FIDELITY_FILE = "fidelity.json"
STANDING_COLUMNS = ("sampled", "promising")
"""Columns of a table of results with the standing of each trial, ``yes`` or ``no``."""
MIN_SAMPLED = 8
"""Minimum number of networks in the random sample: fewer say nothing about the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Rule for stopping trials early.

    Raises:
        InputError: a value is out of range.
    """

    epochs: int
    """Number of epochs after which the errors of trials are compared."""
    keep: float = 0.5
    """Fraction of the trials, those with the best errors, that continue."""
    sample: float = 0.25
    """Fraction of the trials, drawn at random, that continue regardless of their errors."""

    def __post_init__(self) -> None:
        whole("stop.epochs", self.epochs, 1)
        for name in ("keep", "sample"):
            number(f"stop.{name} (a fraction, such as 0.25)", getattr(self, name), 0, 1)

    def error(self, history: Sequence[EpochRecord], metric: Metric, chance_error: float) -> float:
        """Return the error of a trial by which it is compared, lower is better.

        Args:
            history: epochs of the trial. Images that the recipe holds out choose, if there are any.
            metric: metric of the errors.
            chance_error: error of guessing, which counts for a trial that failed before the last of these epochs.
        """
        if len(history) < self.epochs:
            return chance_error
        return float(metric.oriented(history[self.epochs - 1].selection_error))

    def decide(self, errors: Mapping[str, float], seed: int) -> dict[str, Standing]:
        """Return the standing of each trial.

        Args:
            errors: key of a trial -> its `error`.
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
    """Standing of a trial when it was decided which trials continue."""

    error: float
    """Its error at that time, lower is better."""
    sampled: bool
    """Whether it is in the random sample."""
    promising: bool
    """Whether its error was among the best."""

    def __post_init__(self) -> None:
        number("error", self.error)
        flag("sampled", self.sampled)
        flag("promising", self.promising)

    @property
    def continues(self) -> bool:
        """Whether the trial is trained to its end."""
        return self.sampled or self.promising


@dataclass(frozen=True, slots=True)
class Standings:
    """Standings of the trials of a run, and the rule behind them."""

    rule: Fidelity
    by_key: Mapping[str, Standing]
    """Key of a trial -> its standing."""

    def applied_to(self, state: TrialState) -> TrialState:
        """Return the state of a trial; it is stopped instead of waiting if the trial does not continue."""
        standing = self.by_key.get(state.key)
        if state.status != "waiting" or standing is None or standing.continues:
            return state
        return dataclasses.replace(state, status="stopped")

    def columns(self, key: str) -> tuple[str | None, str | None]:
        """Return the values of `STANDING_COLUMNS` of a trial; None if it is not decided yet."""
        standing = self.by_key.get(key)
        return (None, None) if standing is None else (_yes_or_no(standing.sampled), _yes_or_no(standing.promising))

    def merged_with(self, other: Standings | None) -> Standings:
        """Return the standings of both; for a trial in both, that of ``other``."""
        return self if other is None else Standings(other.rule, {**self.by_key, **other.by_key})

    def write(self, run: Path) -> None:
        """Write the standings into the folder of a run.

        Raises:
            RunError: the file cannot be written.
        """
        trials = {key: dataclasses.asdict(standing) for key, standing in self.by_key.items()}
        write_json(run / FIDELITY_FILE, {**dataclasses.asdict(self.rule), "trials": trials})


def read_standings(run: Path) -> Standings | None:
    """Return the standings in the folder of a run; None if none of its trials was ever stopped early.

    Raises:
        RunError: the file cannot be read, or is damaged.
    """
    path = run / FIDELITY_FILE
    if not path.exists():
        return None
    try:
        fields = dict(read_json_object(path))
        trials = mapping("trials", fields.pop("trials", None))
        by_key = {key: from_fields(Standing, mapping(key, standing)) for key, standing in trials.items()}
        return Standings(from_fields(Fidelity, fields), by_key)
    except InputError as error:
        raise RunError(f"{path} does not hold the standings of trials ({error}); it may have been edited") from error


def _random(text: str) -> bytes:
    """Return random bytes that follow from a text."""
    return hashlib.sha256(text.encode()).digest()


def _yes_or_no(value: bool) -> str:
    """Return a flag as the text of a cell."""
    return "yes" if value else "no"
