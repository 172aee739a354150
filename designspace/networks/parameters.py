"""Own parameters of blocks, stems and heads: their names, defaults and allowed values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from designspace.support.checks import at_most, number, plain, text, whole
from designspace.support.errors import InputError, unknown
from designspace.support.text import shown

Value = int | float | str
"""Value of a block's own parameter."""
Pairs = tuple[tuple[str, Value], ...]
"""Names and values of own parameters, in the order of the names."""

_TEXT = re.compile(r"[\w.+-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a kind of block, stem or head beyond those that all have."""

    name: str
    default: Value | None
    """Value if none is given; None if one must be given."""
    choices: tuple[str, ...] = ()
    """The allowed texts; empty for a number or, in a custom kind, for any text."""
    low: float | None = None
    """The lowest number; None for no limit."""
    high: float = 1 << 20
    """The highest number."""
    is_odd: bool = False
    """Whether it is an odd number, such as the side of a kernel."""
    once: bool = False
    """Whether a network has it once, and not each stage."""

    def check(self, where: str, value: Value) -> Value:
        """Return a value after checking it.

        Raises:
            InputError: it has the wrong type or is out of range.
        """
        what = f"{where}: {self.name}" if where else self.name
        if isinstance(self.default, str):
            if text(what, value) not in self.choices and self.choices:
                raise unknown(self.name, value, self.choices)
            return value
        if self.default is None and isinstance(value, str):
            return value
        if isinstance(self.default, int):
            whole(what, value, None if self.low is None else int(self.low))
        else:
            number(what, value, self.low)
        at_most(what, float(value), self.high)
        if self.is_odd and not int(value) % 2:
            raise InputError(f"{what} must be odd, not {value}")
        return value


def check_pairs(where: str, pairs: object) -> Pairs:
    """Return own parameters after checking their form: pairs of a name and a number or text, in the order of names.

    Raises:
        InputError: they have another form.
    """
    listed = list(pairs) if isinstance(pairs, tuple | list) else None
    are_pairs = listed is not None and all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in listed)
    if not are_pairs or not all(isinstance(name, str) and name.isidentifier() for name, _ in listed or ()):
        raise InputError(f"{where}: parameters must be pairs of a name and a value, not {shown(pairs)}")
    values = {name: plain(value) for name, value in listed or ()}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise InputError(f"{where}: {name} must be a number or text, not {shown(value)}")
        if isinstance(value, float) and number(f"{where}: {name}", value).is_integer():
            values[name] = int(value)
        if isinstance(value, str) and not _TEXT.fullmatch(value):
            raise InputError(f"{where}: {name} must consist of letters, digits, _ . + and -, not {shown(value)}")
    if len(values) != len(listed or ()):
        raise InputError(f"{where}: a parameter occurs twice in {shown(pairs)}")
    return tuple(sorted(values.items()))
