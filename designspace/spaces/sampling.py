"""Sampling: draw blocks, keep what meets the constraints, until there are n distinct networks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from designspace.spaces.drawing import draw
from designspace.spaces.identity import Identifier
from designspace.spaces.parameters import Columns
from designspace.spaces.population import DRAWS, DUPLICATE, Population
from designspace.spaces.streams import Streams
from designspace.support.checks import whole
from designspace.support.errors import InputError

if TYPE_CHECKING:  # a space samples, so the import goes the other way
    from designspace.spaces.space import DesignSpace

BLOCK = 1 << 14
"""Draws at a time: columns of this length stay in the cache. The result does not depend on it."""
PATIENCE = 1_000_000
"""Give up after so many draws in a row without a new network."""


class InfeasibleError(InputError):
    """The constraints leave too few networks: it carries the table of what rejected how many."""

    def __init__(self, space: DesignSpace, asked: int, found: int, drawn: int, rejected: dict[str, int]) -> None:
        self.drawn = drawn
        self.rejected = rejected
        reasons = "\n".join(f"  {count:>12,}  {reason}" for reason, count in rejected.items() if count)
        super().__init__(
            f"{space.name}: only {found} of the {asked} networks asked for were found; the last {PATIENCE:,} draws "
            f"brought none. Widen the constraints or ask for fewer.\nOf {drawn:,} draws these were rejected:\n{reasons}"
        )


def sample(space: DesignSpace, n: int, seed: int = 0) -> Population:
    """Draw networks until there are n distinct ones.

    The population depends on (space, seed) alone: a larger n extends it, on any machine. Draws that realise to a
    network already in the population are dropped, and counted as duplicates and in the column ``draws`` of that network
    (see `Population`).

    Raises:
        InputError: n is not a whole number >= 1.
        InfeasibleError: the constraints leave fewer than n networks, or next to none.
    """
    n, seed = whole("n", n, 1), whole("seed", seed, 0)
    streams, identifier = Streams(seed), Identifier(space)
    draws: dict[str, int] = {}
    parts: list[Columns] = []
    rejected: Counter[str] = Counter()
    drawn, last_new = 0, 0
    while len(draws) < n:
        if drawn - last_new >= PATIENCE:
            raise InfeasibleError(space, n, len(draws), drawn, dict(rejected))
        block = draw(space, streams, BLOCK)
        new, duplicates, end = [], 0, BLOCK
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
        counts = np.bincount(block.fate[:end], minlength=len(block.reasons) + 1).tolist()
        for reason, count in zip(block.reasons, counts[1:], strict=True):
            rejected[reason] += count
        rejected[DUPLICATE] += duplicates
        drawn += end
        parts.append({name: column[new] for name, column in block.accepted.items()})
    # Column by column, each taken out of its parts: a large population is never in memory twice.
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    columns[DRAWS] = np.fromiter(draws.values(), np.int64, len(draws))
    return Population(space, seed, tuple(draws), columns, drawn, dict(rejected))
