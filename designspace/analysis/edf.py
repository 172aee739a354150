"""The error EDF of a population, exactly, with a simultaneous confidence band. Numbers only; `figures` draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designspace.support.errors import InputError


@dataclass(frozen=True, eq=False)
class EDF:
    """The error EDF F(e) of a population: the part of its networks with an error of at most e.

    Equation 1 of "Designing Network Design Spaces" (section 3.1), with "at most" for "less than", so that F is the
    right-continuous step function of statistics and reaches 1 at the worst error.
    """

    errors: NDArray[np.float64]  # (n,)
    """Per cent, ascending, one for each network."""
    probabilities: NDArray[np.float64]  # (n,)
    """F at each of the errors: equal errors have equal values."""
    n: int
    min: float
    """Per cent."""
    mean: float
    """Per cent."""

    @overload
    def __call__(self, error: float) -> float: ...

    @overload
    def __call__(self, error: NDArray[np.float64] | list[float]) -> NDArray[np.float64]: ...

    def __call__(self, error: ArrayLike) -> float | NDArray[np.float64]:
        """F at an error, or at each of an array of errors (per cent)."""
        not_above = np.searchsorted(self.errors, np.asarray(error, np.float64), side="right")
        values: NDArray[np.float64] = np.concatenate([[0.0], self.probabilities])[not_above]
        return float(values) if values.ndim == 0 else values

    def band(self, level: float = 0.05) -> Band:
        """Band that holds the population's true F *everywhere at once* with probability 1 - ``level`` or more.

        Dvoretzky, Kiefer and Wolfowitz (1956) with Massart's constant (1990): F +- sqrt(ln(2 / level) / (2 n)).

        Raises:
            InputError: ``level`` is not between 0 and 1.
        """
        check_level(level)
        half_width = math.sqrt(math.log(2 / level) / (2 * self.n))
        return Band(
            lower=np.clip(self.probabilities - half_width, 0, 1),
            upper=np.clip(self.probabilities + half_width, 0, 1),
            half_width=half_width,
            level=level,
        )


@dataclass(frozen=True, eq=False)
class Band:
    """A simultaneous confidence band around an `EDF`, at each of its errors; left of them it is [0, half_width]."""

    lower: NDArray[np.float64]  # (n,)
    upper: NDArray[np.float64]  # (n,)
    half_width: float
    level: float
    """Probability, at most, that the band misses the true distribution somewhere: 0.05 is a 95% band."""


def edf(errors: ArrayLike) -> EDF:
    """The EDF of errors in per cent, in any order; each counts once.

    Raises:
        InputError: there is no error, or one is not a finite number.

    >>> F = edf([40.0, 30.0, 40.0, 50.0])
    >>> F(29.9), F(30.0), F(40.0), F(99.0)
    (0.0, 0.25, 0.75, 1.0)
    """
    ascending = np.sort(np.asarray(errors, np.float64).ravel())
    if not ascending.size:
        raise InputError("an EDF needs at least one error")
    if not np.isfinite(ascending).all():
        raise InputError("an EDF needs finite errors; count a failed trial at chance level or leave it out")
    probabilities = np.searchsorted(ascending, ascending, side="right") / ascending.size
    for array in (ascending, probabilities):
        array.setflags(write=False)
    return EDF(ascending, probabilities, ascending.size, float(ascending[0]), float(ascending.mean()))


def check_level(level: float) -> None:
    """Raise an InputError unless a significance level is between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, as 0.05 for 5%, not {level!r}")
