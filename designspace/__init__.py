"""Explore network design spaces: sample populations of convolutional networks, train them, compare them.

The library in a few names; each is imported when it is first used, so that sampling never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from designspace.analysis import plot_edf
    from designspace.data import load as load_data
    from designspace.models import AnyNet
    from designspace.networks.complexity import complexity
    from designspace.networks.network import Network
    from designspace.spaces.catalog import space
    from designspace.spaces.population import Population
    from designspace.training import load
    from designspace.training import train as train_network
    from designspace.trials.trial import Recipe

__all__ = [
    "AnyNet",
    "Network",
    "Population",
    "Recipe",
    "complexity",
    "load",
    "load_data",
    "plot_edf",
    "space",
    "train_network",
]

_HOMES = {
    "AnyNet": ("designspace.models", "AnyNet"),
    "Network": ("designspace.networks.network", "Network"),
    "Population": ("designspace.spaces.population", "Population"),
    "Recipe": ("designspace.trials.trial", "Recipe"),
    "complexity": ("designspace.networks.complexity", "complexity"),
    "load": ("designspace.training", "load"),
    "load_data": ("designspace.data", "load"),
    "plot_edf": ("designspace.analysis", "plot_edf"),
    "space": ("designspace.spaces.catalog", "space"),
    "train_network": ("designspace.training", "train"),
}
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'designspace' has no attribute {name!r}; there is: {', '.join(sorted(_HOMES))}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
