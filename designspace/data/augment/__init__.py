"""Augmentation of whole batches, on the device that holds them: `Augmentation.of` a recipe says it all.

`geometry` moves pixels, `colour` changes their values, `policies` chooses among such operations, `mixing` mixes images,
and `pipeline` puts together what a recipe asks for.
"""

from designspace.data.augment.colour import normalise
from designspace.data.augment.pipeline import Augmentation

__all__ = ["Augmentation", "normalise"]
