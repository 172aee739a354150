"""Scores of networks on images by the metrics of recipes: the built-in ones, and your own as ``package.module:name``.

Your own metric is an object, or a class that makes one without arguments, with four attributes: ``name``, ``unit``,
``direction`` ("lower" or "higher", whichever is better) and ``guess``, the value of a network that guesses, which is a
number or a function of the number of classes. It may have ``low`` and ``high``, the limits of its values. It is called
with the logits and labels of all images that are measured, on the CPU, and returns a number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from designspace.support.checks import plain
from designspace.support.errors import InputError
from designspace.support.imported import is_import_name
from designspace.support.text import shown
from designspace.training.device_data import DeviceData
from designspace.training.losses import imported_callable
from designspace.training.shard import Shard
from designspace.training.step import count_wrong
from designspace.trials.metric import DEFAULT_METRIC, METRICS, Labels, Metric, check_built_in, top1_error
from designspace.trials.recipe import Recipe


class Score(ABC):
    """The score of a network on images, to which batches are added."""

    @abstractmethod
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add the logits and labels of a batch."""

    @abstractmethod
    def value(self, images: int, shard: Shard) -> float:
        """Return the score on all images, whose number is given; all devices must call this together."""


class _Sums(Score):
    """A score that follows from sums over images."""

    def __init__(
        self, zeros: Tensor, sums: Callable[[Tensor, Tensor], Tensor], value: Callable[[Tensor, int], float]
    ) -> None:
        self._total, self._sums, self._value = zeros, sums, value

    def add(self, logits: Tensor, labels: Tensor) -> None:
        self._total += self._sums(logits, labels)

    def value(self, images: int, shard: Shard) -> float:
        return self._value(shard.total(self._total), images)


