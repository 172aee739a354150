"""Predicting the latency of networks from those that were measured on the same machine.

A prediction is a sum of what the layers do, with factors that are fitted to measured networks: operations by the kind
of convolution, elements that are written, weights that are read, and a constant per layer. No factor is negative. It is
used only to leave out networks that are clearly outside a limit; what remains is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designspace.networks.columns import NetworkColumns, network_parts
from designspace.networks.layers import SCALES, Column, Layer

FOLDS = 10
"""Number of parts of the measured networks, each predicted from the other parts to find the error."""
GROUP_WIDTHS = (2, 8, 16)
"""Group widths from which on a grouped convolution is of another kind, since kernels work on vectors of 8 or 16."""

_NAMES = (
    *("constant", "layers", "weights", "pointwise_flops", "scaled_elements", "written_elements"),
    *(f"{kind}_{what}" for kind in range(len(GROUP_WIDTHS) + 1) for what in ("flops", "window_elements")),
)


def features(networks: NetworkColumns, resolution: int) -> NDArray[np.float64]:  # (networks, features)
    """Return what the layers of networks do for an image of ``resolution`` pixels, one row per network.

    Raises:
        InputError: ``resolution`` is not a positive number of pixels.
    """
    zero: Column = np.zeros(1)
    counts: dict[str, Column] = {**dict.fromkeys(_NAMES, zero), "constant": np.ones(len(networks.stages[0].depth))}
    for part in network_parts(networks, resolution):
        for layer in part.layers:
            for name, count in _of_layer(layer):
                counts[name] = counts[name] + part.repeats * count
    return np.stack(np.broadcast_arrays(*counts.values()), axis=1).astype(np.float64)


def _of_layer(layer: Layer) -> Iterator[tuple[str, Column]]:
    """Yield the counts of one layer, by the name of the feature to which they add."""
    inputs, out_width = (np.asarray(column, np.float64) for column in (layer.inputs, layer.out_width))
    window, elements = np.square(layer.kernel, dtype=np.float64), out_width * layer.pixels
    if layer.kind in SCALES:
        yield "scaled_elements", elements
        yield "weights", inputs * out_width
        return
    yield "layers", elements > 0
    yield "written_elements", elements
    if layer.kind != "conv":
        return
    yield "weights", inputs * window * out_width
    yield "pointwise_flops", inputs * elements * (window == 1)
    kinds = np.searchsorted(GROUP_WIDTHS, inputs, side="right")
    for kind in range(len(GROUP_WIDTHS) + 1):
        of_kind = window * elements * ((window > 1) & (kinds == kind))
        yield f"{kind}_flops", inputs * of_kind
        yield f"{kind}_window_elements", of_kind


@dataclass(frozen=True, eq=False, slots=True)
class Predictor:
    """A fit of latencies to `features`, with the errors that it makes on networks that it has not seen."""

    factors: NDArray[np.float64]  # (features,)
    """Milliseconds per count; not negative."""
    errors: NDArray[np.float64]  # (networks,)
    """Relative error of each measured network when it is predicted from the other ones (cross-validation)."""

    @staticmethod
    def fit(counts: NDArray[np.float64], latencies: ArrayLike) -> Predictor:
        """Fit a predictor to measured networks.

        Args:
            counts: `features` of the networks. Shape (networks, features).
            latencies: their latencies in milliseconds. Shape (networks,).
        """
        measured = np.asarray(latencies, np.float64)
        predicted = np.empty(len(counts))
        for fold in range(FOLDS):
            held_out = np.arange(len(counts)) % FOLDS == fold
            predicted[held_out] = counts[held_out] @ _factors(counts[~held_out], measured[~held_out])
        return Predictor(_factors(counts, measured), np.abs(predicted / measured - 1))

    def predict(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:  # (networks,)
        """Return the latencies of networks with these `features`, in milliseconds."""
        latencies: NDArray[np.float64] = counts @ self.factors
        return latencies

    @property
    def median_error(self) -> float:
        """Median of the relative errors on networks that were not seen."""
        return float(np.median(self.errors))

    @property
    def margin(self) -> float:
        """Relative error that 19 of 20 predictions do not exceed."""
        return float(np.quantile(self.errors, 0.95))


def _factors(rows: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factors with the least squared relative error; those of counts that are always 0 are 0."""
    from scipy.optimize import nnls  # takes a while to import

    scale = rows.max(axis=0, initial=0.0)
    scale[scale == 0] = math.inf
    factors, _ = nnls(rows / scale / measured[:, None], np.ones(len(rows)))
    result: NDArray[np.float64] = factors / scale
    return result
