"""Sizes of design spaces: settings as drawn, the paper's formulas, and distinct networks (paper, table 1).

Numbers of settings and networks are exact integers of any size. Limits on complexity are not taken into account.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks.regnet import quantized_linear
from designspace.spaces.axes import Axis, choice
from designspace.spaces.constraints import Order, StageRange
from designspace.spaces.parameters import AnyNetAxes, RegNetAxes, groups_axis, named_axes, realise
from designspace.spaces.space import DesignSpace

MAX_LINES = 1 << 20
"""Most lines (d, w_0, w_a, w_m) of a RegNet to enumerate, which takes seconds."""
BLOCK_SIZE = 1 << 12
"""Number of lines to quantise at a time."""


def settings(space: DesignSpace) -> int:
    """Return the number of parameter settings as drawn, before group widths are made compatible (paper, section 3.2).

    For k stages, a parameter with n values has n^k settings if stages are independent, n if all share one value, and
    C(n + k - 1, k) if values are non-decreasing (or non-increasing), ties included. A value that an axis lists twice
    counts twice.
    """
    axes, orders, k = named_axes(space.axes), _orders(space), space.num_stages
    ranged = _ranged_parameters(space)
    network_settings = math.prod(axis.settings for axis in space.network_axes().values())
    if isinstance(space.axes, RegNetAxes):
        return math.prod(axis.settings for axis in axes.values()) * network_settings
    stage_settings = math.prod(
        _num_sequences_in_ranges(_positions(space, name, np.repeat(axis.values, axis.counts or 1)), orders.get(name))
        if name in ranged
        else _num_sequences(axis.settings, k, orders.get(name))
        for name, axis in axes.items()
    )
    return stage_settings * network_settings


def paper_size(space: DesignSpace) -> float:
    """Return the size by the formulas of the paper's table 1, which approximates the number for ordered parameters.

    For non-decreasing values the paper divides n^k by k!. That is exact if no two stages are equal; sequences with ties
    have fewer than k! arrangements, so the result is too low: by 5% for the 128 widths of AnyNetXD (1.3e13, exactly
    13,821,510,942,720), and by a third with the 16 depths of AnyNetXE (5.5e11, exactly 817,446,539,520). For AnyNetXA
    to C both numbers agree. For RegNet the paper counts about 64 values for each of d, w_0, w_a and w_m
    (64^4 * 6 * 3 = 3.0e8), whatever the grids; the grids used here are much finer.
    """
    orders, k = _orders(space), space.num_stages
    sizes = {name: axis.settings for name, axis in named_axes(space.axes).items()}
    network_settings = math.prod(axis.settings for axis in space.network_axes().values())
    if isinstance(space.axes, RegNetAxes):
        own = math.prod(axis.settings for _, axis in space.axes.own)
        return float(64**4 * sizes["bottleneck_ratio"] * groups_axis(space.axes).settings * network_settings * own)
    ordered = sum(order != "shared" for order in orders.values())
    product: int = math.prod(size ** (1 if orders.get(name) == "shared" else k) for name, size in sizes.items())
    for name in _ranged_parameters(space):
        allowed = _positions(space, name, named_axes(space.axes)[name].values)
        if orders.get(name) == "shared":
            product = product * len(set.intersection(*map(set, allowed))) // sizes[name]
        else:
            product = product * math.prod(map(len, allowed)) // sizes[name] ** k
    return float(product * network_settings / math.factorial(k) ** ordered)


def distinct_networks(space: DesignSpace) -> int | None:
    """Return the number of distinct networks: settings that realise to the same network count once (appendix D).

    The count of AnyNets is exact. A network that several drawn group widths give counts once (for example, shared
    group widths of 16 and 32 both become 8 if all stages have an inner width of 8), and a radix counts only networks
    with group widths that it divides.

    A RegNet's lines are enumerated, and only networks with the space's number of stages count. The result is None for
    more than `MAX_LINES` lines: the paper's RegNetX has 7.5e9, many of which quantise to the same stages without any
    pattern, so that only enumeration could count them.
    """
    counted: dict[int, int | None] = {}
    total = 0
    for radix in space.radix.values.tolist():
        splits = max(1, radix)  # radix 0 and 1 do not split and realise to the same widths
        if splits not in counted:
            counted[splits] = (
                _distinct_regnets(space, space.axes, splits)
                if isinstance(space.axes, RegNetAxes)
                else _distinct_anynets(space, space.axes, splits)
            )
        count = counted[splits]
        if count is None:
            return None
        total += count
    of_network = math.prod(len(axis) for name, axis in space.network_axes().items() if name != "radix")
    return total * of_network * _own_sequences(space)


def _own_sequences(space: DesignSpace) -> int:
    """Return the number of sequences of the own parameters of a block, which nothing else depends on."""
    if isinstance(space.axes, RegNetAxes):
        return math.prod(len(axis) for _, axis in space.axes.own)
    return math.prod(_num_stage_sequences(space, name, axis) for name, axis in space.axes.own)


_Positions = tuple[int, ...]


class _Requirement(NamedTuple):
    """Requirement that the drawn values of one stage set for the next stage, given as positions on their axes."""

    shared: _Positions
    """Positions that the next stage must share."""
    least: _Positions
    """Lowest positions for the next stage; negated for values that must not increase."""

    def allows(self, following: _Requirement) -> bool:
        """Return whether a stage with the requirement ``following`` may follow."""
        return self.shared == following.shared and all(a <= b for a, b in zip(self.least, following.least, strict=True))


_State = frozenset[_Requirement]
"""Requirements of all drawn values that can give the last of some realised stages."""


def _distinct_anynets(space: DesignSpace, axes: AnyNetAxes, splits: int) -> int:
    """Count the realised sequences of stages that at least one drawn sequence gives.

    Several drawn sequences may give one realised sequence. So the dynamic program proceeds from stage to stage with the
    *set* of possible draws; each realised sequence leads to exactly one set, so that nothing counts twice. (This is the
    subset construction that makes an automaton deterministic.)
    """
    orders, k = _orders(space), space.num_stages
    drawn_axes = (axes.width, axes.bottleneck_ratio, groups_axis(axes))
    names = ("width", "bottleneck_ratio", "group_width" if axes.group_width else "cardinality")
    triples = list(itertools.product(*(range(len(axis)) for axis in drawn_axes)))
    width, ratio, groups = (
        axis.values[positions] for axis, positions in zip(drawn_axes, np.array(triples).T, strict=True)
    )
    new_width, group_width = realise(axes, width, ratio, groups, splits)
    allowed = [[set(of_stage) for of_stage in _positions(space, name, named_axes(axes)[name].values)] for name in names]
    requirements: list[dict[tuple[float, ...], set[_Requirement]]] = [{} for _ in range(k)]
    for triple, *stage in zip(triples, new_width.tolist(), ratio.tolist(), group_width.tolist(), strict=True):
        if stage[2] % splits == 0:
            requirement = _requirement(dict(zip(names, triple, strict=True)), orders)
            for i in range(k):
                if all(position in of_stages[i] for position, of_stages in zip(triple, allowed, strict=True)):
                    requirements[i].setdefault(tuple(stage), set()).add(requirement)
    stages = [Counter(map(frozenset, of_stage.values())) for of_stage in requirements]
    return _num_stage_sequences(space, "depth", axes.depth) * _num_distinct_sequences(stages)


def _requirement(triple: Mapping[str, int], orders: Mapping[str, str]) -> _Requirement:
    """Return the requirement that a stage's values, given as positions on their axes, set for the next stage."""
    shared = tuple(i for name, i in triple.items() if orders.get(name) == "shared")
    signs = {"non_decreasing": 1, "non_increasing": -1}
    least = tuple(signs[orders[name]] * i for name, i in triple.items() if orders.get(name) in signs)
    return _Requirement(shared, least)


