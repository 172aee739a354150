"""Images in: data sets by name, read whole and checked, and augmentation on the device."""

from designspace.data.catalog import DataFacts, DataShape, facts, load, names, prepare, shape
from designspace.data.images import ImageData
from designspace.support.folders import default_root

__all__ = ["DataFacts", "DataShape", "ImageData", "default_root", "facts", "load", "names", "prepare", "shape"]
