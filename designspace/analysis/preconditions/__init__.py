"""Conditions of a claim about two populations: functions that check them, and their results as values.

Each condition is a function in its own module. If a violation can be corrected for, it is, and the reader is told;
otherwise it weakens the claim.
"""

from designspace.analysis.preconditions.budget import same_budget
from designspace.analysis.preconditions.drawn import drawn_at_random
from designspace.analysis.preconditions.failures import left_out_at_random, possible_results
from designspace.analysis.preconditions.finished import finished_at_random, may_conclude, random_subset
from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.preconditions.repeats import by_network
from designspace.analysis.preconditions.shared_networks import independent, shared_networks
from designspace.analysis.preconditions.training import same_training

__all__ = [
    "Precondition",
    "by_network",
    "drawn_at_random",
    "finished_at_random",
    "independent",
    "left_out_at_random",
    "may_conclude",
    "possible_results",
    "random_subset",
    "same_budget",
    "same_training",
    "shared_networks",
]
