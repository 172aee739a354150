"""Images in: data sets by name, read whole and checked, and augmentation on the device."""

from designspace.data.catalog import DataShape, default_root, load, names, prepare, shape
from designspace.data.images import ImageData

__all__ = ["DataShape", "ImageData", "default_root", "load", "names", "prepare", "shape"]
