"""Results from sweeps of other programs: pycls's ``sweep.json``, and the data of "On Network Design Spaces".

Both are JSON; only numbers and texts are read, and nothing in a file is executed. The format is detected from the
content. `pycls` and `nds` describe the two formats.

Every job is a row: pycls's own analysis drops jobs without epochs, which flatters a space whose networks crash.
``final_error`` is the error of the last epoch; the figures of pycls and of the paper show the least over the epochs,
which is ``best_error`` here. Errors of averaged weights have the columns ``final_error_ema`` and ``best_error_ema`` and
their own histories. Both programs count multiply-adds and weights as this project does, so these stay unchanged.
"""

from designspace.analysis.peers.files import read

__all__ = ["read"]
