"""Progress and results of measurements, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from designspace.cli.tables import counting, print_table
from designspace.spaces.costs import COSTS_FILE, UNITS, Cost, Setting, speeds_differ
from designspace.support.text import command, counted

if TYPE_CHECKING:  # torch
    from designspace.measurement.into_folder import Measurements
    from designspace.measurement.session import OnProgress

MAX_LISTED = 20
"""Number of networks of a list up to which the cost of each is printed."""
_POINTS = (0, 25, 50, 75, 100)


@contextmanager
def measurement_progress(setting: Setting, rounds: int) -> Iterator[Callable[[int], OnProgress]]:
    """Show the progress of a measurement; the block gets a function that takes the number of networks."""
    with counting("visits") as start:

        def show(networks: int) -> OnProgress:
            what = f"{counted(networks, 'network')}, {setting.describe()}"
            update = start(rounds * networks)
            return lambda visits, status: update(visits, f"{what}, {status}")

        yield show


def print_measurements(
    folders: Sequence[Path], outcomes: Sequence[Measurements], names: Mapping[str, str], side: str
) -> None:
    """Print the costs, how well they are known, and what to type next.

    Args:
        folders: the run folders.
        outcomes: costs of the same networks, for each setting.
        names: names of listed networks by their ids; empty for a run.
        side: size of the images, as text.
    """
    for outcome in outcomes:
        machine = outcome.costs[0].machine
        print(f"{outcome.setting.describe()}, {side}, on {machine}")
        for quantity in UNITS:
            costs = [cost for cost in outcome.costs if cost.quantity == quantity]
            if costs:
                _print_quantity(quantity, costs, names)
        for line in notes(outcome):
            print(line)
        print()
    print(f"all costs are in {', '.join(str(folder / COSTS_FILE) for folder in folders)}")
    print(f"compare at equal latency, once they are trained: {command('analyze', runs=list(folders), match='latency')}")


def _print_quantity(quantity: str, costs: Sequence[Cost], names: Mapping[str, str]) -> None:
    """Print the costs of each network of a short list, or else quantiles over the networks."""
    unit = UNITS[quantity]
    if len(names) in range(1, MAX_LISTED + 1):
        rows = [(names[cost.id], f"{cost.median:.3g}", f"{cost.low:.3g} to {cost.high:.3g}", cost.n) for cost in costs]
        print_table("", ("network", f"{quantity} ({unit})", "half of the visits", "visits"), rows)
        return
    values = [
        (f"{quantity} ({unit})", [cost.median for cost in costs], ".3g"),
        ("spread of a network's visits", [(cost.high - cost.low) / cost.median for cost in costs], ".1%"),
    ]
    quantiles = [
        (name, *(f"{value:{form}}" for value in np.percentile(column, _POINTS))) for name, column, form in values
    ]
    print_table("", (counted(len(costs), "network"), "min", *(f"{p}%" for p in _POINTS[1:-1]), "max"), quantiles)


def notes(outcome: Measurements) -> list[str]:
    """Return sentences on the noise of a measurement and on what disturbed it."""
    lines = []
    if not outcome.new:
        lines.append("nothing was measured now: all networks have a cost; again=all measures them again")
    elif outcome.noise == outcome.noise:
        lines.append(
            f"noise: {outcome.noise:.1%}, from a reference network that was measured again and again; differences "
            "below this are not shown"
        )
    least, greatest = outcome.reference_ms
    if speeds_differ(least, greatest):
        lines.append(
            f"warning: the machine had different speeds when these networks were measured (its reference network took "
            f"{least:.3g} to {greatest:.3g} ms), so they cannot be compared; again=all measures all of them together"
        )
    if outcome.disturbances:
        lines.append(
            f"disturbed: {outcome.disturbances}; times are corrected by "
            "those of the reference network, and visits beside other processes were repeated"
        )
    if disturbed := len({cost.id for cost in outcome.costs if cost.disturbed}):
        lines.append(
            f"warning: {counted(disturbed, 'network')} could not be measured undisturbed, so their costs may be too "
            "high; on a quiet machine, again=disturbed measures them again"
        )
    return lines
