"""What a claim about two populations rests on: conditions that are checked, and values that say how they came out.

Each condition is a function in a file of its own. What can be mended is mended and said; what cannot lowers the claim.
"""

from designspace.analysis.preconditions.budget import same_budget
from designspace.analysis.preconditions.failures import left_out_at_random, possible_results
from designspace.analysis.preconditions.finished import finished_at_random, may_conclude, random_part
from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.preconditions.repeats import by_network
from designspace.analysis.preconditions.shared_networks import independent, shared_networks
from designspace.analysis.preconditions.training import same_training

__all__ = [
    "Precondition",
    "by_network",
    "finished_at_random",
    "independent",
    "left_out_at_random",
    "may_conclude",
    "possible_results",
    "random_part",
    "same_budget",
    "same_training",
    "shared_networks",
]
