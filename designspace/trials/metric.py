"""Metrics by which the networks of a run are measured: name, unit, direction and the value of guessing.

Files and tables hold a metric's own values in its own unit, in the fields ``final_error``, ``best_error``,
``heldout_error`` and ``test_error``, whose names are those of the default metric. What ranks or compares networks uses
`Metric.oriented`, by which lower values are better for every metric.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from designspace.support.checks import from_fields, make_plain, number, text
from designspace.support.errors import InputError, unknown

Direction = Literal["lower", "higher"]
"""Which values of a metric are better."""
Target = Literal["class", "multilabel", "regression", "dense"]
"""Kinds of labels: a class per image, several classes per image, numbers per image, or a class per pixel."""
DEFAULT_METRIC = "top1_error"
MAX_NAME = 60
"""Maximum number of characters of a metric's name, which is in labels of axes."""

V = TypeVar("V", float, "NDArray[np.float64]")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of trained networks, as the trials of a run are measured by it.

    Raises:
        InputError: a field is of another kind, the direction is unknown, or the value of guessing is out of range.
    """

    name: str
    """Name in sentences and on axes, such as "mean average precision"."""
    unit: str
    """Unit of the values, such as "%"; empty for a plain number."""
    direction: Direction
    guess: float
    """Value of a network that guesses, which is that of networks that diverged."""
    low: float | None = None
    """Lowest possible value; None if there is no limit."""
    high: float | None = None
    """Highest possible value; None if there is no limit."""
    kind: str = ""
    """Further words for labels, before the unit."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name, is_optional in (("name", False), ("unit", True), ("kind", True)):
            value = text(f"metric: {name}", getattr(self, name), MAX_NAME)
            if not (value.isprintable() and (value.strip() or is_optional)):
                raise InputError(f"metric: {name} must be printable text on one line, not {value!r}")
        if self.direction not in get_args(Direction):
            raise unknown("direction of a metric", str(self.direction), get_args(Direction))
        for limit in ("low", "high"):
            if getattr(self, limit) is not None:
                number(f"metric: {limit}", getattr(self, limit))
        self.check("the value of guessing", self.guess)

    @property
    def is_default(self) -> bool:
        """Whether it is the top-1 error."""
        return (self.name, self.kind) == ("error", "top-1")

    @property
    def label(self) -> str:
        """The name with its unit, for an axis or the head of a column.

        >>> Metric("mean average precision", "%", "higher", 10.0).label
        'mean average precision (%)'
        """
        details = ", ".join(filter(None, (self.kind, self.unit)))
        return f"{self.name} ({details})" if details else self.name

    @property
    def heading(self) -> str:
        """The name with its unit, for the head of a column of numbers."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def title(self) -> str:
        """The name as the first words of a sentence."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def with_article(self) -> str:
        """The name after "a" or "an"."""
        return f"{'an' if self.name[:1].lower() in 'aeiou' else 'a'} {self.name}"

    @property
    def plural(self) -> str:
        """The word for several values."""
        return f"{self.name}s" if self.name.endswith("error") else f"values of {self.name}"

    @property
    def best_word(self) -> str:
        """The word for the best of several values."""
        return "least" if self.direction == "lower" else "highest"

    @property
    def better_word(self) -> str:
        """The word for the better of two values."""
        return self.direction

    @property
    def worse_word(self) -> str:
        """The word for the worse of two values."""
        return "higher" if self.direction == "lower" else "lower"

    @property
    def flattered(self) -> str:
        """The words for a value that is better than it should be, because it was chosen."""
        return f"too {'low' if self.direction == 'lower' else 'high'}"

    @property
    def reaches(self) -> str:
        """The words before a value that a network reaches: it, or a better one."""
        return "at most" if self.direction == "lower" else "at least"

    @property
    def points(self) -> str:
        """The unit of a difference of two values."""
        return "points" if self.unit == "%" else self.unit or "points"

    def oriented(self, value: V) -> V:
        """Return values such that lower ones are better: negated if higher ones are. The function is its own inverse.

        >>> Metric("accuracy", "%", "higher", 10.0).oriented(80.0)
        -80.0
        """
        return value if self.direction == "lower" else -value

    def oriented_interval(self, value: float, low: float, high: float) -> tuple[float, float, float]:
        """Return `oriented` for a difference and the ends of its interval."""
        return (value, low, high) if self.direction == "lower" else (-value, -high, -low)

    def best(self, values: Iterable[float]) -> float:
        """Return the best of some values, at least one."""
        return min(values) if self.direction == "lower" else max(values)

    @property
    def digits(self) -> int:
        """Number of decimals of values in texts."""
        return 2 if self.unit == "%" else 3

    def number(self, value: float, digits: int | None = None) -> str:
        """Return a value without its unit."""
        return f"{value:.{self.digits if digits is None else digits}f}"

    def text(self, value: float, digits: int | None = None) -> str:
        """Return a value with its unit.

        >>> Metric("error", "%", "lower", 90.0).text(12.346), Metric("loss", "nats", "lower", 2.3).text(0.5)
        ('12.35%', '0.500 nats')
        """
        return self.number(value, digits) + (self.unit if self.unit in ("", "%") else f" {self.unit}")

    def short_text(self, value: float) -> str:
        """Return a value with its unit, and only with the decimals that it needs."""
        return f"{value:g}{self.unit if self.unit in ('', '%') else f' {self.unit}'}"

    def signed(self, value: float) -> str:
        """Return a difference of two values with its sign."""
        return f"{value:+.{self.digits}f}"

    def difference(self, value: float) -> str:
        """Return a difference of two values, with its sign and unit.

        >>> TOP1_ERROR.difference(-0.5)
        '-0.50 points'
        """
        return f"{self.signed(value)} {self.points}"

    def allows(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which values are possible."""
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        allowed: NDArray[np.bool_] = np.isfinite(values) & (values >= low) & (values <= high)
        return allowed

    @property
    def range_text(self) -> str:
        """The range of possible values as text.

        >>> TOP1_ERROR.range_text
        'from 0 to 100 percent'
        """
        unit = " percent" if self.unit == "%" else f" {self.unit}".rstrip()
        if self.low is None and self.high is None:
            return "a finite number"
        low = "" if self.low is None else f"from {self.low:g}"
        high = "" if self.high is None else f"{' ' if low else 'up '}to {self.high:g}"
        return low + high + unit

    @property
    def lowest_oriented(self) -> float:
        """Lowest value of `oriented` that is possible."""
        limit = self.low if self.direction == "lower" else self.high
        return -math.inf if limit is None else self.oriented(float(limit))

    def check(self, name: str, value: Any) -> None:
        """Raise unless a value is possible.

        Raises:
            InputError: the value is not a finite number, or below ``low`` or above ``high``.
        """
        number(name, value, self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as JSON values."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    @staticmethod
    def from_dict(fields: Any) -> Metric:
        """Return the metric that `to_dict` returned.

        Raises:
            InputError: the fields do not describe a metric.
        """
        metric: Metric = from_fields(Metric, fields)
        return metric


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a data set, from which the value of guessing follows."""

    num_classes: int
    """Number of classes, or of values per image."""
    train: NDArray[Any]
    test: NDArray[Any]

    @property
    def target(self) -> Target:
        """Kind of the labels."""
        return target_of(self.test.ndim, self.test.dtype.kind)


def target_of(dimensions: int, kind: str) -> Target:
    """Return the kind of an array of labels.

    Args:
        dimensions: number of its dimensions: 1 for a class per image, 3 for a class per pixel, 2 for others.
        kind: ``f`` for an array of numbers that are not whole, as in ``numpy.dtype.kind``.
    """
    if dimensions == 2:
        return "regression" if kind == "f" else "multilabel"
    return "class" if dimensions == 1 else "dense"


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in metric."""

    name: str
    unit: str
    direction: Direction
    target: Target
    """Kind of labels that it measures."""
    guess: Callable[[Labels], float]
    high: float | None = 100.0
    kind: str = ""
    min_classes: int = 2
    """Number of classes from which on it means anything."""

    def of(self, labels: Labels) -> Metric:
        """Return the metric for the labels of a data set."""
        return Metric(self.name, self.unit, self.direction, float(self.guess(labels)), 0.0, self.high, self.kind)


def chance_error(num_classes: int) -> float:
    """Return the top-1 error of a network that guesses, in percent."""
    return 100 * (1 - 1 / num_classes)


def top1_error(num_classes: int) -> Metric:
    """Return the default metric for a number of classes."""
    return Metric("error", "%", "lower", chance_error(num_classes), 0.0, 100.0, "top-1")


TOP1_ERROR = top1_error(2)
"""The default metric where its value of guessing plays no part."""


def _share_of_positives(labels: Labels) -> float:
    """Return the mean share of positive images, over the values that are positive in some image, in percent.

    It is the expected average precision of a random order, for many images.
    """
    shares = (labels.test != 0).mean(axis=0)
    return 100 * float(shares[shares > 0].mean()) if shares.any() else 0.0


def _error_of_mean(labels: Labels) -> float:
    """Return the mean absolute error on the test images of predicting the mean of the training labels."""
    return float(np.abs(labels.test.astype(np.float64) - labels.train.astype(np.float64).mean(axis=0)).mean())


METRICS: Mapping[str, BuiltIn] = {
    DEFAULT_METRIC: BuiltIn(
        "error", "%", "lower", "class", lambda labels: chance_error(labels.num_classes), kind="top-1"
    ),
    "top5_error": BuiltIn(
        "top-5 error", "%", "lower", "class", lambda labels: 100 * (1 - 5 / labels.num_classes), min_classes=6
    ),
    "balanced_error": BuiltIn("balanced error", "%", "lower", "class", lambda labels: chance_error(labels.num_classes)),
    "cross_entropy": BuiltIn(
        "cross-entropy", "nats", "lower", "class", lambda labels: math.log(labels.num_classes), None
    ),
    "mean_average_precision": BuiltIn(
        "mean average precision", "%", "higher", "multilabel", _share_of_positives, min_classes=1
    ),
    "mean_absolute_error": BuiltIn(
        "mean absolute error", "", "lower", "regression", _error_of_mean, None, min_classes=1
    ),
    # Uniform guesses, if all classes have equally many pixels, hit 1/K of a class and cover 1/K of all pixels.
    "miou": BuiltIn("mIoU", "%", "higher", "dense", lambda labels: 100 / (2 * labels.num_classes - 1)),
}
"""The built-in metrics by the names for ``recipe.metric``."""

LOSSES: Mapping[str, tuple[Target, ...]] = {
    "cross_entropy": ("class", "dense"),
    "binary_cross_entropy": ("multilabel",),
    "mean_absolute_error": ("regression",),
    "mean_squared_error": ("regression",),
}
"""The built-in losses by the names for ``recipe.loss``, with the kinds of labels that they fit."""


def check_built_in(loss: str, metric: str, target: str, num_classes: int, data: str) -> None:
    """Raise unless the built-in loss and metric of a recipe fit the labels; names of other objects are not checked.

    Args:
        loss: ``recipe.loss``.
        metric: ``recipe.metric``.
        target: kind of the labels.
        num_classes: number of classes, or of values per image.
        data: name of the data set.

    Raises:
        InputError: one of them is for other labels, or for more classes.
    """
    losses = [name for name, targets in LOSSES.items() if target in targets]
    metrics = [name for name, built_in in METRICS.items() if built_in.target == target]
    for option, name, fitting in (("loss", loss, losses), ("metric", metric, metrics)):
        if name in (LOSSES if option == "loss" else METRICS) and name not in fitting:
            raise InputError(
                f"recipe.{option}={name} does not fit {data}, whose labels are {_DESCRIPTIONS[target]}: choose "
                f"recipe.loss={_either(losses)} and recipe.metric={_either(metrics)}, or your own as "
                f"recipe.{option}=package.module:name"
            )
    if metric in METRICS and num_classes < METRICS[metric].min_classes:
        raise InputError(
            f"recipe.metric={metric} needs {METRICS[metric].min_classes} classes or more, but {data} has "
            f"{num_classes}; choose recipe.metric={DEFAULT_METRIC}"
        )


_DESCRIPTIONS: Mapping[str, str] = {
    "class": "one class per image",
    "multilabel": "several classes per image",
    "regression": "numbers",
    "dense": "one class per pixel",
}


def _either(names: list[str]) -> str:
    """Return names as alternatives."""
    return " or ".join(names)