class _Outputs(Score):
    """A score that is a function of the logits and labels of all images together."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any], name: str) -> None:
        self._function, self._name = function, name
        self._batches: list[tuple[Tensor, Tensor]] = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        self._batches.append((logits.float().cpu(), labels.cpu()))

    def value(self, images: int, shard: Shard) -> float:
        batches = [batch for part in shard.gather(self._batches) for batch in part]
        logits, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
        return checked_value(self._function(logits, labels), self._name)


@dataclass(frozen=True, slots=True)
class Scoring:
    """How networks are measured."""

    metric: Metric
    begin: Callable[[int, torch.device], Score]
    """Returns an empty score, given the number of classes and the device."""


def scoring_of(recipe: Recipe, data: DeviceData) -> Scoring:
    """Return how a recipe measures networks on the images of a data set.

    Raises:
        InputError: the loss or the metric does not fit the labels, or the user's own metric is not a valid one.
    """
    if recipe.metric == DEFAULT_METRIC and recipe.loss == "cross_entropy" and data.test_labels.dim() == 1:
        return Scoring(top1_error(data.num_classes), _BEGIN[DEFAULT_METRIC])  # without copying the labels to the host
    labels = Labels(data.num_classes, data.train_labels.cpu().numpy(), data.test_labels.cpu().numpy())
    check_built_in(recipe.loss, recipe.metric, labels.target, data.num_classes, data.name)
    if not is_import_name(recipe.metric):
        return Scoring(METRICS[recipe.metric].of(labels), _BEGIN[recipe.metric])
    function = imported_callable("recipe.metric", recipe.metric)
    return Scoring(described(function, recipe.metric, labels.num_classes), lambda *_: _Outputs(function, recipe.metric))


def described(metric: Any, name: str, num_classes: int) -> Metric:
    """Return the description of a user's own metric.

    Args:
        metric: the object.
        name: its import name, for error messages.
        num_classes: number of classes, from which its value of guessing may follow.

    Raises:
        InputError: an attribute is missing or not valid.
    """
    needed = ("name", "unit", "direction", "guess")
    if missing := [attribute for attribute in needed if not hasattr(metric, attribute)]:
        raise InputError(
            f"recipe.metric: {name} has no {', '.join(missing)}; a metric needs {', '.join(needed)} "
            "(see designspace.training.scoring)"
        )
    guess = metric.guess
    try:
        guess = guess(num_classes) if callable(guess) else guess
        limits = getattr(metric, "low", None), getattr(metric, "high", None)
        return Metric(metric.name, metric.unit, metric.direction, guess, *limits)
    except InputError as error:
        raise InputError(f"recipe.metric: {name}: {error}") from error
    except Exception as error:  # a custom function may raise anything
        raise InputError(
            f"recipe.metric: {name}.guess({num_classes}) raised {type(error).__name__}: {error}"
        ) from error


def checked_value(value: Any, name: str) -> float:
    """Return the value that a metric returned as a number.

    Raises:
        InputError: it is not a single finite number.
    """
    converted = plain(value)
    is_number = isinstance(converted, int | float) and not isinstance(converted, bool)
    if not is_number or not math.isfinite(converted):
        raise InputError(f"recipe.metric: {name} returned {shown(value)}, but a metric must return one finite number")
    return float(converted)


def _top1(_: int, device: torch.device) -> Score:
    return _Sums(_zeros(device), count_wrong, lambda wrong, images: 100 * int(wrong) / images)


def _top5(_: int, device: torch.device) -> Score:
    def wrong(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.topk(5, 1).indices != labels[:, None]).all(1).sum()

    return _Sums(_zeros(device), wrong, lambda wrong, images: 100 * int(wrong) / images)


def _balanced(num_classes: int, device: torch.device) -> Score:
    """Return a score of the mean error over the classes that occur."""

    def counts(logits: Tensor, labels: Tensor) -> Tensor:
        wrong = labels[logits.argmax(1) != labels]
        return torch.stack([part.bincount(minlength=num_classes) for part in (labels, wrong)])

    def value(total: Tensor, _: int) -> float:
        images, wrong = total.double()
        return 100 * float((wrong / images)[images > 0].mean())

    return _Sums(_zeros(device, 2, num_classes), counts, value)


def _cross_entropy(_: int, device: torch.device) -> Score:
    def total(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits.double(), labels, reduction="sum")

    return _Sums(_zeros(device).double(), total, lambda total, images: float(total) / images)


def _mean_absolute(num_values: int, device: torch.device) -> Score:
    def total(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.double() - labels.double()).abs().sum()

    return _Sums(_zeros(device).double(), total, lambda total, images: float(total) / images / num_values)


def _miou(num_classes: int, device: torch.device) -> Score:
    """Return a score of the mean intersection over union, over the classes that occur in labels or guesses.

    Pixels whose label is not a class, such as 255, are left out.
    """

    def confusion(logits: Tensor, labels: Tensor) -> Tensor:
        is_class = (labels >= 0) & (labels < num_classes)
        pairs = labels[is_class] * num_classes + logits.argmax(1)[is_class]
        return pairs.bincount(minlength=num_classes**2).view(num_classes, num_classes)

    def value(total: Tensor, _: int) -> float:
        counts = total.double()
        both = counts.diagonal()
        either = counts.sum(0) + counts.sum(1) - both
        return 100 * float((both / either)[either > 0].mean())

    return _Sums(_zeros(device, num_classes, num_classes), confusion, value)


def _average_precision(*_: object) -> Score:
    return _Outputs(mean_average_precision, "mean_average_precision")


def mean_average_precision(logits: Tensor, labels: Tensor) -> float:
    """Return the mean, over the classes that some image has, of the average precision of the order of the images.

    Args:
        logits: (N, K).
        labels: 1 for the classes of an image and 0 for the others, (N, K).

    Raises:
        InputError: no image has a class.
    """
    from sklearn.metrics import average_precision_score  # takes a second, and few trainings need it

    occurs = labels.bool().any(0)
    if not occurs.any():
        raise InputError("the mean average precision is not defined, because no image has a class")
    return 100 * float(average_precision_score(labels[:, occurs].numpy(), logits[:, occurs].numpy(), average="macro"))


def _zeros(device: torch.device, *shape: int) -> Tensor:
    """Return zeros as whole numbers."""
    return torch.zeros(shape, dtype=torch.int64, device=device)


_BEGIN: dict[str, Callable[[int, torch.device], Score]] = {
    DEFAULT_METRIC: _top1,
    "top5_error": _top5,
    "balanced_error": _balanced,
    "cross_entropy": _cross_entropy,
    "mean_average_precision": _average_precision,
    "mean_absolute_error": _mean_absolute,
    "miou": _miou,
}
TOP1 = Scoring(top1_error(2), _top1)
"""The default metric where its value of guessing plays no part."""
