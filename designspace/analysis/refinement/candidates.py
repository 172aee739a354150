"""Candidates for refinements: made from the space and the parameters of its networks alone, never from errors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.refinement.changes import Change, FixedText, Line, Narrowing
from designspace.analysis.refinement.parameters import GROUPS, PopulationParameters
from designspace.analysis.refinement.population import RefinedPopulation, centred
from designspace.spaces.axes import Axis
from designspace.spaces.constraints import Order, StageRange
from designspace.spaces.parameters import REGNET_COLUMNS, AnyNetAxes, named_axes

Scores = NDArray[np.float64]

MIN_MEMBERS = 8
"""Minimum number of networks that must meet a range, and that must miss it."""
_FEW_VALUES = 8
"""Axes with at most this many values have a candidate for each interval of them, others for intervals of quantiles."""
_DECILES = np.arange(1, 10) / 10
_RATIOS = ("bottleneck_ratio", *GROUPS)
_SPREAD = 1e-9
"""Scores that vary less than this within strata are constant."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A change of the space that might be an improvement or a simplification."""

    name: str
    """Name by which it is accepted, such as ``width_non_decreasing``."""
    title: str
    """The same in words."""
    family: str
    """The parameter that it is about."""
    change: Change
    score: Scores  # (n,)
    """How closely each network meets it; the higher, the closer."""
    members: NDArray[np.bool_]  # (n,)
    """Which networks meet it exactly."""
    is_simplification: bool = False
    """Whether it removes a degree of freedom, so that it is welcome even without a gain."""


def candidates(population: RefinedPopulation) -> tuple[Candidate, ...]:
    """Return the candidates that can be tested: their scores vary at equal complexity, and no two are the same."""
    parameters = PopulationParameters(population)
    tested: dict[tuple[bytes, bytes], Candidate] = {}
    for candidate in _all(parameters):
        spread = np.abs(centred(candidate.score, population.strata)).max()
        is_constant = spread <= _SPREAD * max(1.0, float(np.abs(candidate.score).max()))
        is_range = isinstance(candidate.change, Narrowing | StageRange | FixedText)
        count = int(candidate.members.sum())
        # Scores of orders and lines are trends, which networks that do not meet them exactly support as well.
        is_rare = is_range and not MIN_MEMBERS <= count <= population.n - MIN_MEMBERS
        if not (is_constant or is_rare or count == population.n):
            tested.setdefault((candidate.score.tobytes(), candidate.members.tobytes()), candidate)
    return tuple(tested.values())


def _all(parameters: PopulationParameters) -> Iterator[Candidate]:
    """Yield the candidates of all kinds."""
    for parameter, axis in parameters.axes().items():
        if parameters.is_per_stage(parameter):
            if parameter not in parameters.orders:
                yield from _orders(parameters, parameter, axis)
            if axis.labels:
                yield from _texts(parameters, parameter, axis)
                continue
            yield from _ranges_of_all_stages(parameters, parameter, axis)
            if parameter not in _RATIOS:
                yield from _ranges_of_stages(parameters, parameter, axis)
        elif axis.labels:
            yield from _texts(parameters, parameter, axis)
        else:
            yield from _ranges_of_network(parameters, parameter, axis)
    if isinstance(parameters.space.axes, AnyNetAxes) and {"depth", "width"} <= set(parameters.axes()):
        change, distances = Line(), parameters.line_distances
        title = "widths on a quantised line, as in RegNet"
        yield Candidate("quantised_line", title, "line", change, -distances, parameters.members(change))


def _orders(parameters: PopulationParameters, parameter: str, axis: Axis) -> Iterator[Candidate]:
    """Yield one value for all stages, or a direction from stage to stage."""
    words = parameter.replace("_", " ")
    if parameter not in ("depth", "width"):
        change = Order(parameter, "shared")
        score = -_spread_of_texts(parameters.texts(parameter)) if axis.labels else -_spread(parameters, parameter)
        name, title = f"{parameter}_shared", f"one {words} for all stages"
        yield Candidate(name, title, parameter, change, score, parameters.members(change), is_simplification=True)
    if axis.labels or parameter in _RATIOS:
        return
    values = parameters.of_stages(parameter)
    pairs = itertools.combinations(range(values.shape[1]), 2)
    rises = np.sum([np.sign(values[:, j] - values[:, i]) for i, j in pairs], axis=0)
    for order, sign in (("non_decreasing", 1.0), ("non_increasing", -1.0)):
        change = Order(parameter, order)
        name, title = f"{parameter}_{order}", f"{words} {order.replace('_', '-')} from stage to stage"
        yield Candidate(name, title, parameter, change, sign * rises, parameters.members(change))


