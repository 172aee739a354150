"""Statistics, figures and a report from the results of runs, without torch.

`analyze` does all of it. The steps: `results` and `reading` (the outcome of each trial), a module for each question
(`edf`, `comparison`, `best_values`, `lines` ...), `figures` (drawing), `overview` and `papers` (figures with their
numbers), `tables` (text for a terminal) and `report`.
"""

from designspace.analysis.comparison import Comparison, compare, compare_all
from designspace.analysis.edf import EDF
from designspace.analysis.paired import Paired, compare_paired
from designspace.analysis.plotting import plot_edf
from designspace.analysis.results import Counts, Results, read_table
from designspace.analysis.study import Analysis, analyze

__all__ = [
    "EDF",
    "Analysis",
    "Comparison",
    "Counts",
    "Paired",
    "Results",
    "analyze",
    "compare",
    "compare_all",
    "compare_paired",
    "plot_edf",
    "read_table",
]
