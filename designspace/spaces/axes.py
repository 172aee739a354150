"""Axes: the values that a parameter may take, and their probabilities.

Every axis is a finite grid with exact probabilities. A draw takes one 64-bit random word and looks up its value, so
a column of draws depends only on the words, not on the machine's logarithm or on how the words are grouped.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.support.checks import mapping, number, plain, whole
from designspace.support.display import shortened
from designspace.support.errors import InputError, unknown
from designspace.support.text import shown

Words = NDArray[np.uint64]
"""Random words, one per draw. Shape (n,)."""

DIGITS = 30
"""Decimal digits of the probabilities that 64-bit thresholds are computed from."""
GUIDE_BITS = 14
"""Number of leading bits of a word, which alone decide most draws."""
MAX_VALUES = 100_000
"""Most values of a grid with a step: computing the probabilities of that many takes a second."""
MAX_CHOICES = 4096
"""Most values of a choice, all of which are listed in space.yaml."""
LAWS = ("pycls",)
"""Laws of log-uniform axes other than rounding."""
MAX_VALUE = 2**53
"""Largest value, so that all whole numbers are exact in float64."""


@dataclass(frozen=True)
class Axis:
    """A finite grid of values in ascending order, and their weights.

    Create one with `log_uniform`, `uniform`, `choice` or `powers_of_two`.
    """

    kind: str
    """``log_uniform``, ``uniform`` or ``choice``."""
    grid: tuple[Decimal, ...]
    """The values, ascending and exact (0.1 is exactly a tenth)."""
    bounds: tuple[Decimal, Decimal, Decimal] | None = None
    """Lowest value, highest value and step; None for a choice."""
    counts: tuple[int, ...] = ()
    """For a choice, how many times each value was listed, which is its weight. Empty if all were listed once."""
    labels: tuple[str, ...] = ()
    """For a choice of texts, the text at each value of the grid 0, 1, ...; empty for numbers."""
    law: str | None = None
    """Rule that turns a log-uniform number into a value: one of `LAWS`, or None for rounding (see `log_uniform`)."""

    def __post_init__(self) -> None:
        if self.kind not in _KEYS:
            raise unknown("kind of axis", self.kind, _KEYS)
        if not self.grid:
            raise InputError("an axis needs at least one value")
        if not all(isinstance(value, Decimal) and abs(value) <= MAX_VALUE for value in self.grid):
            raise InputError(
                f"create an axis with log_uniform, uniform or choice; its grid cannot be {shown(self.grid)}"
            )
        if self.labels and (self.kind != "choice" or self.grid != tuple(map(Decimal, range(len(self.labels))))):
            raise InputError(f"create an axis of texts with choice, not with labels={shown(self.labels)}")
        if self.law is not None and (self.kind != "log_uniform" or self.law not in LAWS):
            raise _unknown_law(self.kind, self.law)
        if any(a >= b for a, b in zip(self.grid, self.grid[1:], strict=False)):
            raise InputError(
                f"the values of an axis must be in ascending order, not {[float(value) for value in self.grid][:10]}"
            )

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        if self.bounds is None:
            return f"Axis({self.kind} of {shortened(self.to_dict()['values'])})"
        low, high, step = (f"{bound:f}" for bound in self.bounds)
        law = f", law {self.law}" if self.law else ""
        return f"Axis({self.kind} from {low} to {high} by {step}{law})"

    @property
    def settings(self) -> int:
        """Number of listed values; a value that is listed several times counts each time."""
        return sum(self.counts) or len(self)

    @functools.cached_property
    def values(self) -> NDArray[Any]:
        """The grid as an array: int64 if all values are whole, else float64; the texts of a choice of texts."""
        if self.labels:
            return np.array(self.labels)
        return self._numbers

    @functools.cached_property
    def _numbers(self) -> NDArray[Any]:
        """The grid as an array of numbers."""
        are_whole = all(value == value.to_integral_value() for value in self.grid)
        return np.array([int(value) if are_whole else float(value) for value in self.grid])

    @functools.cached_property
    def exact_probabilities(self) -> tuple[Decimal, ...]:
        """The probability of each value, to `DIGITS` digits, the same on every machine."""
        with localcontext() as context:
            context.prec = DIGITS
            if self.kind == "log_uniform" and self.bounds is not None:
                weights = [(above / below).ln() for below, above in zip(*self._cells(*self.bounds), strict=True)]
            else:
                weights = [Decimal(count) for count in self.counts] or [Decimal(1)] * len(self.grid)
            total = sum(weights, Decimal(0))
            return tuple(weight / total for weight in weights)

    def _cells(self, low: Decimal, high: Decimal, step: Decimal) -> tuple[list[Decimal], list[Decimal]]:
        """Return the lower and the upper ends of the intervals that map to the values of a log-uniform axis."""
        if self.law == "pycls":
            return [low - min(step, low / 2), *self.grid[:-1]], list(self.grid)
        return [value - step / 2 for value in self.grid], [value + step / 2 for value in self.grid]

    @functools.cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The probability of each value. Shape (len(axis),)."""
        return np.array([float(p) for p in self.exact_probabilities])

    @functools.cached_property
    def _thresholds(self) -> NDArray[np.uint64]:
        """Exclusive upper bound of the words that map to each value; the last value has none."""
        with localcontext() as context:
            context.prec = DIGITS
            total, thresholds = Decimal(0), []
            for probability in self.exact_probabilities[:-1]:
                total += probability
                thresholds.append(int(total * 2**64))
        return np.array(thresholds, np.uint64)

    @functools.cached_property
    def _guide(self) -> NDArray[Any]:
        """The value for each setting of a word's first `GUIDE_BITS` bits, or `_undecided` if they allow several."""
        other_bits = 64 - GUIDE_BITS
        lowest = np.arange(2**GUIDE_BITS, dtype=np.uint64) << np.uint64(other_bits)
        first, last = (
            np.searchsorted(self._thresholds, words, side="right")
            for words in (lowest, lowest + np.uint64(2**other_bits - 1))
        )
        return np.where(first == last, self._numbers[first], self._undecided)

    @property
    def _undecided(self) -> Any:
        """A number below the grid, which marks undecided entries of `_guide`."""
        return self._numbers[0] - 1

    def draw(self, words: Words) -> NDArray[Any]:
        """Return the values that the words map to. Shape (n,)."""
        drawn = self._guide[(words >> np.uint64(64 - GUIDE_BITS)).view(np.int64)]  # signed indices are faster
        undecided = np.flatnonzero(drawn == self._undecided)
        drawn[undecided] = self._numbers[np.searchsorted(self._thresholds, words[undecided], side="right")]
        return self.values[drawn] if self.labels else drawn

    def draw_non_decreasing(self, columns: Sequence[Words]) -> list[NDArray[Any]]:
        """Draw values v_1 <= v_2 <= ... <= v_k: independent draws, conditioned on this order, ties included.

        The method is exact and takes one word per value: v_1 is drawn with weight p(v) times the probability that the
        other values can follow, v_2 in the same way from the values not below v_1, and so on. Drawing independently and
        rejecting sequences that decrease gives the same distribution with far more draws. Sorting independent draws
        does not, because it makes ties rarer.

        Args:
            columns: one array of words per value, each of shape (n,).
        """
        follow = np.ones(len(self))  # probability that the remaining values can follow each value
        cumulative = []
        for _ in columns:
            weights = self.probabilities * follow
            cumulative.append(np.cumsum(weights))
            follow = np.cumsum(weights[::-1])[::-1]
        drawn: list[NDArray[Any]] = []
        index = np.zeros(len(columns[0]), np.int64)
        for words, sums in zip(columns, reversed(cumulative), strict=True):
            below = np.where(index > 0, sums[np.maximum(index - 1, 0)], 0.0)
            uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
            target = below + uniform * (sums[-1] - below)
            # Clipping is needed because rounding errors can push the target just past either end.
            index = np.clip(np.searchsorted(sums, target, side="right"), index, len(self) - 1)
            drawn.append(self.values[index])
        return drawn

    def within(self, low: float | str, high: float | str) -> Axis:
        """Return the axis of the values from low to high, with the same weights; for texts, low = high is the value.

        Raises:
            InputError: no value is in the range.
        """
        inside = self.values == low if self.labels else (self._numbers >= low) & (self._numbers <= high)
        indices = np.flatnonzero(inside).tolist()
        if not indices:
            raise InputError(f"no value of {self!r} is from {low} to {high}")
        if self.bounds is None:
            listed = [np.repeat(self.values[i], self.counts[i] if self.counts else 1) for i in indices]
            return choice(np.concatenate(listed))
        grid = tuple(self.grid[i] for i in indices)
        return dataclasses.replace(self, grid=grid, bounds=(grid[0], grid[-1], self.bounds[2]))

    def with_law(self, law: str | None) -> Axis:
        """Return this log-uniform axis with another law.

        Raises:
            InputError: the law is unknown, or the axis is not log-uniform.
        """
        return dataclasses.replace(self, law=law)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which `from_dict` creates an equal axis."""
        if self.bounds is None:
            return {"kind": self.kind, "values": np.repeat(self.values, self.counts or 1).tolist()}
        low, high, step = (int(b) if b == b.to_integral_value() else float(b) for b in self.bounds)
        fields = {"kind": self.kind, "low": low, "high": high, "step": step}
        return fields if self.law is None else {**fields, "law": self.law}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Axis:
        """Return the axis described by the values of `to_dict`.

        Raises:
            InputError: the kind is unknown, or a key or value does not fit it.
        """
        makers: dict[str, Callable[..., Axis]] = {"log_uniform": log_uniform, "uniform": uniform, "choice": choice}
        kind = mapping("an axis", fields, needed=["kind"])["kind"]
        if not isinstance(kind, str) or kind not in makers:
            raise InputError(f"unknown kind of axis {shown(kind)}; choose from: {', '.join(makers)}")
        keys = _KEYS[kind]
        arguments = dict(mapping(f"{kind} axis", fields, ["kind", *keys], [k for k in keys if k not in _OPTIONAL]))
        del arguments["kind"]
        return makers[kind](**arguments)


_KEYS = {"log_uniform": ("low", "high", "step", "law"), "uniform": ("low", "high", "step"), "choice": ("values",)}
"""Kind of axis -> keys of its description."""
_OPTIONAL = ("step", "law")
"""Optional keys of a description; ``step`` defaults to 1."""


def log_uniform(low: float, high: float, step: float = 1, law: str | None = None) -> Axis:
    """Return an axis of values low, low + step, ..., high: log-uniform in [low - step/2, high + step/2), rounded.

    The probability of v is proportional to log((v + step/2) / (v - step/2)), so both ends get their full share.

    "Designing Network Design Spaces" does not say how its log-uniform numbers become whole. ``law="pycls"`` follows
    pycls, the authors' program (``pycls/sweep/random.py``): a real number in (low - min(step, low/2), high] is rounded
    *up*. Then the probability of v above low is proportional to log(v / (v - step)), and small values are rarer: of
    depths 1 to 16, 1 has probability 0.200 instead of 0.314; of widths 8 to 1024 by 8, 8 has 0.125 instead of 0.198.

    Raises:
        InputError: the bounds do not form a grid, low is too small for a log-uniform number, or the law is unknown.
    """
    if law is not None and law not in LAWS:
        raise _unknown_law("log_uniform", law)
    bounds = _bounds(low, high, step)
    if law == "pycls" and bounds[0] <= 0:
        raise InputError(f"a log-uniform axis needs low > 0, not low={low}")
    if law is None and bounds[0] <= bounds[2] / 2:
        raise InputError(f"a log-uniform axis needs low > step / 2, not low={low}, step={step}")
    return Axis("log_uniform", _grid(*bounds), bounds, law=law)


def _unknown_law(kind: str, law: Any) -> InputError:
    """Return the error for a law that an axis of this kind cannot have."""
    allowed = f"{' or '.join(LAWS)}, or null for rounding" if kind == "log_uniform" else "null"
    return InputError(f"the law of a {kind} axis must be {allowed}, not {shown(law)}")


def uniform(low: float, high: float, step: float = 1) -> Axis:
    """Return an axis of the equally likely values low, low + step, ..., high."""
    bounds = _bounds(low, high, step)
    return Axis("uniform", _grid(*bounds), bounds)


def choice(values: Iterable[float | str]) -> Axis:
    """Return an axis of equally likely values; a value that is listed twice is twice as likely as the others.

    The values are numbers, or texts such as names of activations, which have no order.
    """
    listed = values.tolist() if hasattr(values, "tolist") else values  # an array or a Series
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise InputError(f"values must be a list of numbers, such as [1, 2, 4], not {shown(listed)}")
    numbers = list(itertools.islice(listed, MAX_CHOICES + 1))
    if len(numbers) > MAX_CHOICES:
        raise InputError(f"values must be a list of at most {MAX_CHOICES:,} numbers; use low, high and step for more")
    if numbers and all(isinstance(value, str) for value in numbers):
        texts = Counter(str(value) for value in numbers)
        counts_ = () if len(texts) == texts.total() else tuple(texts.values())
        return Axis("choice", tuple(map(Decimal, range(len(texts)))), counts=counts_, labels=tuple(texts))
    counts = Counter(_exact("each of values", value) for value in numbers)
    grid = tuple(sorted(counts))
    return Axis("choice", grid, counts=() if len(grid) == counts.total() else tuple(counts[value] for value in grid))


def powers_of_two(low: int, high: int) -> Axis:
    """Return an axis of the powers of two from low to high, all equally likely (log-uniform among them)."""
    low, high = whole("low", low, 1, MAX_VALUE), whole("high", high, 1, MAX_VALUE)
    return choice([2**k for k in range(high.bit_length()) if low <= 2**k <= high])


def _exact(name: str, value: Any) -> Decimal:
    """Return the exact decimal that a number is written as: 0.1 is a tenth."""
    plain_value = plain(value)
    if isinstance(plain_value, Decimal):
        plain_value = float(plain_value) if plain_value != plain_value.to_integral_value() else int(plain_value)
    if abs(number(name, plain_value)) > MAX_VALUE:
        raise InputError(f"{name} must be at most 2^53, about 9e15, not {shown(plain_value)}")
    return Decimal(str(plain_value))


def _bounds(low: float, high: float, step: float) -> tuple[Decimal, Decimal, Decimal]:
    """Return the bounds as exact decimals, after checking them."""
    low_, high_, step_ = (_exact(name, value) for name, value in (("low", low), ("high", high), ("step", step)))
    if not step_ > 0:
        raise InputError(f"step must be above 0, not {step}")
    if low_ <= high_ and (high_ - low_) / step_ >= MAX_VALUES:
        raise InputError(
            f"{low} to {high} by {step} are {(high_ - low_) / step_:.2e} values; an axis has at most {MAX_VALUES:,}"
        )
    if not (low_ <= high_ and (high_ - low_) % step_ == 0):
        raise InputError(f"an axis needs low <= high, a whole number of steps apart, not {low} to {high} by {step}")
    return low_, high_, step_


def _grid(low: Decimal, high: Decimal, step: Decimal) -> tuple[Decimal, ...]:
    """Return the values from low to high."""
    return tuple(low + step * i for i in range(int((high - low) / step) + 1))
