"""Axes, constraints, design spaces, lists of networks, and their populations, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designspace.support.lazy import lazy_names

if TYPE_CHECKING:
    from designspace.spaces.axes import Axis, choice, log_uniform, powers_of_two, uniform
    from designspace.spaces.constraints import Band, Cap, Order, StageRange
    from designspace.spaces.description import space_from_dict
    from designspace.spaces.network_list import NetworkList
    from designspace.spaces.parameters import AnyNetAxes, RegNetAxes
    from designspace.spaces.population import Population
    from designspace.spaces.population_files import read_population
    from designspace.spaces.space import DesignSpace
    from designspace.spaces.template import Template

__all__ = [
    "AnyNetAxes",
    "Axis",
    "Band",
    "Cap",
    "DesignSpace",
    "NetworkList",
    "Order",
    "Population",
    "RegNetAxes",
    "StageRange",
    "Template",
    "choice",
    "log_uniform",
    "powers_of_two",
    "read_population",
    "space_from_dict",
    "uniform",
]

_HOMES = {
    "AnyNetAxes": "designspace.spaces.parameters",
    "Axis": "designspace.spaces.axes",
    "Band": "designspace.spaces.constraints",
    "Cap": "designspace.spaces.constraints",
    "DesignSpace": "designspace.spaces.space",
    "NetworkList": "designspace.spaces.network_list",
    "Order": "designspace.spaces.constraints",
    "Population": "designspace.spaces.population",
    "RegNetAxes": "designspace.spaces.parameters",
    "StageRange": "designspace.spaces.constraints",
    "Template": "designspace.spaces.template",
    "choice": "designspace.spaces.axes",
    "log_uniform": "designspace.spaces.axes",
    "powers_of_two": "designspace.spaces.axes",
    "read_population": "designspace.spaces.population_files",
    "space_from_dict": "designspace.spaces.description",
    "uniform": "designspace.spaces.axes",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES, ["catalog"])
