"""What is asked of a network, and what happened: frozen values, no torch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.networks.network import Network
from designspace.support.checks import flag, make_plain, mapping, number, text, whole
from designspace.support.errors import unknown
from designspace.trials.recipe import Recipe

FIRST_WEIGHTS = "first weights"
"""How a trial says that it begins with weights that are drawn at random."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training, decided before it starts: all that its numbers depend on."""

    network: Network
    recipe: Recipe
    seed: int = 0
    weights: str = FIRST_WEIGHTS
    """With which weights it begins, in words."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("seed", self.seed, 0)

    @property
    def id(self) -> str:
        """The id of the network: within a run folder, recipe and first seed are one for all trials."""
        return self.network.id

    @property
    def fingerprint(self) -> str:
        """12 hex digits that name the trial (see `fingerprint_of`)."""
        return fingerprint_of(self.id, self.recipe, self.seed, self.weights)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "id": self.id,
            "network": json.loads(self.network.to_json()),
            "weights": self.weights,
            "seed": self.seed,
            "recipe": self.recipe.to_dict(),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Trial:
        """Return the trial that `to_dict` gave, perhaps in an earlier version.

        Raises:
            InputError: it does not describe a trial.
        """
        known = mapping("trial", fields, needed=["network", "recipe", "seed"])
        recipe = Recipe.from_dict(mapping("recipe", known["recipe"]))
        weights = text("weights", known.get("weights", FIRST_WEIGHTS))
        return Trial(Network.from_dict(mapping("network", known["network"])), recipe, known["seed"], weights)

    def differences(self, held: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return in what this trial differs from one that `to_dict` described: name -> (there, here).

        Networks are compared by their ids.
        """
        theirs = {"weights": FIRST_WEIGHTS, **held, "network": held.get("id")}
        ours = {"network": self.id, "weights": self.weights, "seed": self.seed, "recipe": self.recipe.to_dict()}
        return differences(theirs, ours)