def _ranges_of_all_stages(parameters: PopulationParameters, parameter: str, axis: Axis) -> Iterator[Candidate]:
    """Yield narrower axes for all stages; the score is the share of the stages that are in the range."""
    values = parameters.of_stages(parameter)
    for low, high in _intervals(axis, values):
        change = Narrowing(parameter, low, high)
        score = ((values >= low) & (values <= high)).mean(axis=1)
        name, title = _range_words(parameter, "every ", axis, low, high)
        yield Candidate(name, title, parameter, change, score, parameters.members(change))


def _ranges_of_stages(parameters: PopulationParameters, parameter: str, axis: Axis) -> Iterator[Candidate]:
    """Yield ranges of single stages."""
    values = parameters.of_stages(parameter)
    for stage in range(1, values.shape[1] + 1):
        for low, high in _intervals(axis, values[:, stage - 1]):
            change = StageRange(parameter, stage, low, high)
            members = parameters.members(change)
            name, title = _range_words(parameter, "", axis, low, high, stage)
            yield Candidate(name, title, parameter, change, members.astype(np.float64), members)


def _ranges_of_network(parameters: PopulationParameters, parameter: str, axis: Axis) -> Iterator[Candidate]:
    """Yield narrower axes of a parameter that a network has once, or whose value all its stages share."""
    of_stages = named_axes(parameters.space.axes)
    is_free = parameter not in of_stages
    for low, high in _intervals(axis, parameters.of_network(parameter)):
        change = Narrowing(parameter, low, high)
        members = parameters.members(change)
        name, title = _range_words(parameter, "", axis, low, high)
        is_simplification = is_free and low == high and parameter not in REGNET_COLUMNS
        yield Candidate(
            name, title, parameter, change, members.astype(np.float64), members, is_simplification=is_simplification
        )


def _texts(parameters: PopulationParameters, parameter: str, axis: Axis) -> Iterator[Candidate]:
    """Yield each value of an axis of texts; the score is the share of the stages that have it."""
    texts = parameters.texts(parameter)
    for label in axis.labels:
        change = FixedText(parameter, label)
        score = (texts == label).mean(axis=1)
        name, title = f"{parameter}_{label}", f"{parameter.replace('_', ' ')} {label}"
        is_simplification = parameter not in named_axes(parameters.space.axes)
        yield Candidate(name, title, parameter, change, score, parameters.members(change), is_simplification)


def _intervals(axis: Axis, values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return ranges of an axis that are narrower than it, the widest first.

    For axes with many values: up to and from each decile of the networks' values, and between every other decile.
    """
    grid = axis.values.astype(np.float64)
    if grid.size <= _FEW_VALUES:
        ends = set(itertools.combinations_with_replacement(grid.tolist(), 2))
    else:
        nearest = grid[np.abs(grid[:, None] - np.quantile(values, _DECILES)).argmin(axis=0)].tolist()
        ends = {(low, high) for low in nearest[::2] for high in nearest[::2] if low <= high}
        ends |= {(low, grid[-1]) for low in nearest} | {(grid[0], high) for high in nearest}
    ends -= {(grid[0], grid[-1])}
    plain = {(_plain(low), _plain(high)) for low, high in ends}
    return sorted(plain, key=lambda pair: (pair[0] - pair[1], pair))


def _plain(value: float) -> float:
    """Return a whole number as an int."""
    return int(value) if float(value).is_integer() else float(value)


def _range_words(
    parameter: str, every: str, axis: Axis, low: float, high: float, stage: int | None = None
) -> tuple[str, str]:
    """Return name and title of a range."""
    subject = f"{every}{parameter.replace('_', ' ') if parameter not in REGNET_COLUMNS else parameter}"
    subject += "" if stage is None else f" of stage {stage}"
    prefix = parameter if stage is None else f"{parameter}{stage}"
    lowest, highest = axis.values[0], axis.values[-1]
    if low == high:
        return f"{prefix}_{low:g}", f"{subject} {low:g}"
    if high == highest:
        return f"{prefix}_at_least_{low:g}", f"{subject} at least {low:g}"
    if low == lowest:
        return f"{prefix}_at_most_{high:g}", f"{subject} at most {high:g}"
    return f"{prefix}_{low:g}_to_{high:g}", f"{subject} from {low:g} to {high:g}"


def _spread(parameters: PopulationParameters, parameter: str) -> Scores:
    """Return the standard deviation of a parameter over the stages, of its logarithm if all values are above 0."""
    values = parameters.of_stages(parameter)
    return np.asarray((np.log2(values) if (values > 0).all() else values).std(axis=1))


def _spread_of_texts(texts: NDArray[np.str_]) -> Scores:
    """Return the number of different texts over the stages."""
    return np.array([len(set(row)) for row in texts.tolist()], np.float64)
