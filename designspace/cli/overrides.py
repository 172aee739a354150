"""Parsing of arguments in Hydra's override syntax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designspace.support.errors import InputError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def parse_override(argument: str) -> Override:
    """Parse ``key=value`` with Hydra.

    Raises:
        InputError: the argument is not in Hydra's syntax.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException as error:
        raise unreadable(argument) from error


def unreadable(argument: str, hint: str = "") -> InputError:
    """Return the error for an argument whose value cannot be used."""
    key = argument.partition("=")[0]
    return InputError(
        f"cannot read {argument}; {key} takes a number, a word, or a list such as [a,b]: see --help{hint}"
    )
