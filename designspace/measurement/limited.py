"""Sampling of networks under a limit on measured latency.

Candidates are the networks of the space without the limit, in the order in which they are drawn. A predictor that is
fitted to the candidates measured so far leaves out those that are clearly outside the limit. All others are measured,
so that every accepted network was. One in twenty of those left out is measured all the same, which shows how many the
predictor loses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from designspace.measurement.predictor import Predictor, features
from designspace.measurement.session import Measured
from designspace.networks.network import Network
from designspace.spaces.candidates import ACCEPTED, OUTSIDE, PREDICTED_OUTSIDE, Candidate
from designspace.spaces.costs import Cost
from designspace.spaces.population import DRAWS, DUPLICATE, Population
from designspace.spaces.space import DesignSpace
from designspace.support.checks import whole
from designspace.support.errors import InputError
from designspace.support.text import counted

MIN_MEASURED = 30
"""Number of measured candidates from which on the predictor leaves out others."""
MAX_AT_ONCE = 16
"""Maximum number of candidates that are measured together, before the predictor is fitted again."""
AUDIT = 20
"""One in this many candidates that the predictor would leave out is measured all the same."""
MIN_MARGIN = 0.05
"""Least relative distance from the limit at which the predictor leaves out a candidate."""
DEFAULT_NOISE = 0.05
"""Relative noise that is assumed before the session has measured enough to know it."""
MAX_CANDIDATES_WITHOUT = 20_000
"""Number of consecutive candidates outside the limit after which sampling gives up."""
FIRST_GROUP = 128
"""Number of candidates that are drawn first; their number doubles as long as more are needed."""


Measure = Callable[[Sequence[Network]], Measured]
"""Measures networks, always under the same setting and on the same machine (see `Session.measure`)."""


class LimitedSampling:
    """A search for networks within a limit on latency, which can be interrupted and resumed.

    Args:
        space: a space with a limit on latency.
        seed: seed of the draws.
        measure: measures networks. It is not called if all decisions are known.
        known: decisions of an earlier search with the same space, seed and machine.
        on_decisions: called after each measurement with this search.

    Raises:
        InputError: the space has no limit on latency.
    """

    def __init__(
        self,
        space: DesignSpace,
        seed: int,
        measure: Measure,
        known: Iterable[Candidate] = (),
        on_decisions: Callable[[LimitedSampling], None] = lambda search: None,
    ) -> None:
        if space.latency is None:
            raise InputError(f"{space.name} has no limit on latency; use space.sample")
        self.space, self.limit, self.seed = space, space.latency, seed
        self.decisions = {candidate.id: candidate for candidate in known}
        """Id -> decision on each candidate so far."""
        self.predictor: Predictor | None = None
        """The last fit; None until enough candidates are measured."""
        self._measure, self._on_decisions = measure, on_decisions
        self.costs: list[Cost] = []
        """What this search measured."""
        self.accepted = 0
        """Number of accepted candidates so far."""
        self._unlimited = dataclasses.replace(space, latency=None)
        self._counts: dict[str, NDArray[np.float64]] = {}
        """Id -> features of each candidate so far."""

    def sample(self, n: int) -> Population:
        """Draw candidates until ``n`` of them are within the limit, and return these.

        The population has the seed's candidates in their order, so a larger ``n`` extends it.

        Raises:
            InputError: ``n`` is not a whole number >= 1, the space has too few networks, or the last 20,000 candidates
                were all outside the limit.
        """
        n = whole("n", n, 1)
        self.accepted = number = last = 0
        for candidates in self._groups():
            start = 0
            while start < len(candidates):
                end = self._decide(candidates, start, n - self.accepted)
                for id_ in candidates.ids[start:end]:
                    number += 1
                    if self.decisions[id_].verdict == ACCEPTED:
                        self.accepted, last = self.accepted + 1, number
                        if self.accepted == n:
                            break
                self._on_decisions(self)
                if self.accepted == n:
                    return self._population(number)
                if number - last >= MAX_CANDIDATES_WITHOUT:
                    raise self._infeasible(n)
                start = end
        raise AssertionError("there is always another group of candidates")

    @property
    def measured(self) -> list[Candidate]:
        """The candidates that were measured."""
        return [candidate for candidate in self.decisions.values() if candidate.is_measured]

    def audit(self) -> tuple[int, int]:
        """Return the number of candidates measured although predicted outside, and of those that were within.

        Their margin is that of the last fit.
        """
        margin = self._margin()
        audited = [candidate for candidate in self.measured if self.limit.excludes(candidate.predicted_ms, margin)]
        return len(audited), sum(candidate.verdict == ACCEPTED for candidate in audited)

    def _groups(self) -> Iterator[Population]:
        """Yield the candidates in their order, in groups of growing sizes."""
        start, end = 0, FIRST_GROUP
        while True:
            candidates = self._unlimited.sample(end, self.seed)[start:]
            counts = features(self._unlimited.network_columns(candidates.columns), self._unlimited.template.resolution)
            self._counts.update(zip(candidates.ids, counts, strict=True))
            yield candidates
            start, end = end, 2 * end

    def _decide(self, candidates: Population, start: int, wanted: int) -> int:
        """Decide on the candidates from index ``start`` on; return the index of the first one without a decision.

        Raises:
            InputError: a network cannot be measured.
        """
        self._fit()
        to_measure: list[int] = []
        end = start
        while end < len(candidates) and len(to_measure) < min(MAX_AT_ONCE, wanted):
            id_ = candidates.ids[end]
            if id_ not in self.decisions:
                predicted = self._predict(id_)
                if self.limit.excludes(predicted, self._margin()) and int(id_, 16) % AUDIT:
                    self.decisions[id_] = Candidate(id_, PREDICTED_OUTSIDE, predicted, math.nan)
                else:
                    to_measure.append(end)
            elif self.decisions[id_].verdict == ACCEPTED:
                wanted -= 1
            end += 1
        if to_measure:
            measured = self._measure([candidates[index] for index in to_measure])
            self.costs += measured.costs
            noise = DEFAULT_NOISE if math.isnan(measured.noise) else measured.noise
            for cost in measured.costs:
                if cost.quantity == "latency":
                    verdict = ACCEPTED if self.limit.allows(cost.median, noise) else OUTSIDE
                    self.decisions[cost.id] = Candidate(cost.id, verdict, self._predict(cost.id), cost.median)
        return end

    def _fit(self) -> None:
        """Fit the predictor to all measured candidates, if they are enough."""
        measured = [candidate for candidate in self.measured if candidate.id in self._counts]
        if len(measured) >= MIN_MEASURED:
            counts = np.array([self._counts[candidate.id] for candidate in measured])
            self.predictor = Predictor.fit(counts, [candidate.measured_ms for candidate in measured])

    def _predict(self, id_: str) -> float:
        """Return the predicted latency of a candidate; NaN without a predictor."""
        return float(self.predictor.predict(self._counts[id_])) if self.predictor else math.nan

    def _margin(self) -> float:
        """Return by how much a prediction must be outside the limit."""
        return max(MIN_MARGIN, self.predictor.margin) if self.predictor else math.inf

    def _population(self, number: int) -> Population:
        """Return the accepted ones of the first ``number`` candidates."""
        candidates = self._unlimited.sample(number, self.seed)
        verdicts = np.array([self.decisions[id_].verdict for id_ in candidates.ids])
        draws = candidates.columns[DRAWS]
        accepted = candidates[np.flatnonzero(verdicts == ACCEPTED)]
        rejected = {reason: count for reason, count in candidates.rejected.items() if reason != DUPLICATE}
        for verdict, how in ((PREDICTED_OUTSIDE, "predicted"), (OUTSIDE, "measured")):
            rejected[f"{how} outside the limit: {self.limit}"] = int(draws[verdicts == verdict].sum())
        rejected[DUPLICATE] = int(accepted.columns[DRAWS].sum()) - len(accepted)
        return dataclasses.replace(accepted, space=self.space, rejected=rejected)

    def _infeasible(self, n: int) -> InputError:
        """Return the error for a limit that too few networks meet."""
        latencies = [candidate.measured_ms for candidate in self.measured]
        found = f"found only {self.accepted} of the {counted(n, 'network')} with {self.limit}"
        span = f"; those measured take {min(latencies):.3g} to {max(latencies):.3g} ms" if latencies else ""
        return InputError(
            f"{self.space.name}: {found}, and none among the last {MAX_CANDIDATES_WITHOUT:,} candidates{span}. "
            "Change the limit, or limit the space's flops or activations so that more of its networks are within it"
        )
