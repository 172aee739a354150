"""Random words: one stream for each column, so that a draw depends on the seed and its number alone."""

from __future__ import annotations

import zlib

import numpy as np

from designspace.spaces.axes import Words
from designspace.support.checks import whole


class Streams:
    """Independent streams of 64-bit words, one for each column name.

    The i-th word of a stream follows from seed, name and i, whatever the sizes of the pieces in which it is read and
    whichever other streams are read. The words are PCG64's raw output, which numpy keeps the same between versions
    and machines (unlike the numbers that its distributions make of them).

    Raises:
        InputError: the seed is not a whole number >= 0.
    """

    def __init__(self, seed: int) -> None:
        self._seed = whole("seed", seed, 0)
        self._generators: dict[str, np.random.PCG64] = {}

    def next(self, name: str, count: int) -> Words:
        """The next ``count`` words of the stream of that name. Shape (count,)."""
        if name not in self._generators:
            key = zlib.crc32(name.encode())
            self._generators[name] = np.random.PCG64(np.random.SeedSequence([self._seed, key]))
        words: Words = self._generators[name].random_raw(count)
        return words
