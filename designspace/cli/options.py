"""Options of commands: one frozen dataclass per command, filled from its configuration and validated once.

The type of a field determines the values of its key: numbers, text, paths, lists of these, booleans, null. Further
checks, such as a range, are in ``Annotated``: a function of key and value that returns the value or raises an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from designspace.cli import composition
from designspace.cli.command_line import CommandLine
from designspace.cli.config_files import MAX_BYTES
from designspace.cli.provenance import provenance
from designspace.support.checks import flag, number, text, whole, whole_or_null
from designspace.support.errors import InputError, unknown

Filled = TypeVar("Filled")

Check = Callable[[str, Any], Any]
Fields = Mapping[str, Any]
"""Fields of a class in another package, which validates them itself."""


def whole_number(low: int, high: int | None = None) -> Check:
    """Return a check for whole numbers, for use in ``Annotated``."""
    return partial(whole, low=low, high=high)


def one_of(kind: str, allowed: Iterable[str]) -> Check:
    """Return a check for names, for use in ``Annotated``; ``kind`` names them in messages."""
    names = tuple(allowed)

    def check(key: str, value: Any) -> str:
        if value not in names:
            raise unknown(kind, value, names)
        return str(value)

    return check


Seed = Annotated[int, whole_number(0)]
Count = Annotated[int, whole_number(1)]
OptionalCount = Annotated[int | None, partial(whole_or_null, low=1)]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Keys of the files in configs/data."""

    name: str | None
    root: Path | None
    """The folder of all data sets."""

    @property
    def known_name(self) -> str:
        """Name of the data set.

        Raises:
            InputError: no data set was given.
        """
        if self.name is None:
            raise InputError("data=... must be given: the name of a data set, such as data=cifar10 or data=pets")
        return self.name


@dataclass(frozen=True, kw_only=True)
class StopOptions:
    """Keys of configs/base/stop.yaml, which describes them.

    `designspace.cli.looks.rule_of` and `designspace.cli.early_stops.fidelity_of` make rules of them.
    """

    looks: Annotated[int, whole_number(1, 1000)]
    effect: float
    hopeless: float
    epochs: OptionalCount
    keep: float
    sample: float


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of the options of a command, which knows the options that were given explicitly."""

    command: str
    line: CommandLine

    def is_given(self, *keys: str) -> bool:
        """Return whether any of these keys was given on the command line."""
        return any(composition.is_given(key, self.line.arguments) for key in keys)

    def chosen(self, group: str) -> str:
        """Return the choice from a group, which was given on the command line or is the default."""
        return composition.chosen(self.command, group, self.line.all_arguments)

    def choice_values(self, group: str) -> Fields:
        """Return the values of the choice from a group without single values given on the command line."""
        line = replace(self.line, arguments=(f"{group}={self.chosen(group)}",))
        values: Fields = composition.defaults(self.command, line.all_arguments)[group]
        return values

    def provenance(self) -> dict[str, str]:
        """Return the provenance of the results of this command."""
        return provenance(self.command, self.line.all_arguments)


def fill(
    kind: type[Filled],
    values: Mapping[str, Any],
    prefix: str = "",
    names: Mapping[str, Any] | None = None,
    **others: Any,
) -> Filled:
    """Create a dataclass from the values of a configuration.

    Args:
        kind: the dataclass. The key of a field ``from_`` is ``from``.
        values: key -> value; keys without a field are ignored.
        prefix: prefix of full keys, such as ``data.``.
        names: additional names for evaluating type hints; needed with profilers, which run a module as ``__main__`` but
            leave another module under this name.
        **others: fields that are not in the configuration.

    Raises:
        InputError: a value does not have the type of its field.
    """
    hints = get_type_hints(kind, localns=None if names is None else dict(names), include_extras=True)
    for name in [field.name for field in fields(kind) if field.name not in others]:  # type: ignore[arg-type]
        key = name.rstrip("_")
        others[name] = _convert(f"{prefix}{key}", hints[name], values.get(key))
    return kind(**others)


def _convert(key: str, hint: Any, value: Any) -> Any:
    """Return the value of a key, converted to its type.

    Raises:
        InputError: the value does not have this type.
    """
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return arguments[1](key, value)
    if NoneType in arguments:  # a union, whose first type has the check
        is_switch = isinstance(value, bool) and bool in arguments
        return value if value is None or is_switch else _convert(key, arguments[0], value)
    if get_origin(hint) is tuple:
        return tuple(_convert(key, arguments[0], item) for item in (value if isinstance(value, list) else [value]))
    if hint is Path:
        return Path(os.path.expanduser(text(key, value, MAX_BYTES)))  # noqa: PTH111  (pathlib reads ./~ as ~)
    if is_dataclass(hint):
        return fill(hint, {**value, "fields": value}, f"{key}.")  # type: ignore[arg-type]
    checks: dict[Any, Check] = {bool: flag, int: whole, float: number}
    return value if hint == Fields else checks.get(hint, partial(text, most=MAX_BYTES))(key, value)
