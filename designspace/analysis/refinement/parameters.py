"""The parameters of a population by axis: realised values for scores, and the draws that may have given them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.lines import distance_to_line
from designspace.analysis.refinement.changes import Change, FixedText, Line, Narrowing, apply
from designspace.analysis.refinement.population import RefinedPopulation
from designspace.spaces.axes import Axis
from designspace.spaces.constraints import Order, StageRange
from designspace.spaces.membership import StageSettings, can_meet, stage_settings
from designspace.spaces.parameters import (
    REGNET_COLUMNS,
    AnyNetAxes,
    column_prefix,
    named_axes,
)
from designspace.spaces.space import DesignSpace

GROUPS = ("group_width", "cardinality")
_EXACT_FIT = 1e-9
"""Networks with a smaller distance to a line may be on it."""


@dataclass(frozen=True, eq=False)
class PopulationParameters:
    """The parameters of the networks of a population."""

    population: RefinedPopulation

    @property
    def space(self) -> DesignSpace:
        """The space of the population."""
        return self.population.space

    @functools.cached_property
    def orders(self) -> dict[str, str]:
        """The order of each parameter that has one."""
        return {c.parameter: c.order for c in self.space.constraints if isinstance(c, Order)}

    def is_per_stage(self, parameter: str) -> bool:
        """Return whether the stages of a network may have different values of a parameter."""
        is_of_stages = isinstance(self.space.axes, AnyNetAxes) and parameter in named_axes(self.space.axes)
        return is_of_stages and self.orders.get(parameter) != "shared" and self.space.num_stages > 1

    def axes(self) -> dict[str, Axis]:
        """Return the axes with more than one value, by parameter."""
        axes = named_axes(self.space.axes) | self.space.network_axes()
        return {name: axis for name, axis in axes.items() if len(axis) > 1}

    def of_stages(self, parameter: str) -> NDArray[np.float64]:
        """Return the realised values of all stages. Shape (n, stages)."""
        if parameter == "cardinality":
            width, ratio, group = (self.of_stages(name) for name in ("width", "bottleneck_ratio", "group_width"))
            return np.asarray(np.rint(width / ratio / group), np.float64)
        stages = range(1, self.space.num_stages + 1)
        return np.column_stack([self.population.column(f"{column_prefix(parameter)}{i}") for i in stages])

    def of_network(self, parameter: str) -> NDArray[np.float64]:
        """Return the values of a parameter that all stages of a network share. Shape (n,)."""
        of_stages = named_axes(self.space.axes)
        if parameter not in of_stages or (parameter in REGNET_COLUMNS and not isinstance(self.space.axes, AnyNetAxes)):
            return self.population.column(parameter)
        # A shared group width is cut in narrow stages, so the widest value is the closest to what was drawn.
        return np.asarray(self.of_stages(parameter).max(axis=1), np.float64)

    def texts(self, parameter: str) -> NDArray[np.str_]:
        """Return the texts of a parameter. Shape (n, stages), or (n, 1) if a network has it once."""
        table = self.population.results.table.iloc[self.population.rows]
        stages = [f"{parameter}{i}" for i in range(1, self.space.num_stages + 1)]
        names = stages if parameter in dict(self.space.axes.own) else [parameter]
        return np.asarray(table[names].to_numpy(str))

    @functools.cached_property
    def line_distances(self) -> NDArray[np.float64]:
        """The distance of each network to the closest quantised line (`lines.distance_to_line`). Shape (n,)."""
        depths, widths = (self.of_stages(name).astype(int).tolist() for name in ("depth", "width"))
        return np.array([_distance(tuple(d), tuple(w)) for d, w in zip(depths, widths, strict=True)])

    @functools.cached_property
    def draws(self) -> list[list[list[StageSettings]]]:
        """For each network and stage, the widths and groups that may have been drawn for it.

        Widths and groups are made compatible after they are drawn, so several draws may give one stage.
        """
        axes = self.space.axes
        of_networks = []
        for network in self.population.networks():
            widths = (
                axes.width.values
                if isinstance(axes, AnyNetAxes)
                else np.arange(8, 2 * max(stage.width for stage in network.stages) + 264, 8)
            )
            of_networks.append([stage_settings(axes, stage, widths, network.radix) for stage in network.stages])
        return of_networks

    def members(self, change: Change) -> NDArray[np.bool_]:
        """Return which networks the changed space contains: those that some draw of it gives. Shape (n,).

        For the numbers of a RegNet's line, whose draws are known, these are the networks that were drawn in the range;
        a few others may be on another line that is in the range.
        """
        if isinstance(change, Line):
            child = apply(self.space, change)
            networks = self.population.networks()
            is_close = self.line_distances < _EXACT_FIT
            return np.array(
                [close and bool(child.contains(network)) for close, network in zip(is_close, networks, strict=True)]
            )
        parameter = change.parameter
        if parameter in ("width", *GROUPS) and not isinstance(change, FixedText):
            return self._members_by_draws(change)
        if isinstance(change, Order):
            if named_axes(self.space.axes)[parameter].labels:
                texts = self.texts(parameter)
                return np.asarray((texts == texts[:, :1]).all(axis=1))
            return _in_order(self.of_stages(parameter), change.order)
        if isinstance(change, StageRange):
            return np.asarray(change.allows_value(self.of_stages(parameter)[:, change.stage - 1]))
        if isinstance(change, FixedText):
            return np.asarray((self.texts(parameter) == change.text).all(axis=1))
        if self.is_per_stage(parameter):
            return np.asarray(_within(self.of_stages(parameter), change).all(axis=1))
        return _within(self.of_network(parameter), change)

    def _members_by_draws(self, change: Order | StageRange | Narrowing) -> NDArray[np.bool_]:
        """Return the networks of which a draw meets a change of widths or groups and the orders of the space."""
        orders = [c for c in self.space.constraints if isinstance(c, Order) and c.parameter in ("width", *GROUPS)]
        if isinstance(change, Order):
            orders = [order for order in orders if order.parameter != change.parameter] + [change]
        elif not isinstance(self.space.axes, AnyNetAxes):
            orders = [Order(change.parameter, "shared")]
        return np.array([_some_draw_meets(draws, change, orders) for draws in self.draws], np.bool_)


@functools.lru_cache(maxsize=10_000)
def _distance(depths: tuple[int, ...], widths: tuple[int, ...]) -> float:
    """Return the distance of a network to a line, which takes about 10 ms, once for several refinements of a run."""
    return distance_to_line(depths, widths)


def _some_draw_meets(
    draws: list[list[StageSettings]], change: Order | StageRange | Narrowing, orders: list[Order]
) -> bool:
    """Return whether some draw of a network meets a change and orders."""
    if not isinstance(change, Order):
        stages = range(len(draws)) if isinstance(change, Narrowing) else [change.stage - 1]
        draws = list(draws)
        for i in stages:
            draws[i] = [draw for draw in draws[i] if change.low <= draw.value(change.parameter) <= change.high]
            if not draws[i]:
                return False
    return not orders or can_meet(orders, draws)


def _within(values: NDArray[np.float64], change: Narrowing) -> NDArray[np.bool_]:
    """Return which values are in a range."""
    return np.asarray((values >= change.low) & (values <= change.high))


def _in_order(values: NDArray[np.float64], order: str) -> NDArray[np.bool_]:
    """Return which rows are in an order."""
    if order == "shared":
        return np.asarray((values == values[:, :1]).all(axis=1))
    steps = np.diff(values, axis=1)
    return np.asarray((steps >= 0 if order == "non_decreasing" else steps <= 0).all(axis=1))
