"""Measurement of networks into the costs.csv of folders, by one or several processes, and resumed after any end."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from designspace.measurement.session import ROUNDS, OnProgress, Session
from designspace.networks.network import Network
from designspace.spaces.costs import Cost, Setting, read_costs, write_costs
from designspace.support.machine import available_cores
from designspace.trials import claims

WRITE_EVERY_S = 5.0
"""Seconds between two writes of costs.csv."""

Again = Literal["none", "disturbed", "all"]
"""Which networks that have costs are measured again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be measured of networks, under one or several settings."""

    device: str = "cpu"
    """One of `designspace.spaces.costs.DEVICES`."""
    batches: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("float32",)
    threads: tuple[int, ...] | None = None
    """Numbers of threads on CPUs; None for all cores that the measuring process may use."""
    resolution: int
    """Side of the images, in pixels."""
    rounds: int = ROUNDS
    """Number of visits of each network."""
    seed: int = 0
    """Determines the order of the visits."""
    again: Again = "none"
    """Which networks that have costs are measured again."""

    def settings(self) -> list[Setting]:
        """Return all combinations of precisions, batches and threads, in their order, for this process.

        Raises:
            InputError: a value is not allowed.
        """
        threads = (0,) if self.device == "cuda" else self.threads or (available_cores(),)
        combinations = itertools.product(self.precisions, self.batches, threads)
        return [Setting(self.device, batch, precision, number) for precision, batch, number in combinations]


@dataclass(frozen=True, slots=True)
class Measurements:
    """The costs of networks under one setting, new and known ones, and how well the new ones are known."""

    setting: Setting
    costs: tuple[Cost, ...]
    """Costs of all networks, in their order, without repetitions."""
    new: int
    """Number of networks that were measured now."""
    noise: float
    """See `designspace.measurement.session.Measured`; NaN if nothing was measured now."""
    disturbances: str
    """What disturbed the measurement; empty if nothing did."""

    @property
    def reference_ms(self) -> tuple[float, float]:
        """Least and greatest time of the reference network; NaN if no cost has one."""
        times = [cost.reference_ms for cost in self.costs if not math.isnan(cost.reference_ms)]
        return min(times, default=math.nan), max(times, default=math.nan)


def measure_into(
    folders: Mapping[Path, Sequence[Network]],
    setting: Setting,
    request: Request,
    on_start: Callable[[int], OnProgress] | None = None,
) -> Measurements:
    """Measure the networks that have no cost in costs.csv of their folders yet, and add their costs to these files.

    The networks of all folders are measured in one session and one random order, so that they can be compared. The
    files are written every few seconds, whole. Costs that another process adds meanwhile are kept.

    Args:
        folders: folders that exist, each with its networks; all networks are for images of the same channels.
        setting: one of the request's settings.
        request: what is to be measured.
        on_start: takes the number of networks to measure, and returns a function that shows the progress.

    Raises:
        InputError: this machine cannot measure with the setting, or a network cannot be built.
        RunError: the file cannot be read or written.
    """
    networks = {network.id: network for of_folder in folders.values() for network in of_folder}
    order = {id_: number for number, id_ in enumerate(networks)}

    def known() -> list[Cost]:
        costs = {
            (cost.id, cost.quantity): cost
            for folder in folders
            for cost in session.known(read_costs(folder))
            if cost.id in order
        }
        return sorted(costs.values(), key=lambda cost: order[cost.id])

    channels = next(iter(networks.values())).in_channels
    session = Session(setting, request.resolution, in_channels=channels, rounds=request.rounds, seed=request.seed)
    repeated = request.again == "disturbed"
    kept = [] if request.again == "all" else [cost for cost in known() if not (repeated and cost.disturbed)]
    new = len(order.keys() - {cost.id for cost in kept})
    files = _Writer({folder: {network.id for network in of_folder} for folder, of_folder in folders.items()})
    try:
        measured = session.measure(networks.values(), kept, files.add, on_start(new) if on_start and new else None)
        files.costs = [*kept, *measured.costs]
    finally:
        files.write()
    noise = measured.noise if new else float("nan")
    return Measurements(setting, tuple(known()), new, noise, measured.disturbances)


def add_costs(folder: Path, costs: Sequence[Cost]) -> None:
    """Add costs to costs.csv of a folder; those of equal measurements replace the ones there.

    Raises:
        RunError: the file cannot be read or written.
    """
    with claims.exclusive(folder):  # another process may be adding its own
        write_costs(folder, [*read_costs(folder), *costs])


class _Writer:
    """Writes costs into folders as they come, but not more often than every few seconds."""

    def __init__(self, folders: Mapping[Path, Collection[str]]) -> None:
        """Create a writer for folders, each with the ids of its networks."""
        self.costs: Sequence[Cost] = ()
        """Costs that are not yet in the files, or were changed since."""
        self._folders, self._written = folders, time.monotonic()

    def add(self, costs: Sequence[Cost]) -> None:
        """Take the costs of all networks so far."""
        self.costs = costs
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the costs, if there are any."""
        for folder, ids in self._folders.items():
            if costs := [cost for cost in self.costs if cost.id in ids]:
                add_costs(folder, costs)
        self._written = time.monotonic()
