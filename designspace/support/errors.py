"""The two kinds of failure that a person can do something about; anything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """What was asked for is not possible: a wrong name, value or combination. Commands exit with code 2."""


class RunError(RuntimeError):
    """What was asked for is fine, but the world did not play along: a corrupt file, a full disk. Exit code 1."""


SHORT_LIST = 8
"""Up to this many names, all are listed even where one is close to what was given."""


def unknown(kind: str, given: object, allowed: Iterable[object]) -> InputError:
    """Return the error for a name that does not exist, which asks for the closest name and lists what exists.

    >>> str(unknown("space", "RegNetx", ["AnyNetXA", "RegNetX"]))
    "unknown space 'RegNetx'; did you mean RegNetX? choose from: AnyNetXA, RegNetX"
    >>> str(unknown("family", "cnn", ["anynet", "regnet"]))
    "unknown family 'cnn'; choose from: anynet, regnet"
    """
    return InputError(f"unknown {kind} {given!r}; {suggest(given, allowed)}")


def suggest(given: object, allowed: Iterable[object]) -> str:
    """Return words on what exists in the place of a name that does not; a long list is cut where a name is close."""
    names = [str(name) for name in allowed]
    close = closest(str(given), names)
    if not close:
        return f"choose from: {', '.join(names)}"
    more = f" and {len(names) - len(close)} more"
    listed = ", ".join(names) if len(names) <= SHORT_LIST else ", ".join(close) + more
    return f"did you mean {close[0]}? choose from: {listed}"


def closest(given: str, names: Iterable[str]) -> list[str]:
    """Return up to three names that somebody may have meant, the most similar first.

    Case and separators do not count, and of dotted names the last part may stand for the whole.

    >>> closest("batchsize", ["recipe.epochs", "recipe.batch_size"])
    ['recipe.batch_size']
    """
    text = _plain(given)
    scores: dict[str, tuple[float, int]] = {}
    for name in names:
        compared = [difflib.SequenceMatcher(None, text, _plain(part)) for part in (name, name.rpartition(".")[2])]
        scores[name] = max((match.ratio(), _common_beginning(match)) for match in compared)
    similar = [name for name, (similarity, _) in scores.items() if similarity >= _SIMILAR]
    return sorted(similar, key=lambda name: scores[name], reverse=True)[:3]


_SIMILAR = 0.7
"""Least similarity (difflib's ratio) of a name that is proposed."""


def _common_beginning(match: difflib.SequenceMatcher[str]) -> int:
    """Return how many characters two texts begin with that are the same."""
    first = match.get_matching_blocks()[0]
    return first.size if first.a == first.b == 0 else 0


def _plain(name: str) -> str:
    """Return a name without what people mistype first: case, hyphens, underscores, spaces."""
    return re.sub(r"[-_\s]", "", name).casefold()
