"""Data sets by name, fetched, packed from folders or your own, and their augmentation on the training device."""

from designspace.data.catalog import (
    DataCounts,
    DataFacts,
    DataShape,
    counts,
    facts,
    fetched_names,
    how_to_prepare,
    is_in_memory,
    is_prepared,
    load,
    names,
    own_data,
    prepare,
    shape,
)
from designspace.data.images import ImageData
from designspace.data.own import image_data
from designspace.support.folders import default_root

__all__ = [
    "DataCounts",
    "DataFacts",
    "DataShape",
    "ImageData",
    "counts",
    "default_root",
    "facts",
    "fetched_names",
    "how_to_prepare",
    "image_data",
    "is_in_memory",
    "is_prepared",
    "load",
    "names",
    "own_data",
    "prepare",
    "shape",
]
