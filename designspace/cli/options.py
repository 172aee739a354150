"""The values of a command's keys: a frozen dataclass per command, filled from its configuration and checked once.

The type of a field says what its key takes: a number, text, a path, a list of these, true or false, null. A check of
its own, such as a range, stands in ``Annotated`` as a function of key and value, which returns the value or raises.
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
from designspace.trials.data_note import DataNote

Filled = TypeVar("Filled")

Check = Callable[[str, Any], Any]
Fields = Mapping[str, Any]
"""The fields of a class below the commands, which checks them itself."""


def whole_number(low: int, high: int | None = None) -> Check:
    """Return a check of whole numbers, for ``Annotated``."""
    return partial(whole, low=low, high=high)


def one_of(kind: str, allowed: Iterable[str]) -> Check:
    """Return a check of names, for ``Annotated``; ``kind`` is what the message calls them."""
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
            InputError: no data set is named.
        """
        if self.name is None:
            raise InputError("data=... must be given: the name of a data set, as data=cifar10 or data=pets")
        return self.name

    def note(self, name: str) -> DataNote:
        """Return the note for a run folder of the data set ``name``."""
        return DataNote(name, None if self.root is None else str(self.root.resolve()))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Values of a command's keys, and which of them were typed; a base class."""

    command: str
    line: CommandLine

    def is_typed(self, *keys: str) -> bool:
        """Whether a value was typed for any of these keys."""
        return any(composition.is_typed(key, self.line.words) for key in keys)

    def chosen(self, group: str) -> str:
        """Return what is chosen from a group: the choice that was typed, or the default."""
        return composition.chosen(self.command, group, self.line.typed)

    def as_chosen(self, group: str) -> Fields:
        """Return the values of what is chosen from a group, without those that were typed one by one."""
        line = replace(self.line, words=(f"{group}={self.chosen(group)}",))
        values: Fields = composition.defaults(self.command, line.typed)[group]
        return values

    def provenance(self) -> dict[str, str]:
        """Return what a later reader needs to know of this run of the command."""
        return provenance(self.command, self.line.typed)


def fill(
    kind: type[Filled],
    values: Mapping[str, Any],
    prefix: str = "",
    names: Mapping[str, Any] | None = None,
    **others: Any,
) -> Filled:
    """Return a dataclass with the values of a configuration.

    Args:
        kind: the dataclass. Its field ``from_`` has the key ``from``.
        values: key -> value; keys without a field are ignored.
        prefix: what full keys begin with, as ``data.``.
        names: what names in its types mean, beside those of its module: a profiler that runs a module as ``__main__``
            leaves another module under this name.
        **others: fields that are not in the configuration.

    Raises:
        InputError: a value is not of the type of its field.
    """
    hints = get_type_hints(kind, localns=None if names is None else dict(names), include_extras=True)
    for name in [field.name for field in fields(kind) if field.name not in others]:  # type: ignore[arg-type]
        key = name.rstrip("_")
        others[name] = _checked(f"{prefix}{key}", hints[name], values.get(key))
    return kind(**others)


def _checked(key: str, hint: Any, value: Any) -> Any:
    """Return the value of a key as a type has it.

    Raises:
        InputError: it is not of this type.
    """
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return arguments[1](key, value)
    if NoneType in arguments:  # a union, of which the first type has the check
        is_switch = isinstance(value, bool) and bool in arguments
        return value if value is None or is_switch else _checked(key, arguments[0], value)
    if get_origin(hint) is tuple:
        return tuple(_checked(key, arguments[0], item) for item in (value if isinstance(value, list) else [value]))
    if hint is Path:
        return Path(os.path.expanduser(text(key, value, MAX_BYTES)))  # noqa: PTH111  (pathlib reads ./~ as ~)
    if is_dataclass(hint):
        return fill(hint, {**value, "fields": value}, f"{key}.")  # type: ignore[arg-type]
    checks: dict[Any, Check] = {bool: flag, int: whole, float: number}
    return value if hint == Fields else checks.get(hint, partial(text, most=MAX_BYTES))(key, value)
