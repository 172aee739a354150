"""Quantities: numbers that networks have, with their units, their directions and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["parameter", "setting", "counted", "measured", "scored"]
"""Where a quantity comes from: a parameter of the network, a setting of the recipe, counted in closed form from the
network's layers, measured on a machine, or a score of the trained network."""
Direction = Literal["lower", "higher"]
"""Which values are better."""
Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that every network of a population has, and how it is displayed."""

    name: str
    """Name by which it is requested, and that of its column: ``flops``, ``d``, ``w4``."""
    label: str
    """Label of an axis, without the unit."""
    unit: str = ""
    """Unit of the values, such as ``B`` or ``ms``; empty for plain numbers."""
    source: Source = "parameter"
    direction: Direction | None = None
    """Which values are better; None if neither is, as for a width."""
    scale: Scale = "linear"
    """Scale of an axis if all values are above 0."""
    whole: bool = False
    """Whether values are whole numbers."""

    @property
    def axis_label(self) -> str:
        """Label and unit of an axis.

        >>> COUNTED["weight_bytes"].axis_label
        'weights in float32 (B)'
        """
        return f"{self.label} ({self.unit})" if self.unit else self.label


def _counted(name: str, label: str, unit: str = "") -> Quantity:
    """Return a quantity that is counted in closed form, of which less is better."""
    return Quantity(name, label, unit, "counted", "lower", "log", whole=True)


COUNTED = {
    quantity.name: quantity
    for quantity in (
        _counted("flops", "multiply-adds"),
        _counted("params", "parameters"),
        _counted("activations", "activations"),
        _counted("weight_bytes", "weights in float32", "B"),
        _counted("peak_memory", "peak memory of maps in float32", "B"),
        _counted("training_memory", "peak memory of maps in training in float32", "B"),
    )
}
"""Quantities in closed form, for one image: sums over layers (`designspace.networks.complexity`) and the most bytes of
maps alive at once (`designspace.networks.memory`). `designspace.networks.counting.count` counts any of them."""
