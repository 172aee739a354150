"""Published weights by name: fetched from their source, checked, and converted to the state dict of our module.

>>> [file.qualified_tag for file in available("resnest50")]
['resnest:official', 'timm:in1k', 'gluon:official']
"""

from designspace.models.weights.adapt import adapt_weights
from designspace.models.weights.files import read_state_dict
from designspace.models.weights.keys import SOURCES, convert
from designspace.models.weights.layouts import from_layout, load_layout, supported_layouts, to_layout
from designspace.models.weights.loading import Weights, load_weights
from designspace.models.weights.published import WeightFile, available, default_preset, find_weights

__all__ = [
    "SOURCES",
    "WeightFile",
    "Weights",
    "adapt_weights",
    "available",
    "convert",
    "default_preset",
    "find_weights",
    "from_layout",
    "load_layout",
    "load_weights",
    "read_state_dict",
    "supported_layouts",
    "to_layout",
]
