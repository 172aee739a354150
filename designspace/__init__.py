"""Explore network design spaces: sample populations of convolutional networks, train them, compare them.

>>> import designspace as ds
>>> space = ds.space("RegNetX", stem="cifar", resolution=32, num_classes=10, flops=[20e6, 25e6])
>>> population = space.sample(n=3)
>>> population[0]
Network(45c2b0d1a018: cifar stem of 32, d=[1, 2, 4, 6], w=[64, 112, 200, 344], b=1, g=4, 10 classes)

- `space`, `DesignSpace`, `Population`, `Network`, `complexity`: design spaces, their networks and the cost of these
- `AnyNet`, `create_model`, `list_models`: networks as torch modules, and published models
- `Recipe`, `load_data`, `train_network`, `load`: training of networks, and loading of trained ones
- `Results`, `compare`, `plot_edf`, `edf`: results of runs, and comparison of design spaces

Names are imported on first use, so sampling never loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from designspace.support.lazy import lazy_names

if TYPE_CHECKING:
    from designspace.analysis import Results, compare, edf, plot_edf
    from designspace.data import load as load_data
    from designspace.library import load
    from designspace.models import AnyNet, create_model, list_models
    from designspace.networks.complexity import complexity
    from designspace.networks.network import Network
    from designspace.spaces.catalog import space
    from designspace.spaces.population import Population
    from designspace.spaces.space import DesignSpace
    from designspace.training import train_model, train_network
    from designspace.trials.recipe import Recipe

__all__ = [
    "AnyNet",
    "DesignSpace",
    "Network",
    "Population",
    "Recipe",
    "Results",
    "compare",
    "complexity",
    "create_model",
    "edf",
    "list_models",
    "load",
    "load_data",
    "plot_edf",
    "space",
    "train_model",
    "train_network",
]
__version__ = "0.1.0"

_LAZY_NAMES = {
    "AnyNet": "designspace.models",
    "DesignSpace": "designspace.spaces.space",
    "Network": "designspace.networks.network",
    "Population": "designspace.spaces.population",
    "Recipe": "designspace.trials.recipe",
    "Results": "designspace.analysis",
    "compare": "designspace.analysis",
    "complexity": "designspace.networks.complexity",
    "create_model": "designspace.models",
    "edf": "designspace.analysis.edf",
    "list_models": "designspace.models",
    "load": "designspace.library",
    "load_data": "designspace.data:load",
    "plot_edf": "designspace.analysis",
    "space": "designspace.spaces.catalog",
    "train_model": "designspace.training",
    "train_network": "designspace.training",
}
_PACKAGES = ("analysis", "data", "library", "models", "networks", "spaces", "training", "trials")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _LAZY_NAMES, _PACKAGES)