def differences(held: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values asked for that differ from those that were written down: name -> (there, here).

    The fields of the recipe are compared one by one. A field that recipes did not have when it was written had the
    value that is its default now.

    >>> differences({"seed": 0, "recipe": {"lr": 0.1}}, {"seed": 1, "recipe": Recipe(lr=0.2).to_dict()})
    {'seed': (0, 1), 'recipe.lr': (0.1, 0.2)}
    """
    pairs = {name: (held.get(name), value) for name, value in asked.items() if name != "recipe"}
    recipe = held.get("recipe")
    written = {**Recipe().to_dict(), **(recipe if isinstance(recipe, Mapping) else {})}
    pairs |= {f"recipe.{name}": (value, asked["recipe"].get(name)) for name, value in written.items()}
    return {name: (there, here) for name, (there, here) in pairs.items() if there != here}


def fingerprint_of(id_: str, recipe: Recipe, seed: int, weights: str = FIRST_WEIGHTS) -> str:
    """Return 12 hex digits that name a trial by its network, recipe, seed and weights; they stand in its result.

    A result that was copied from another run counts only where the trial is the same. Defaults are left out, so that a
    field added to `Recipe` later changes no fingerprint.
    """
    words = f"{id_} {_plan_text(recipe, seed)}" + (f" {weights}" if weights != FIRST_WEIGHTS else "")
    return hashlib.sha256(words.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=8)
def _plan_text(recipe: Recipe, seed: int) -> str:
    """Recipe and seed as text, without defaults."""
    values = {field.name: (getattr(recipe, field.name), field.default) for field in dataclasses.fields(recipe)}
    told = {name: value for name, (value, default) in values.items() if value != default}
    # 1 and 1.0 are the same learning rate.
    plain = {name: float(value) if isinstance(value, int | float) else value for name, value in told.items()}
    return json.dumps([plain, seed], sort_keys=True)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch did. Errors are per cent, top-1."""

    epoch: int
    """From 1."""
    lr: float
    """Learning rate at the end of the epoch."""
    train_loss: float
    train_error: float
    test_error: float
    wall_s: float
    """Seconds that the epoch took, evaluation included."""
    heldout_error: float | None = None
    """On the images that the recipe holds out of training; None where it holds none."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("epoch", self.epoch, 1)
        limits: dict[str, tuple[float | None, float | None]] = {
            "train_loss": (None, None),
            "lr": (0, None),
            "wall_s": (0, None),
            "train_error": (0, 100),
            "test_error": (0, 100),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not (isinstance(value, float) and math.isnan(value)):  # other programs do not tell all of them
                number(name, value, low, high)
        if self.heldout_error is not None:
            number("heldout_error", self.heldout_error, 0, 100)

    def in_words(self, epochs: int) -> str:
        """Say in one line what the epoch did; ``epochs`` is how many there are to be."""
        heldout = "" if self.heldout_error is None else f"held-out error {self.heldout_error:.2f}%, "
        errors = f"train error {self.train_error:.2f}%, {heldout}test error {self.test_error:.2f}%"
        return f"epoch {self.epoch}/{epochs}: loss {self.train_loss:.4f}, {errors}, {self.wall_s:.1f} s"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A trial that ran to its end."""

    final_error: float
    """Per cent, top-1, after the last epoch. This is the error that figures show."""
    best_error: float
    """The least over the epochs. It chooses among epochs on the test images, so it flatters."""
    epochs: int
    train_s: float
    """Seconds of all epochs together, those before an interruption included."""
    device: str
    memory_bytes: int | None = dataclasses.field(default=None, compare=False)
    """Memory that the training needed at its highest (since it was last gone on with), beyond images and libraries;
    None where it was not measured. It says nothing of whether two results are the same."""
    heldout_error: float | None = None
    """After the last epoch, on the images that the recipe held out of training; None where it held none."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("final_error", "best_error"):
            number(name, getattr(self, name), 0, 100)
        if self.heldout_error is not None:
            number("heldout_error", self.heldout_error, 0, 100)
        whole("epochs", self.epochs, 0)
        number("train_s", self.train_s, 0)
        text("device", self.device)
        if self.memory_bytes is not None:
            whole("memory_bytes", self.memory_bytes, 0, 2**63 - 1)

    @property
    def selection_error(self) -> float:
        """The error that may choose among networks: on held-out images where there are any, else the final one."""
        return self.final_error if self.heldout_error is None else self.heldout_error

    @staticmethod
    def of_history(history: tuple[EpochRecord, ...], device: str, memory_bytes: int | None = None) -> TrialResult:
        """Sum up the epochs of a trial, at least one."""
        return TrialResult(
            final_error=history[-1].test_error,
            best_error=min(record.test_error for record in history),
            epochs=len(history),
            train_s=round(sum(record.wall_s for record in history), 3),
            device=device,
            memory_bytes=memory_bytes,
            heldout_error=history[-1].heldout_error,
        )


MAX_DETAIL = 100_000
"""Characters of what is told about a failure."""
DIVERGED = "diverged"
"""The only reason that lies in the network itself; the others are those of the machine or of the code."""
FAILURE_REASONS = (DIVERGED, "out of memory", "time limit", "worker died", "error")


@dataclass(frozen=True, slots=True)
class TrialFailure:
    """A trial that ended without a result. It stays a row of every table."""

    reason: str
    """One of `FAILURE_REASONS`."""
    detail: str
    """One line for a table: the exception's text, or what became of the worker."""
    epochs: int = 0
    """Epochs that it had completed."""

    def __post_init__(self) -> None:
        if text("reason of failure", self.reason) not in FAILURE_REASONS:
            raise unknown("failure reason", self.reason, FAILURE_REASONS)
        text("detail", self.detail, MAX_DETAIL)
        whole("epochs", self.epochs, 0)

    @property
    def has_diverged(self) -> bool:
        """Whether the network itself failed, so that it counts as one that guesses."""
        return self.reason == DIVERGED


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try at a trial that ended badly. What ends well, or is interrupted in good order, is none."""

    failure: TrialFailure
    host: str
    ended: float
    """Seconds since 1970."""
    outside: bool = False
    """Whether something outside seems to have ended it (kill -9, a lost machine), not the trial itself."""

    def __post_init__(self) -> None:
        text("host", self.host)
        number("ended", self.ended)
        flag("outside", self.outside)


KILLS_PER_RETRY = 10
"""So many ends from outside count as one end of the trial's own making."""


def is_hopeless(attempts: Sequence[Attempt], max_retries: int) -> bool:
    """Whether a trial has failed for good after these attempts, the last of which has just ended.

    Only attempts since the last completed epoch count: what makes progress is worth going on with. A trial that
    diverged would do so again.
    """
    last = attempts[-1].failure
    if last.has_diverged:
        return True
    stuck = [attempt for attempt in attempts if attempt.failure.epochs >= last.epochs]
    outside = sum(attempt.outside for attempt in stuck)
    return len(stuck) - outside + outside // KILLS_PER_RETRY > max_retries
