"""Results to numbers, figures and a report; no torch.

`analyze` does all of it. The steps are in the modules: `results` (what finished), `edf`, `compare` (tests), `figures`,
`tables` (text for a terminal) and `report`.
"""

from designspace.analysis.compare import Comparison, compare_all
from designspace.analysis.edf import EDF
from designspace.analysis.results import Counts, Results, read_table
from designspace.analysis.study import Analysis, analyze, plot_edf

__all__ = ["EDF", "Analysis", "Comparison", "Counts", "Results", "analyze", "compare_all", "plot_edf", "read_table"]
