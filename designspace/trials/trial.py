"""Trials, results and failures: immutable values. Does not import torch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.networks.network import Network
from designspace.support.checks import flag, from_fields, make_plain, mapping, number, text, whole
from designspace.support.errors import unknown
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.recipe import Recipe

FIRST_WEIGHTS = "first weights"
"""Value of `Trial.weights` if the initial weights are drawn at random."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Everything that the numbers of a training depend on, fixed before it starts."""

    network: Network
    recipe: Recipe
    seed: int = 0
    weights: str = FIRST_WEIGHTS
    """Description of the initial weights."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("seed", self.seed, 0)

    @property
    def id(self) -> str:
        """Id of the network. Within a run folder, it determines the recipe (see `Plan.recipe_of`)."""
        return self.network.id

    @property
    def fingerprint(self) -> str:
        """12 hex digits that identify the trial (see `fingerprint_of`)."""
        return fingerprint_of(self.id, self.recipe, self.seed, self.weights)

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as JSON values."""
        return {
            "id": self.id,
            "network": json.loads(self.network.to_json()),
            "weights": self.weights,
            "seed": self.seed,
            "recipe": self.recipe.to_dict(),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Trial:
        """Return the trial that `to_dict` returned, also in an earlier version.

        Raises:
            InputError: the fields do not describe a trial.
        """
        fields = mapping("trial", fields, needed=["network", "recipe", "seed"])
        recipe = Recipe.from_dict(mapping("recipe", fields["recipe"]))
        weights = text("weights", fields.get("weights", FIRST_WEIGHTS))
        return Trial(Network.from_dict(mapping("network", fields["network"])), recipe, fields["seed"], weights)

    def differences(self, written: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return the fields that differ from those of a trial that `to_dict` wrote: name -> (there, here).

        Networks are compared by their ids.
        """
        there = {"weights": FIRST_WEIGHTS, **written, "network": written.get("id")}
        here = {"network": self.id, "weights": self.weights, "seed": self.seed, "recipe": self.recipe.to_dict()}
        return differences(there, here)


def differences(written: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the requested values that differ from those that were written: name -> (there, here).

    The fields of the recipe are compared one by one. A field that is missing because an earlier version wrote the
    recipe has its default.

    >>> differences({"seed": 0, "recipe": {"lr": 0.1}}, {"seed": 1, "recipe": Recipe(lr=0.2).to_dict()})
    {'seed': (0, 1), 'recipe.lr': (0.1, 0.2)}
    """
    pairs = {name: (written.get(name), value) for name, value in requested.items() if name != "recipe"}
    recipe = written.get("recipe")
    written_recipe = {**Recipe().to_dict(), **(recipe if isinstance(recipe, Mapping) else {})}
    pairs |= {f"recipe.{name}": (value, requested["recipe"].get(name)) for name, value in written_recipe.items()}
    return {name: (there, here) for name, (there, here) in pairs.items() if there != here}


def fingerprint_of(id_: str, recipe: Recipe, seed: int, weights: str = FIRST_WEIGHTS) -> str:
    """Return 12 hex digits that identify a trial by its network, recipe, seed and weights.

    They are written into its result, so that a result copied from another run counts only if the trial is the same.
    Defaults are left out, so that a field added to `Recipe` later changes no fingerprint.
    """
    identity = f"{id_} {_plan_text(recipe, seed)}" + (f" {weights}" if weights != FIRST_WEIGHTS else "")
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=8)
def _plan_text(recipe: Recipe, seed: int) -> str:
    """Return recipe and seed as text, without defaults."""
    values = {field.name: (getattr(recipe, field.name), field.default) for field in dataclasses.fields(recipe)}
    changed = {name: value for name, (value, default) in values.items() if value != default}
    # 1 and 1.0 are the same learning rate.
    plain = {name: float(value) if isinstance(value, int | float) else value for name, value in changed.items()}
    return json.dumps([plain, seed], sort_keys=True)


_LIMITS: dict[str, tuple[float | None, float | None]] = {
    "train_loss": (None, None),
    "lr": (0, None),
    "wall_s": (0, None),
    "train_error": (0, 100),
    "test_error": (None, None),
}
"""Lowest and highest values of the numbers of an epoch."""
_LARGEST = sys.float_info.max
_FINITE_LIMITS = tuple(
    (name, -_LARGEST if low is None else low, _LARGEST if high is None else high)
    for name, (low, high) in _LIMITS.items()
)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Losses and errors of one epoch.

    ``test_error`` and ``heldout_error`` are values of the recipe's metric in its own unit: top-1 errors in percent,
    unless the recipe has another metric (see `designspace.trials.metric`).
    """

    epoch: int
    """Number of the epoch, from 1."""
    lr: float
    """Learning rate at the end of the epoch."""
    train_loss: float
    train_error: float | None
    """Top-1 error on the training images as they were seen, in percent; None if the recipe has another metric."""
    test_error: float
    wall_s: float
    """Seconds that the epoch took, evaluation included."""
    heldout_error: float | None = None
    """Error on the images that the recipe holds out; None if it holds out none."""

    def __post_init__(self) -> None:
        if self._is_usual():
            return
        make_plain(self)
        whole("epoch", self.epoch, 1)
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            # Files of other programs may lack some of them.
            if not (value is None and name == "train_error") and not (isinstance(value, float) and math.isnan(value)):
                number(name, value, low, high)
        if self.heldout_error is not None:
            number("heldout_error", self.heldout_error)

    def _is_usual(self) -> bool:
        """Return whether all values are valid and have the types of files: a run has hundreds of thousands of them."""
        heldout_error = self.heldout_error
        return (
            type(self.epoch) is int
            and self.epoch >= 1
            and all(type(v := getattr(self, name)) is float and low <= v <= high for name, low, high in _FINITE_LIMITS)
            and (heldout_error is None or (type(heldout_error) is float and math.isfinite(heldout_error)))
        )

    @property
    def selection_error(self) -> float:
        """Error that may be used to choose networks: on held-out images if there are any, otherwise the test error."""
        return self.test_error if self.heldout_error is None else self.heldout_error

    def describe(self, epochs: int, metric: Metric = TOP1_ERROR) -> str:
        """Return one line of text about the epoch, one of ``epochs`` in total."""
        train = "" if self.train_error is None else f"train error {self.train_error:.2f}%, "
        heldout = "" if self.heldout_error is None else f"held-out {metric.name} {metric.text(self.heldout_error)}, "
        errors = f"{train}{heldout}test {metric.name} {metric.text(self.test_error)}"
        return f"epoch {self.epoch}/{epochs}: loss {self.train_loss:.4f}, {errors}, {self.wall_s:.1f} s"

    def check(self, metric: Metric) -> None:
        """Raise unless the values are possible for a metric.

        Raises:
            InputError: a value is out of the metric's range.
        """
        for name in ("test_error", "heldout_error"):
            value = getattr(self, name)
            if value is not None and not math.isnan(value):
                metric.check(name, value)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial that ran to its end.

    The errors are values of the recipe's metric in its own unit: top-1 errors in percent, unless the recipe has another
    metric (see `designspace.trials.metric`).
    """

    final_error: float
    """Error after the last epoch. This is the error that figures show."""
    best_error: float
    """Best error over the epochs. It is optimistic, since the test images choose the epoch."""
    epochs: int
    train_s: float
    """Seconds of all epochs together, including those before an interruption."""
    device: str
    memory_bytes: int | None = dataclasses.field(default=None, compare=False)
    """Peak memory of the training since it was last resumed, without images and libraries; None if it was not measured.
    It is ignored when results are compared."""
    heldout_error: float | None = None
    """Error after the last epoch on the images that the recipe holds out; None if it holds out none."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("final_error", "best_error"):
            number(name, getattr(self, name))
        if self.heldout_error is not None:
            number("heldout_error", self.heldout_error)
        whole("epochs", self.epochs, 0)
        number("train_s", self.train_s, 0)
        text("device", self.device)
        if self.memory_bytes is not None:
            whole("memory_bytes", self.memory_bytes, 0, 2**63 - 1)

    @property
    def selection_error(self) -> float:
        """Error that may be used to choose networks: on held-out images if there are any, otherwise the final one."""
        return self.final_error if self.heldout_error is None else self.heldout_error

    def check(self, metric: Metric) -> None:
        """Raise unless the errors are possible for a metric.

        Raises:
            InputError: an error is out of the metric's range.
        """
        for name in ("final_error", "best_error", "heldout_error"):
            if getattr(self, name) is not None:
                metric.check(name, getattr(self, name))

    @staticmethod
    def of_history(
        history: tuple[EpochRecord, ...], device: str, memory_bytes: int | None = None, metric: Metric = TOP1_ERROR
    ) -> TrialResult:
        """Summarise the epochs of a trial, at least one, which are measured by a metric."""
        return TrialResult(
            final_error=history[-1].test_error,
            best_error=metric.best(record.test_error for record in history),
            epochs=len(history),
            train_s=round(sum(record.wall_s for record in history), 3),
            device=device,
            memory_bytes=memory_bytes,
            heldout_error=history[-1].heldout_error,
        )


MAX_DETAIL = 100_000
"""Maximum number of characters of `TrialFailure.detail`."""
DIVERGED = "diverged"
"""The only reason that is due to the network itself; the others are due to the machine or the code."""
FAILURE_REASONS = (DIVERGED, "out of memory", "time limit", "worker died", "error")


@dataclass(frozen=True, slots=True)
class TrialFailure:
    """The failure of a trial, which stays a row of every table."""

    reason: str
    """One of `FAILURE_REASONS`."""
    detail: str
    """One line for a table: the text of the exception, or how the worker ended."""
    epochs: int = 0
    """Number of epochs that the trial had completed."""

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
    """An attempt at a trial that failed. Completed and cleanly interrupted attempts are not recorded."""

    failure: TrialFailure
    host: str
    ended: float
    """Time of its end, in seconds since 1970."""
    outside: bool = False
    """Whether the cause seems to be outside the trial, such as kill -9 or a lost machine."""

    def __post_init__(self) -> None:
        text("host", self.host)
        number("ended", self.ended)
        flag("outside", self.outside)

    @staticmethod
    def from_dict(fields: Any) -> Attempt:
        """Return an attempt from its JSON fields.

        Raises:
            InputError: the fields do not describe an attempt.
        """
        fields = dict(mapping("attempt", fields, needed=["failure"]))
        attempt: Attempt = from_fields(Attempt, {**fields, "failure": from_fields(TrialFailure, fields["failure"])})
        return attempt


KILLS_PER_RETRY = 10
"""Number of attempts ended from outside that count as one failed attempt of the trial itself."""


def has_failed_for_good(attempts: Sequence[Attempt], max_retries: int) -> bool:
    """Return whether a trial has failed for good after these attempts, the last of which has just ended.

    Only attempts since the last completed epoch count, since a trial that makes progress is worth resuming. A trial
    that diverged would diverge again.
    """
    last = attempts[-1].failure
    if last.has_diverged:
        return True
    stuck = [attempt for attempt in attempts if attempt.failure.epochs >= last.epochs]
    outside = sum(attempt.outside for attempt in stuck)
    return len(stuck) - outside + outside // KILLS_PER_RETRY > max_retries
