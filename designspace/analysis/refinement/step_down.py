"""Which of many scores of networks agree with their errors, with a p value that is corrected for all of them.

Westfall and Young, "Resampling-Based Multiple Testing" (1993): errors are permuted within strata of networks of
similar complexity, and each score is compared with the largest statistic of the permuted errors over all scores that
are not stronger. The permutation keeps the correlations of the scores, so that many ranges of one axis cost little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
_ROUNDING = 1e-9
"""Statistics of permuted errors this close to the actual one count as equal to it."""
_COLLINEAR = 1e-12
"""A score of whose squares only this part is not explained by others is one of them."""


@dataclass(frozen=True, eq=False)
class StepDown:
    """Result of testing several scores."""

    t: Column  # (c,)
    """Sum of products of ranks and score, in standard deviations over permutations: positive if it agrees."""
    p: Column  # (c,)
    """One-sided p value, corrected for all scores."""


def step_down(ranks: Column, scores: Column, strata: NDArray[np.int64], permutations: int, seed: int) -> StepDown:
    """Test whether scores agree with ranks.

    Args:
        ranks: ranks of the errors, centred in strata, the best the highest. Shape (n,).
        scores: scores of the networks, centred in strata. Shape (n, c).
        strata: number of the stratum of each network, ascending from 0. Shape (n,).
        permutations: number of permutations.
        seed: seed of the permutations.
    """
    deviations = _deviations(ranks, scores, strata)
    scaled = scores / deviations
    t = ranks @ scaled
    order = np.argsort(-t, kind="stable")
    permuted = permuted_within(ranks, strata, permutations, seed) @ scaled[:, order]
    # The largest statistic over a score and all weaker ones.
    largest = np.maximum.accumulate(permuted[:, ::-1], axis=1)[:, ::-1]
    above = (largest >= t[order] - _ROUNDING).sum(axis=0)
    p = np.empty(t.size)
    p[order] = np.maximum.accumulate((1 + above) / (1 + permutations))
    return StepDown(t, p)


def independent_scores(
    ranks: Column,
    scores: Column,
    strata: NDArray[np.int64],
    eligible: NDArray[np.bool_],
    preferred: NDArray[np.bool_],
    *,
    level: float,
    most: int,
    permutations: int,
    seed: int,
) -> list[int]:
    """Return the scores that agree with the ranks, each beyond what stronger ones explain, the strongest first.

    Many ranges and orders describe one effect. So after the strongest score is chosen, all are tested again without the
    part of ranks and scores that it explains. Each further choice is corrected for all scores: if only the eligible
    ones were tested, which were selected by the same ranks, a quarter of populations with one planted effect had a
    second proposal.

    Args:
        ranks: as in `step_down`.
        scores: as in `step_down`. Shape (n, c).
        strata: as in `step_down`.
        eligible: which scores may be chosen: those that agree with the ranks by themselves. Shape (c,).
        preferred: which scores are chosen instead of a stronger one that they cannot be distinguished from. Shape (c,).
        level: significance level of each further score.
        most: largest number of scores to return.
        permutations: number of permutations of each test.
        seed: seed of the permutations.
    """
    chosen: list[int] = []
    others = np.arange(scores.shape[1])
    while eligible[others].any() and len(chosen) < most:
        basis = np.linalg.qr(scores[:, chosen])[0]
        rest_of_ranks = ranks - basis @ (basis.T @ ranks)
        rest = scores[:, others] - basis @ (basis.T @ scores[:, others])
        is_new = (rest**2).sum(axis=0) > _COLLINEAR * (scores[:, others] ** 2).sum(axis=0)
        others, rest = others[is_new], rest[:, is_new]
        test = step_down(rest_of_ranks, rest, strata, permutations, seed)
        supported = np.flatnonzero(eligible[others] & (test.p <= level))
        if not supported.size:
            break
        best = supported[_preferred(test.t[supported], rest[:, supported], preferred[others[supported]])]
        chosen.append(int(others[best]))
        others = np.delete(others, best)
    return chosen


def _preferred(t: Column, scores: Column, is_preferred: NDArray[np.bool_]) -> int:
    """Return the position of the strongest preferred score that is at most a standard error weaker than the strongest.

    The difference of the statistics of two scores of correlation r has a standard deviation of sqrt(2 (1 - r)).
    """
    best = int(np.argmax(t))
    sizes = np.sqrt((scores**2).sum(axis=0))
    correlations = scores[:, best] @ scores / (sizes[best] * sizes)
    is_close = t[best] - t <= np.sqrt(np.maximum(0.0, 2 * (1 - correlations)))
    close = np.flatnonzero(is_preferred & is_close)
    return int(close[np.argmax(t[close])]) if close.size else best


def permuted_within(ranks: Column, strata: NDArray[np.int64], permutations: int, seed: int) -> NDArray[np.float64]:
    """Return permutations of numbers within strata, which are ascending. Shape (permutations, n)."""
    rng = np.random.default_rng(seed)
    keys = rng.random((permutations, ranks.size)) + strata
    return np.asarray(ranks[np.argsort(keys, axis=1)])


def _deviations(ranks: Column, scores: Column, strata: NDArray[np.int64]) -> Column:
    """Return the standard deviation of ranks @ scores over permutations within strata. Shape (c,)."""
    starts = np.flatnonzero(np.diff(strata, prepend=-1))
    squares = np.add.reduceat(ranks**2, starts)
    of_scores = np.add.reduceat(scores**2, starts, axis=0)
    freedom = np.maximum(np.bincount(strata) - 1, 1)
    variances = (squares / freedom) @ of_scores
    return np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
