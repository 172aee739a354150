"""Random words: one stream per column, so that a draw depends only on the seed and its index."""

from __future__ import annotations

import zlib

import numpy as np

from designspace.spaces.axes import Words
from designspace.support.checks import whole


class Streams:
    """Independent streams of 64-bit words, one per column name.

    The i-th word of a stream depends only on seed, name and i, not on the sizes of the pieces in which the stream is
    read or on which other streams are read. The words are PCG64's raw output, which NumPy keeps the same on all
    versions and machines (unlike the results of its distributions).

    Raises:
        InputError: the seed is not a whole number >= 0.
    """

    def __init__(self, seed: int) -> None:
        self._seed = whole("seed", seed, 0)
        self._generators: dict[str, np.random.PCG64] = {}

    def next(self, name: str, count: int) -> Words:
        """Return the next ``count`` words of the stream of a name. Shape (count,)."""
        if name not in self._generators:
            key = zlib.crc32(name.encode())
            self._generators[name] = np.random.PCG64(np.random.SeedSequence([self._seed, key]))
        words: Words = self._generators[name].random_raw(count)
        return words
