"""The two kinds of failure that a person can do something about; anything else is a bug and keeps its traceback."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """What was asked for is not possible: a wrong name, value or combination. Commands exit with code 2."""


class RunError(RuntimeError):
    """What was asked for is fine, but the world did not play along: a corrupt file, a full disk. Exit code 1."""


def unknown(kind: str, given: object, allowed: Iterable[object]) -> InputError:
    """The error for a name that does not exist: it says what was given and lists what exists.

    >>> str(unknown("space", "AnyNetXF", ["AnyNetXA", "RegNetX"]))
    "unknown space 'AnyNetXF'; there is: AnyNetXA, RegNetX"
    """
    return InputError(f"unknown {kind} {given!r}; there is: {', '.join(str(name) for name in allowed)}")