def _num_distinct_sequences(all_stages: Sequence[Counter[_State]]) -> int:
    """Return the number of sequences of realised stages that can be drawn.

    Args:
        all_stages: for each stage, set of requirements that it may set -> number of realised stages.
    """
    states: Counter[_State] = Counter()
    for stage, count in all_stages[0].items():
        states[_weakest(stage)] += count
    for stages in all_stages[1:]:
        by_shared: dict[_Positions, list[_State]] = {}
        for stage in stages:
            for shared in {requirement.shared for requirement in stage}:
                by_shared.setdefault(shared, []).append(stage)
        next_states: Counter[_State] = Counter()
        simple_states: dict[_Positions, Counter[_Positions]] = {}
        for state, count in states.items():
            first, *others = state
            if not others and len(first.least) <= 1:
                simple_states.setdefault(first.shared, Counter())[first.least] += count
                continue
            for stage in {stage for requirement in state for stage in by_shared.get(requirement.shared, ())}:
                possible = [following for following in stage if any(before.allows(following) for before in state)]
                if possible:
                    next_states[_weakest(possible)] += count * stages[stage]
        for shared, counts in simple_states.items():
            _advance_simple_states(shared, counts, by_shared.get(shared, ()), stages, next_states)
        states = next_states
    return states.total()


def _advance_simple_states(
    shared: _Positions,
    counts: Counter[_Positions],
    candidates: Iterable[_State],
    stages: Counter[_State],
    next_states: Counter[_State],
) -> None:
    """Advance all states that have a single requirement with the same shared values and at most one ordered value.

    Nearly all states of AnyNetXD and E are of this kind. Their order is total, so cumulative sums make it unnecessary
    to visit all pairs of states and stages: states up to a stage's first value lead to that value, further states up to
    its second value lead to the second, and so on.

    Args:
        shared: the shared values.
        counts: ordered value -> number of realised sequences.
        candidates: the stages that may be drawn with these shared values.
        stages: stage -> number of realised stages.
        next_states: the counter to add to.
    """
    values = sorted(counts)
    sums = [0, *itertools.accumulate(counts[value] for value in values)]
    for stage in candidates:
        previous_sum = 0
        for least in sorted(requirement.least for requirement in stage if requirement.shared == shared):
            current_sum = sums[bisect.bisect_right(values, least)]
            if current_sum > previous_sum:
                next_states[frozenset({_Requirement(shared, least)})] += (current_sum - previous_sum) * stages[stage]
            previous_sum = current_sum


