"""Networks as torch modules: `AnyNet` builds every `designspace.networks.network.Network`.

Each published network is a function of this module: ``from designspace.models import resnest50``.
The modules use plain torch; `fuse` makes one fast on CPUs.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from designspace.models.anynet import AnyNet
from designspace.models.cpu import fuse, unfuse
from designspace.models.features import Backbone
from designspace.models.zoo import create_model, entry_point, list_models

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., Any]:
        """Declare the functions below for type checkers."""


__all__ = ["AnyNet", "Backbone", "create_model", "fuse", "list_models", "unfuse", *list_models()]

globals().update({name: entry_point(name) for name in list_models()})
