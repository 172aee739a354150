"""Sampling of populations: draw blocks and keep what meets the constraints until there are n distinct networks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from designspace.networks import blocks
from designspace.networks.complexity import check_listed_layers
from designspace.spaces.constraints import Order
from designspace.spaces.drawing import draw_block, unbuilt_reason
from designspace.spaces.estimates import Estimator
from designspace.spaces.identity import Identifier
from designspace.spaces.parameters import Columns
from designspace.spaces.population import DRAWS, DUPLICATE, Population
from designspace.spaces.streams import Streams
from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.support.imported import is_import_name

if TYPE_CHECKING:  # space.py imports this module
    from designspace.spaces.space import DesignSpace

BLOCK_SIZE = 1 << 14
"""Number of draws in a block: columns of this length stay in the cache. The result does not depend on it."""
TRACED_BLOCK_SIZE = 1 << 11
"""Number of draws in a block if counting takes a millisecond per shape, so that few are counted in vain."""
CHECKED_NETWORKS = 3
"""Number of networks whose layers, if a custom block lists them itself, are compared with those of its modules."""
MAX_UNBUILT_DRAWS = 1000
"""Number of draws that cannot be built, and no other network, after which sampling gives up."""
MAX_DRAWS_WITHOUT_NEW = 1_000_000
"""Number of consecutive draws without a new network after which sampling gives up."""


class InfeasibleError(InputError):
    """Error for constraints that leave too few networks; it lists how many draws each reason rejected."""

    def __init__(self, space: DesignSpace, n: int, found: int, drawn: int, rejected: dict[str, int]) -> None:
        self.drawn = drawn
        self.rejected = rejected
        reasons = "\n".join(f"  {count:>12,}  {reason}" for reason, count in rejected.items() if count)
        super().__init__(
            f"{space.name}: found only {found} of the {n} networks; the last {MAX_DRAWS_WITHOUT_NEW:,} draws gave no "
            f"new one. Widen the constraints or lower n.\nOf {drawn:,} draws, these were rejected:\n{reasons}"
        )


def sample(space: DesignSpace, n: int, seed: int = 0) -> Population:
    """Draw networks until there are n distinct ones.

    The population depends on (space, seed) alone, on any machine; a larger n extends it. Draws that realise to a
    network already in the population are dropped, and counted as duplicates and in that network's ``draws`` (see
    `Population`).

    Raises:
        InputError: n is not a whole number >= 1, or the user's block cannot be built in any of the first draws.
        InfeasibleError: the constraints leave fewer than n networks, or so few that none is found.
    """
    n, seed = whole("n", n, 1), whole("seed", seed, 0)
    streams, identifier = Streams(seed), Identifier(space)
    estimator = Estimator(space) if blocks.get(space.template.block).is_traced else None
    draws: dict[str, int] = {}
    parts: list[Columns] = []
    rejected: Counter[str] = Counter()
    drawn, last_new = 0, 0
    while len(draws) < n:
        if drawn - last_new >= MAX_DRAWS_WITHOUT_NEW:
            raise InfeasibleError(space, n, len(draws), drawn, dict(rejected))
        size = BLOCK_SIZE if estimator is None else _traced_block_size(space, n - len(draws))
        block = draw_block(space, streams, size, estimator)
        new, duplicates, end = [], 0, size
        for i, id_ in enumerate(identifier.ids(block.accepted)):
            if id_ in draws:
                draws[id_] += 1
                duplicates += 1
                continue
            draws[id_] = 1
            new.append(i)
            if len(draws) == n:
                end = int(block.rows[i]) + 1
                break
        if new:
            last_new = drawn + int(block.rows[new[-1]])
        counts = np.bincount(block.outcomes[:end], minlength=len(block.reasons) + 1).tolist()
        for reason, count in zip(block.reasons, counts[1:], strict=True):
            rejected[reason] += count
        rejected[DUPLICATE] += duplicates
        drawn += end
        if block.error and not draws and rejected[unbuilt_reason(space)] >= MAX_UNBUILT_DRAWS:
            raise block.error
        parts.append({name: column[new] for name, column in block.accepted.items()})
    # Each column is removed from its parts as it is joined, so that a large population is never in memory twice.
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    columns[DRAWS] = np.fromiter(draws.values(), np.int64, len(draws))
    population = Population(space, seed, tuple(draws), columns, drawn, dict(rejected))
    if is_import_name(space.template.block) and not estimator:
        for network in population[:CHECKED_NETWORKS]:
            check_listed_layers(network, space.template.resolution)
    return population


def _traced_block_size(space: DesignSpace, missing: int) -> int:
    """Return the number of draws in a block for a space whose block must be built to be counted."""
    is_limited = any(not isinstance(constraint, Order) for constraint in space.constraints)
    return min(TRACED_BLOCK_SIZE, 8 * missing if is_limited else missing)