def _weakest(requirements: Iterable[_Requirement]) -> _State:
    """Return the requirements that no other one allows; any stage that meets a dropped one meets one of these.

    This does not change the count, but keeps the number of states small.
    """
    distinct = set(requirements)
    if len(distinct) == 1:
        return frozenset(distinct)
    return frozenset(r for r in distinct if not any(other != r and other.allows(r) for other in distinct))


def _distinct_regnets(space: DesignSpace, axes: RegNetAxes, splits: int) -> int | None:
    """Enumerate the lines, and realise each distinct sequence of stages with each b and g; None for too many lines."""
    slopes = choice([0]) if axes.w_a is None else axes.w_a  # a placeholder, because w_a is equal to w_0
    lines = (axes.depth, axes.w_0, slopes, axes.w_m)
    if math.prod(len(axis) for axis in lines) > MAX_LINES:
        return None
    k = space.num_stages
    sequences: set[tuple[int, ...]] = set()
    settings_ = itertools.product(*(axis.values.tolist() for axis in lines))
    while block := list(itertools.islice(settings_, BLOCK_SIZE)):
        depth, w_0, w_a, w_m = zip(*block, strict=True)
        rows = quantized_linear(depth, w_0, w_0 if axes.w_a is None else w_a, w_m)
        valid = (rows.num_stages == k) & (rows.num_levels == k)
        sequences.update(map(tuple, np.concatenate([rows.depths[valid, :k], rows.widths[valid, :k]], axis=1).tolist()))
    return _num_realised(np.array(list(sequences)), axes, splits) if sequences else 0


def _num_realised(sequences: NDArray[np.int64], axes: RegNetAxes, splits: int) -> int:
    """Return the number of distinct networks that sequences of stages give with every b and g.

    Args:
        sequences: the depths and the widths of the k stages. Shape (n, 2 k).
        axes: the axes of b and g.
        splits: a divisor of all group widths of a network.
    """
    k = sequences.shape[1] // 2
    total = 0
    for ratio in axes.bottleneck_ratio.values:
        networks = [
            np.concatenate([sequences[:, :k], *realise(axes, sequences[:, k:], ratio, groups, splits)], axis=1)
            for groups in groups_axis(axes).values
        ]
        distinct = np.unique(np.concatenate(networks), axis=0)
        total += int(np.all(distinct[:, 2 * k :] % splits == 0, axis=1).sum())
    return total


def _orders(space: DesignSpace) -> dict[str, str]:
    """Return the order of each parameter that has one."""
    return {c.parameter: c.order for c in space.constraints if isinstance(c, Order)}


def _num_sequences(n: int, k: int, order: str | None) -> int:
    """Return the number of sequences of k out of n values in an order.

    >>> [_num_sequences(3, 2, order) for order in (None, "shared", "non_decreasing")]
    [9, 3, 6]
    """
    if order is None:
        return math.prod([n] * k)
    return n if order == "shared" else math.comb(n + k - 1, k)


def _ranged_parameters(space: DesignSpace) -> set[str]:
    """Return the parameters that have a range in some stage."""
    return {c.parameter for c in space.constraints if isinstance(c, StageRange)}


def _positions(space: DesignSpace, parameter: str, values: NDArray[Any]) -> list[_Positions]:
    """Return, for each stage, the positions of the values that its ranges of a parameter allow."""
    allowed = [np.ones(len(values), np.bool_) for _ in range(space.num_stages)]
    for limit in space.constraints:
        if isinstance(limit, StageRange) and limit.parameter == parameter:
            allowed[limit.stage - 1] &= limit.allows_value(values)
    return [tuple(np.flatnonzero(of_stage).tolist()) for of_stage in allowed]


def _num_stage_sequences(space: DesignSpace, parameter: str, axis: Axis) -> int:
    """Return the number of different sequences of a parameter's values, one per stage."""
    order = _orders(space).get(parameter)
    if parameter not in _ranged_parameters(space):
        return _num_sequences(len(axis), space.num_stages, order)
    return _num_sequences_in_ranges(_positions(space, parameter, axis.values), order)


def _num_sequences_in_ranges(allowed: Sequence[_Positions], order: str | None) -> int:
    """Return the number of sequences in an order, of one of the allowed positions per stage.

    >>> [_num_sequences_in_ranges([(0, 1, 2), (1,)], order) for order in (None, "shared", "non_decreasing")]
    [3, 1, 2]
    """
    if order is None:
        return math.prod(map(len, allowed))
    if order == "shared":
        return len(set.intersection(*map(set, allowed)))
    ordered = list(allowed) if order == "non_decreasing" else list(reversed(allowed))
    ends = Counter(ordered[0])
    for positions in ordered[1:]:
        ends = Counter({last: sum(count for end, count in ends.items() if end <= last) for last in positions})
    return ends.total()
