"""Words in Hydra's syntax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designspace.support.errors import InputError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def parse_override(word: str) -> Override:
    """Return what Hydra reads from ``key=value``.

    Raises:
        InputError: the word is not in Hydra's syntax.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise unreadable(word) from error


def unreadable(word: str, hint: str = "") -> InputError:
    """Return the error for a word whose value cannot be used."""
    key = word.partition("=")[0]
    return InputError(f"cannot read {word}; {key} takes a number, a word, or a list as [a,b]: see --help{hint}")
