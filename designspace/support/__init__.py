"""Helpers shared by all packages: error types, checks of values, reading and atomic writing of files."""
