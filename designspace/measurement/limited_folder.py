"""Sampling under a limit on latency into a folder, which keeps what was measured and decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from designspace.measurement.limited import LimitedSampling
from designspace.measurement.session import Measured, Session
from designspace.networks.network import Network
from designspace.spaces.candidates import read_candidates, write_candidates
from designspace.spaces.costs import read_costs, write_costs
from designspace.spaces.population import Population
from designspace.spaces.space import DesignSpace
from designspace.support.errors import InputError
from designspace.support.files import make_folder
from designspace.trials import claims

OnSearch = Callable[[LimitedSampling], None]


def sample_into(
    folder: Path, space: DesignSpace, n: int, seed: int, on_search: OnSearch = lambda search: None
) -> tuple[Population, LimitedSampling]:
    """Sample networks within a limit; keep costs in costs.csv of a folder, and decisions in candidates.csv.

    The population itself is not written. A search that was interrupted is resumed, and one that is known is repeated
    without measuring anything.

    Args:
        folder: the folder of the population; it is made if it does not exist.
        space: a space with a limit on latency.
        n: number of networks.
        seed: seed of the draws.
        on_search: called after each measurement.

    Raises:
        InputError: the search was begun on another machine, this one cannot measure with the limit's setting, or as in
            `LimitedSampling.sample`.
        RunError: a file cannot be read or written.
    """
    assert space.latency is not None
    make_folder(folder)
    with claims.exclusive(folder):
        measure = _Measuring(folder, space)

        def keep(search: LimitedSampling) -> None:
            write_costs(folder, [*read_costs(folder), *search.costs])
            write_candidates(folder, search.limit, search.decisions.values())
            on_search(search)

        search = LimitedSampling(space, seed, measure, read_candidates(folder, space.latency), keep)
        population = search.sample(n)
        write_candidates(folder, search.limit, search.decisions.values())
    return population, search


class _Measuring:
    """Measures networks in one session, which starts when it is needed."""

    def __init__(self, folder: Path, space: DesignSpace) -> None:
        self._folder, self._space = folder, space
        self._session: Session | None = None

    def __call__(self, networks: Sequence[Network]) -> Measured:
        """Measure networks; raise if those of the same search were measured on another machine."""
        if self._session is None:
            assert self._space.latency is not None
            template = self._space.template
            setting = self._space.latency.setting
            self._session = Session(setting, template.resolution, in_channels=template.in_channels)
            costs = read_costs(self._folder)
            others = sorted({cost.machine for cost in costs if cost.setting == setting} - {self._session.machine})
            if others:
                raise InputError(
                    f"the networks in {self._folder} were measured on {' and '.join(others)}, but this machine is "
                    f"{self._session.machine}; choose another folder with run=..."
                )
        return self._session.measure(networks)
