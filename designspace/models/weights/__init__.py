"""Published weights by name, from each source: fetched, checked, read and brought into the form of our module.

>>> [file.which for file in available("resnest50")]
['resnest:official', 'timm:in1k', 'gluon:official']
"""

from designspace.models.weights.adapt import adapt_ends
from designspace.models.weights.files import read_state_dict
from designspace.models.weights.keys import SOURCES, convert
from designspace.models.weights.loading import Weights, load
from designspace.models.weights.published import WeightFile, available, find

__all__ = [
    "SOURCES",
    "WeightFile",
    "Weights",
    "adapt_ends",
    "available",
    "convert",
    "find",
    "load",
    "read_state_dict",
]
