"""The function that trains a trial's network, and checks of its results, because a custom one may return anything."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable
from typing import Any

from designspace.support.errors import InputError
from designspace.support.imported import import_object
from designspace.trials.metric import TOP1_ERROR, Metric
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, TrialResult

_SCORES = ("final_error", "best_error", "heldout_error", "test_error")
_COUNTS = ("epochs", "epoch", "memory_bytes")
_OPTIONAL = ("heldout_error", "memory_bytes", "train_error")


class BadResult(Exception):
    """A trainer returned an invalid result; the message says what it returned and what is allowed."""


def trainer_of(recipe: Recipe, device: str) -> Callable[..., Any]:
    """Return the function that trains a network: this package's for one or more devices, or the recipe's trainer.

    Raises:
        InputError: there is no such function.
    """
    if recipe.trainer is None:
        from designspace.training import train, train_on_devices

        return train if recipe.devices == 1 else functools.partial(train_on_devices, device=device)
    trainer: Callable[..., Any] = import_object("recipe.trainer", recipe.trainer)
    if not callable(trainer):
        raise InputError(f"recipe.trainer: {recipe.trainer} is {_short(trainer)}, not a function")
    return trainer


def checked_result(result: object, recipe: Recipe, metric: Metric = TOP1_ERROR) -> TrialResult:
    """Return the result of a trainer, measured by a metric, after checking it, with plain numbers.

    Raises:
        BadResult: it is not a `TrialResult`, a number in it is missing or out of range, or epochs are missing.
    """
    who = f"trainer {recipe.trainer} returned" if recipe.trainer else "the training returned"
    if not isinstance(result, TrialResult):
        raise BadResult(f"{who} {_short(result)}, not a TrialResult")
    checked = dataclasses.replace(result, **_numbers(who, result, metric), device=str(result.device))
    if checked.epochs < recipe.epochs:
        raise BadResult(f"{who} a result after {checked.epochs} epochs, but the recipe has {recipe.epochs}")
    return checked


def checked_history(history: object, recipe: Recipe, metric: Metric = TOP1_ERROR) -> tuple[EpochRecord, ...]:
    """Return the epochs reported by a trainer, measured by a metric, after checking them, with plain numbers.

    Raises:
        BadResult: they are not a sequence of `EpochRecord`, or a number in them is missing or out of range.
    """
    who = f"trainer {recipe.trainer} reported" if recipe.trainer else "the training reported"
    if not isinstance(history, (tuple, list)) or not history:
        raise BadResult(f"{who} {_short(history)}, not a tuple of EpochRecord")
    for record in history:
        if not isinstance(record, EpochRecord):
            raise BadResult(f"{who} {_short(record)}, not an EpochRecord")
    return tuple(dataclasses.replace(record, **_numbers(who, record, metric)) for record in history)


def _numbers(who: str, value: TrialResult | EpochRecord, metric: Metric) -> dict[str, Any]:
    """Return the numbers of a value as plain ones, because JSON does not support those of NumPy."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        name, number = field.name, getattr(value, field.name)
        if name == "device":
            continue
        if number is None and name in _OPTIONAL:
            plain[name] = None
            continue
        kind = numbers.Integral if name in _COUNTS else numbers.Real
        lowest, highest = _limits(name, metric)
        is_number = not isinstance(number, bool) and isinstance(number, kind) and math.isfinite(number)
        if not is_number or not lowest <= number <= highest:
            allowed = "a whole number" if name in _COUNTS else "a finite number"
            limits = f" from {lowest:g} to {highest:g}" if highest < math.inf else f" of at least {lowest:g}"
            limits = limits if lowest > -math.inf else ""
            raise BadResult(f"{who} {name} {_short(number)}, which must be {allowed}{limits}")
        plain[name] = int(number) if name in _COUNTS else float(number)
    return plain


def _limits(name: str, metric: Metric) -> tuple[float, float]:
    """Return the lowest and the highest possible value of a field."""
    if name in _SCORES:
        low, high = metric.low, metric.high
        return -math.inf if low is None else low, math.inf if high is None else high
    if name == "train_error":
        return 0, 100
    return 1 if name in ("epochs", "epoch") else -math.inf if name in ("train_loss", "lr") else 0, math.inf


def _short(value: object) -> str:
    """Return a value as one short line of text."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a custom object's repr may fail
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
