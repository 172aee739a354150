"""Our networks in other frameworks: one file for each, which imports its framework when it is imported itself.

None of them is imported by the rest of the package.
"""
