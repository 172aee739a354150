"""Measurement of networks into the costs.csv of a folder, by one or several processes, and resumed after any end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
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
    """Costs of all networks, in their order."""
    new: int
    """Number of networks that were measured now."""
    noise: float
    """See `designspace.measurement.session.Measured`; NaN if nothing was measured now."""
    disturbances: str
    """What disturbed the measurement; empty if nothing did."""


def measure_into(
    folder: Path,
    networks: Sequence[Network],
    setting: Setting,
    request: Request,
    on_start: Callable[[int], OnProgress] | None = None,
) -> Measurements:
    """Measure the networks that costs.csv of a folder does not have yet, and add their costs to the file.

    The file is written every few seconds, whole. Costs that another process adds meanwhile are kept.

    Args:
        folder: a folder that exists.
        networks: the networks, all for images of the same channels.
        setting: one of the request's settings.
        request: what is to be measured.
        on_start: takes the number of networks to measure, and returns a function that shows the progress.

    Raises:
        InputError: this machine cannot measure with the setting, or a network cannot be built.
        RunError: the file cannot be read or written.
    """
    order = {network.id: number for number, network in enumerate(networks)}

    def known() -> list[Cost]:
        costs = [cost for cost in session.known(read_costs(folder)) if cost.id in order]
        return sorted(costs, key=lambda cost: order[cost.id])

    channels = networks[0].in_channels
    session = Session(setting, request.resolution, in_channels=channels, rounds=request.rounds, seed=request.seed)
    repeated = request.again == "disturbed"
    kept = [] if request.again == "all" else [cost for cost in known() if not (repeated and cost.disturbed)]
    new = len(order.keys() - {cost.id for cost in kept})
    file = _Writer(folder)
    try:
        measured = session.measure(networks, kept, file.add, on_start(new) if on_start and new else None)
        file.costs = measured.costs
    finally:
        file.write()
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
    """Writes costs into a folder as they come, but not more often than every few seconds."""

    def __init__(self, folder: Path) -> None:
        self.costs: Sequence[Cost] = ()
        """Costs that are not yet in the file, or were changed since."""
        self._folder, self._written = folder, time.monotonic()

    def add(self, costs: Sequence[Cost]) -> None:
        """Take the costs of all networks so far."""
        self.costs = costs
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the costs, if there are any."""
        if self.costs:
            add_costs(self._folder, self.costs)
        self._written = time.monotonic()
