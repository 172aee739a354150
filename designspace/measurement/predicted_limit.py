"""A limit on latency by prediction, for screening, where far too many networks are drawn to measure each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from designspace.measurement.into_folder import Request, measure_into
from designspace.measurement.predictor import Predictor, features
from designspace.measurement.session import OnProgress
from designspace.networks.columns import NetworkColumns
from designspace.spaces.constraints import Band
from designspace.spaces.latency import LatencyLimit
from designspace.spaces.sampling import InfeasibleError
from designspace.spaces.seeds import independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.files import make_folder

MEASURED = 50
"""Number of networks of a space that are measured to predict the latency of the others."""


@dataclass(frozen=True, eq=False, slots=True)
class PredictedLimit:
    """A limit on latency, and a predictor that was fitted to measured networks of one space."""

    limit: LatencyLimit
    predictor: Predictor

    def allows(self, networks: NetworkColumns, resolution: int) -> NDArray[np.bool_]:  # (networks,)
        """Return which networks are within the limit as far as the predictor knows."""
        latencies = self.predictor.predict(features(networks, resolution))
        return (latencies <= self.limit.below_ms) & (latencies >= self.limit.above_ms)

    def sentence(self, name: str) -> str:
        """Return how the limit was applied to a space, as text."""
        return (
            f"{name}: {self.limit} by a prediction from {len(self.predictor.errors)} measured networks, whose median "
            f"error on networks it has not seen is {self.predictor.median_error:.1%}."
        )


def predicted_limit(
    folder: Path,
    space: DesignSpace,
    bands: Sequence[Band],
    limit: LatencyLimit,
    *,
    seed: int = 0,
    on_start: Callable[[int], OnProgress] | None = None,
) -> PredictedLimit | None:
    """Measure networks of a space that meet other limits, and fit a predictor to them.

    Costs are kept in costs.csv of a folder, so that networks are measured once.

    Args:
        folder: the folder; it is made if it does not exist.
        space: the space.
        bands: the other limits.
        limit: the limit on latency.
        seed: seed of the draws.
        on_start: takes the number of networks to measure, and returns a function that shows the progress.

    Returns:
        The limit; None if too few networks meet the other limits.

    Raises:
        InputError: this machine cannot measure with the limit's setting.
        RunError: costs.csv cannot be read or written.
    """
    try:
        networks = space.refine(*bands).sample(MEASURED, independent_seed(space, seed))
    except InfeasibleError:
        return None
    make_folder(folder)
    resolution = space.template.resolution
    request = Request(device=limit.setting.device, resolution=resolution)
    measured = measure_into({folder: list(networks)}, limit.setting, request, on_start)
    latency = {cost.id: cost.median for cost in measured.costs if cost.quantity == "latency"}
    counts = features(space.network_columns(networks.columns), resolution)
    return PredictedLimit(limit, Predictor.fit(counts, [latency[id_] for id_ in networks.ids]))
