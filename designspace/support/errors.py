"""The two kinds of errors that users can fix; any other exception is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """The input is invalid: a wrong name, value or combination. Commands exit with code 2."""


class RunError(RuntimeError):
    """The input is valid but cannot be processed: a corrupt file, a full disk. Commands exit with code 1."""


SHORT_LIST = 12
"""Maximum number of names that are listed in full even if one of them is close to the given name."""


def unknown(kind: str, given: object, allowed: Iterable[object]) -> InputError:
    """Return the error for an unknown name, with the closest known name and the list of known names.

    >>> str(unknown("space", "RegNetx", ["AnyNetXA", "RegNetX"]))
    "unknown space 'RegNetx'; did you mean RegNetX? choose from: AnyNetXA, RegNetX"
    >>> str(unknown("family", "cnn", ["anynet", "regnet"]))
    "unknown family 'cnn'; choose from: anynet, regnet"
    """
    return InputError(f"unknown {kind} {given!r}; {suggest(given, allowed)}")


def suggest(given: object, allowed: Iterable[object]) -> str:
    """Return a hint for an unknown name: the closest allowed name and the list, shortened if a name is close."""
    names = [str(name) for name in allowed]
    close = closest(str(given), names)
    if not close:
        return f"choose from: {', '.join(names)}"
    more = f" and {len(names) - len(close)} more"
    choices = ", ".join(names) if len(names) <= SHORT_LIST else ", ".join(close) + more
    return f"did you mean {close[0]}? choose from: {choices}"


def closest(given: str, names: Iterable[str]) -> list[str]:
    """Return up to three names that are similar to the given one, the most similar first.

    Case and separators are ignored. Dotted names are compared both in full and by their last part.

    >>> closest("batchsize", ["recipe.epochs", "recipe.batch_size"])
    ['recipe.batch_size']
    """
    text = _normalized(given)
    scores: dict[str, tuple[float, int]] = {}
    for name in names:
        compared = [difflib.SequenceMatcher(None, text, _normalized(part)) for part in (name, name.rpartition(".")[2])]
        scores[name] = max((match.ratio(), _common_prefix(match)) for match in compared)
    similar = [name for name, (similarity, _) in scores.items() if similarity >= _SIMILAR]
    return sorted(similar, key=lambda name: scores[name], reverse=True)[:3]


_SIMILAR = 0.7
"""Minimum similarity (difflib's ratio) of a suggested name."""


def _common_prefix(match: difflib.SequenceMatcher[str]) -> int:
    """Return the length of the common prefix of two texts."""
    first = match.get_matching_blocks()[0]
    return first.size if first.a == first.b == 0 else 0


def _normalized(name: str) -> str:
    """Return a name in lower case without hyphens, underscores and spaces, the most frequent typing errors."""
    return re.sub(r"[-_\s]", "", name).casefold()
