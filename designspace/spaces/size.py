"""How large a design space is: settings as drawn, the paper's figure, and distinct networks (paper, table 1).

Settings and networks are exact whole numbers, however large. Limits on complexity are not taken into account.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from designspace.networks.regnet import quantized_linear
from designspace.spaces.axes import choice
from designspace.spaces.constraints import Order
from designspace.spaces.parameters import AnyNetAxes, RegNetAxes, groups_axis, named_axes, realise
from designspace.spaces.space import DesignSpace

MAX_LINES = 1 << 20
"""So many lines (d, w_0, w_a, w_m) of a RegNet are enumerated at most, which takes seconds."""
BLOCK_SIZE = 1 << 12
"""Lines at a time."""


def settings(space: DesignSpace) -> int:
    """The number of parameter settings as they are drawn, before group widths are repaired.

    For k stages, a parameter with n values has n^k settings if each stage has its own, n if all share one, and
    C(n + k - 1, k) if values may not fall (or not rise) from stage to stage, ties included. Paper, section 3.2. A value
    that an axis names twice counts twice.
    """
    axes, orders, k = named_axes(space.axes), _orders(space), space.num_stages
    once = math.prod(axis.settings for axis in space.network_axes().values())
    if isinstance(space.axes, RegNetAxes):
        return math.prod(axis.settings for axis in axes.values()) * once
    return math.prod(_sequences(axis.settings, k, orders.get(name)) for name, axis in axes.items()) * once


def paper_size(space: DesignSpace) -> float:
    """The size by the formulas of the paper's table 1, which is an approximation for ordered parameters.

    The paper divides n^k by k! where values may not fall. That is right if no two stages are equal; sequences with
    ties have fewer than k! arrangements, so it is too low: by 5% for the 128 widths of AnyNetXD (1.3e13, exactly
    13,821,510,942,720), by a third for the 16 depths of AnyNetXE besides (5.5e11, exactly 817,446,539,520). For
    AnyNetXA to C both agree. For RegNet the paper counts about 64 values for each of d, w_0, w_a and w_m
    (64^4 * 6 * 3 = 3.0e8), whatever the grids; the grids that are drawn from are much finer.
    """
    orders, k = _orders(space), space.num_stages
    sizes = {name: axis.settings for name, axis in named_axes(space.axes).items()}
    once = math.prod(axis.settings for axis in space.network_axes().values())
    if isinstance(space.axes, RegNetAxes):
        return float(64**4 * sizes["bottleneck_ratio"] * groups_axis(space.axes).settings * once)
    ordered = sum(order != "shared" for order in orders.values())
    product: int = math.prod(size ** (1 if orders.get(name) == "shared" else k) for name, size in sizes.items())
    return float(product * once / math.factorial(k) ** ordered)


def distinct_networks(space: DesignSpace) -> int | None:
    """The number of distinct networks: settings that realise alike count once (group-width repair, appendix D).

    An AnyNet is counted exactly. A network that follows from several drawn group widths (a shared g of 16 or 32 is cut
    to 8 alike where all stages have an inner width of 8) counts once, and a radix counts the networks alone whose
    group widths it all divides.

    A RegNet's lines are enumerated, and only networks with the asked number of stages count. None where there are
    more than `MAX_LINES` lines: the paper's RegNetX has 7.5e9, and many of them quantise to the same stages in no
    regular way, so that nothing short of enumeration counts them.
    """
    counted: dict[int, int | None] = {}
    total = 0
    for radix in space.radix.values.tolist():
        splits = max(1, radix)  # radix 0 and 1 split nothing, and realise alike
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
    return total * math.prod(len(axis) for name, axis in space.network_axes().items() if name != "radix")


_Positions = tuple[int, ...]


class _Memory(NamedTuple):
    """What of one stage's drawn values matters to the stages after it."""

    shared: _Positions
    """Positions on their axes of the values that the next stage must share."""
    least: _Positions
    """Positions of the values that the next stage must not fall below; negated where it must not rise above."""

    def allows(self, after: _Memory) -> bool:
        """Whether a stage may follow this one."""
        return self.shared == after.shared and all(a <= b for a, b in zip(self.least, after.least, strict=True))


_State = frozenset[_Memory]
"""All that may have been drawn for the last of some realised stages."""


def _distinct_anynets(space: DesignSpace, axes: AnyNetAxes, splits: int) -> int:
    """Count the realised sequences of stages that at least one drawn sequence leads to.

    Several drawn sequences may lead to a realised one, and which of them were possible is known only at the end. So the
    dynamic program goes from stage to stage with the *set* of what may have been drawn; each realised sequence leads
    to one such set, so that nothing counts twice. (The subset construction that makes an automaton deterministic.)
    """
    orders, k = _orders(space), space.num_stages
    drawn_axes = (axes.width, axes.bottleneck_ratio, groups_axis(axes))
    names = ("width", "bottleneck_ratio", "group_width" if axes.group_width else "cardinality")
    triples = list(itertools.product(*(range(len(axis)) for axis in drawn_axes)))
    width, ratio, groups = (
        axis.values[positions] for axis, positions in zip(drawn_axes, np.array(triples).T, strict=True)
    )
    new_width, group_width = realise(axes, width, ratio, groups, splits)
    drawn: dict[tuple[float, ...], set[_Memory]] = {}
    for triple, *stage in zip(triples, new_width.tolist(), ratio.tolist(), group_width.tolist(), strict=True):
        if stage[2] % splits == 0:
            drawn.setdefault(tuple(stage), set()).add(_memory(dict(zip(names, triple, strict=True)), orders))
    depths = _sequences(len(axes.depth), k, orders.get("depth"))
    return depths * _distinct_sequences(Counter(map(frozenset, drawn.values())), k)


