"""Augmentation of whole batches, on the device that holds them. Use `Augmentation.of` with a recipe.

`geometry` moves pixels, `colour` changes their values, `policies` chooses among such operations, `mixing` mixes images,
`transforms` wraps them as values, and `pipeline` chains the transforms of a recipe.
"""

from designspace.data.augment.colour import normalise
from designspace.data.augment.pipeline import Augmentation

__all__ = ["Augmentation", "normalise"]
