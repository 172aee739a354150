"""The figures of the two papers, each a function of results that gives a `Drawing`.

`designing` has those of "Designing Network Design Spaces" (arXiv 2003.13678), `nds` those of "On Network Design Spaces
for Visual Recognition" (arXiv 1905.13214). The schematic figures 1, 3 and 4 of the first, and 1 of the second, show no
data.
"""