def _memory(triple: Mapping[str, int], orders: Mapping[str, str]) -> _Memory:
    """What matters later of a stage's values, given as positions on their axes."""
    shared = tuple(i for name, i in triple.items() if orders.get(name) == "shared")
    signs = {"non_decreasing": 1, "non_increasing": -1}
    least = tuple(signs[orders[name]] * i for name, i in triple.items() if orders.get(name) in signs)
    return _Memory(shared, least)


def _distinct_sequences(stages: Counter[_State], k: int) -> int:
    """The number of sequences of k realised stages that can be drawn.

    Args:
        stages: for what may have been drawn for a stage, the number of realised stages.
        k: the length of the sequences.
    """
    by_shared: dict[_Positions, list[_State]] = {}
    for stage in stages:
        for shared in {memory.shared for memory in stage}:
            by_shared.setdefault(shared, []).append(stage)
    states: Counter[_State] = Counter()
    for stage, count in stages.items():
        states[_lowest(stage)] += count
    for _ in range(k - 1):
        following: Counter[_State] = Counter()
        certain: dict[_Positions, Counter[_Positions]] = {}
        for state, count in states.items():
            first, *others = state
            if not others and len(first.least) <= 1:
                certain.setdefault(first.shared, Counter())[first.least] += count
                continue
            for stage in {stage for memory in state for stage in by_shared[memory.shared]}:
                possible = [after for after in stage if any(memory.allows(after) for memory in state)]
                if possible:
                    following[_lowest(possible)] += count * stages[stage]
        for shared, counts in certain.items():
            _follow_certain(shared, counts, by_shared[shared], stages, following)
        states = following
    return states.total()


def _follow_certain(
    shared: _Positions,
    counts: Counter[_Positions],
    after: Iterable[_State],
    stages: Counter[_State],
    following: Counter[_State],
) -> None:
    """One step for all states of a single memory with the same shared values and at most one ordered value.

    Such are nearly all states of AnyNetXD and E. Their order is total, so sums up to each value spare looking at all
    pairs of states and stages: states up to a stage's first value lead to that, further ones up to its second to that.

    Args:
        shared: the shared values.
        counts: the number of realised sequences for each ordered value.
        after: the stages that may be drawn with those shared values.
        stages: the number of realised stages for each.
        following: is added to.
    """
    values = sorted(counts)
    sums = [0, *itertools.accumulate(counts[value] for value in values)]
    for stage in after:
        before = 0
        for least in sorted(memory.least for memory in stage if memory.shared == shared):
            below = sums[bisect.bisect_right(values, least)]
            if below > before:
                following[frozenset({_Memory(shared, least)})] += (below - before) * stages[stage]
            before = below


def _lowest(memories: Iterable[_Memory]) -> _State:
    """The memories that no other allows: whatever can follow one left out can follow one that stays.

    Without this the sets would be as exact, but many more.
    """
    distinct = set(memories)
    if len(distinct) == 1:
        return frozenset(distinct)
    return frozenset(m for m in distinct if not any(other != m and other.allows(m) for other in distinct))


def _distinct_regnets(space: DesignSpace, axes: RegNetAxes, splits: int) -> int | None:
    """Enumerate the lines, and realise each distinct staircase with each b and g."""
    slopes = choice([0]) if axes.w_a is None else axes.w_a  # one, for it follows from w_0
    lines = (axes.depth, axes.w_0, slopes, axes.w_m)
    if math.prod(len(axis) for axis in lines) > MAX_LINES:
        return None
    k = space.num_stages
    stairs: set[tuple[int, ...]] = set()
    settings_ = itertools.product(*(axis.values.tolist() for axis in lines))
    while block := list(itertools.islice(settings_, BLOCK_SIZE)):
        depth, w_0, w_a, w_m = zip(*block, strict=True)
        rows = quantized_linear(depth, w_0, w_0 if axes.w_a is None else w_a, w_m)
        kept = (rows.num_stages == k) & (rows.num_levels == k)
        stairs.update(map(tuple, np.concatenate([rows.depths[kept, :k], rows.widths[kept, :k]], axis=1).tolist()))
    return _realised_stairs(np.array(list(stairs)), axes, splits) if stairs else 0


def _realised_stairs(stairs: NDArray[np.int64], axes: RegNetAxes, splits: int) -> int:
    """The number of distinct networks that staircases, of shape (n, 2 k), give with every b and g."""
    k = stairs.shape[1] // 2
    total = 0
    for ratio in axes.bottleneck_ratio.values:
        networks = [
            np.concatenate([stairs[:, :k], *realise(axes, stairs[:, k:], ratio, groups, splits)], axis=1)
            for groups in groups_axis(axes).values
        ]
        distinct = np.unique(np.concatenate(networks), axis=0)
        total += int(np.all(distinct[:, 2 * k :] % splits == 0, axis=1).sum())
    return total


def _orders(space: DesignSpace) -> dict[str, str]:
    """The order of each parameter that has one."""
    return {c.parameter: c.order for c in space.constraints if isinstance(c, Order)}


def _sequences(n: int, k: int, order: str | None) -> int:
    """The number of sequences of k values out of n in an order.

    >>> [_sequences(3, 2, order) for order in (None, "shared", "non_decreasing")]
    [9, 3, 6]
    """
    if order is None:
        return math.prod([n] * k)
    return n if order == "shared" else math.comb(n + k - 1, k)
