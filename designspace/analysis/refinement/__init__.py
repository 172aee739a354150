"""Refinement of a space from the results of its population: proposed constraints, each with its evidence.

The steps: `population` (the networks that count, in strata of equal complexity), `candidates` (from the space and the
parameters alone, never from errors), `step_down` (which of them the errors support), `evidence` (effect, price and
size), `judging` and `proposals` (what is proposed, and what is open), `findings` (sentences, table and figure).
"""

from designspace.analysis.refinement.judging import Settings
from designspace.analysis.refinement.proposals import Refinement, refine

__all__ = ["Refinement", "Settings", "refine"]
