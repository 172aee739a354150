"""Quantities: numbers that networks have, with their units, their directions and where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from designspace.support.text import prefixed

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
    machine: str = ""
    """Name of the machine that measured it, since values of different machines are not comparable; empty if it is not
    known or does not matter."""
    reference_ms: float = field(default=math.nan, compare=False)
    """Time of the reference network on that machine while these networks were measured; NaN if it is not known."""

    @property
    def axis_label(self) -> str:
        """Label and unit of an axis.

        >>> COUNTED["weight_bytes"].axis_label
        'weights in float32 (B)'
        """
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def noun(self) -> str:
        """The quantity in a sentence, such as "networks of equal peak memory".

        >>> COUNTED["weight_bytes"].noun, Quantity("train_s", "training time", "s", "measured").noun
        ('weight bytes', 'training time')
        """
        return self.label.partition(", ")[0] if self.source == "measured" else self.name.replace("_", " ")

    @property
    def setting(self) -> str:
        """How it was measured, as text; empty if there is nothing to say.

        >>> Quantity("latency_cpu_t2_b1", "latency, cpu, 2 threads, batch 1", "ms", "measured").setting
        'cpu, 2 threads, batch 1'
        """
        return self.label.partition(", ")[2] if self.source == "measured" else ""

    def text(self, value: float) -> str:
        """Return a value with its unit and three digits.

        >>> flops, latency = COUNTED["flops"], Quantity("latency", "latency", "ms", "measured")
        >>> flops.text(1.2e6), COUNTED["weight_bytes"].text(320_000), COUNTED["weight_bytes"].text(812)
        ('1.20 M', '320 kB', '812 B')
        >>> latency.text(2.134), latency.text(1500)
        ('2.13 ms', '1500 ms')
        """
        if self.unit and self.unit != "B":
            return f"{value:.0f} {self.unit}" if abs(value) >= 1000 else f"{value:.3g} {self.unit}"
        number = prefixed(value)
        return f"{number}{'' if number[-1].isalpha() else ' '}{self.unit}" if self.unit else number

    def range_text(self, low: float, high: float) -> str:
        """Return two values with their unit, or one if both have the same text.

        >>> COUNTED["flops"].range_text(8e5, 1.2e6), COUNTED["flops"].range_text(8e5, 8e5)
        ('800 k to 1.20 M', '800 k')
        """
        first, last = self.text(low), self.text(high)
        return first if first == last else f"{first} to {last}"


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
        _counted("int8_memory", "peak memory of maps in int8, with norms folded and activations in place", "B"),
        _counted("training_memory", "peak memory of maps in training in float32", "B"),
    )
}
"""Quantities in closed form, for one image: sums over layers (`designspace.networks.complexity`) and the most bytes of
maps alive at once (`designspace.networks.memory`). `designspace.networks.counting.count` counts any of them."""
