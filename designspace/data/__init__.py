"""Images in: data sets by name, read whole and checked, and augmentation on the device."""

from designspace.data.catalog import DataShape, load, names, prepare, shape
from designspace.data.images import ImageData
from designspace.support.folders import default_root

__all__ = ["DataShape", "ImageData", "default_root", "load", "names", "prepare", "shape"]
