"""The figures of the two papers, each as a function that takes results and returns a `Drawing`.

`designing` has the figures of "Designing Network Design Spaces" (arXiv 2003.13678), `nds` those of "On Network Design
Spaces for Visual Recognition" (arXiv 1905.13214). Figures 1, 3 and 4 of the first paper and figure 1 of the second are
schematic and left out.
"""
