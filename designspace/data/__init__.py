"""Data sets by name, fetched or packed from folders, and their augmentation on the training device."""

from designspace.data.catalog import (
    DataCounts,
    DataFacts,
    DataShape,
    counts,
    facts,
    fetched_names,
    how_to_prepare,
    is_prepared,
    load,
    names,
    prepare,
    shape,
)
from designspace.data.images import ImageData
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
    "is_prepared",
    "load",
    "names",
    "prepare",
    "shape",
]
