"""Tables of networks, one per row, as people and programs write them."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.networks import blocks, catalog, heads, stems
from designspace.networks.network import (
    BLOCKS,
    DOWNSAMPLINGS,
    HEADS,
    MAX_DEPTH,
    MAX_STAGES,
    MAX_WIDTH,
    SHORTCUTS,
    STEMS,
    Network,
    Stage,
    Stem,
)
from designspace.networks.parameters import Parameter, Value
from designspace.support.checks import number, whole
from designspace.support.csv_text import decimal_point, separator
from designspace.support.errors import InputError, unknown
from designspace.support.imported import is_import_name
from designspace.support.text import first_few, shown

NAME = "name"
"""Column with the names of published networks."""
_STAGE_COLUMN = re.compile(r"([dwsbg])([1-9]\d{0,2})")
_STAGE_FIELDS = {"d": "depth", "w": "width", "s": "stride", "b": "bottleneck_ratio", "g": "group_width"}
_KINDS: Mapping[str, Sequence[str]] = {
    "stem": STEMS,
    "block": BLOCKS,
    "shortcut": SHORTCUTS,
    "downsampling": DOWNSAMPLINGS,
    "head": HEADS,
}
"""Columns of a network with names, and the built-in ones; a stem, block or head may also be the user's."""
_IMPORTED = ("stem", "block", "head")
_NUMBERS = ("stem_width", "se_ratio", "radix", "head_width")
_OWN_COLUMN = re.compile(r"(.*?[^\d])([1-9]\d{0,2})?")
_MAX_LISTED = 12
"""Most allowed group widths that an error lists."""
_MAX_LISTED_WIDTH = 4096


def read_rows(path: Path, content: str) -> Iterator[tuple[int, Network]]:
    """Yield the line and the network of each row of a table.

    A row is either the ``name`` of a published network, or a network: depths ``d1, d2, ...`` and widths ``w1, w2, ...``
    of its stages, and optionally strides ``s1`` (2), bottleneck ratios ``b1`` (1), group widths ``g1`` (the inner
    width, so one group) and own parameters of the block (``kernel_size1``); for the whole network ``stem``,
    ``stem_width``, ``block``, ``se_ratio``, ``radix``, ``shortcut``, ``downsampling``, ``head``, ``head_width``, and
    own parameters that a network has once. A blank cell means the default in brackets or that of `Network`, or that
    there is no such stage.

    Raises:
        InputError: a column is unknown, or a row is not a network that can be built; nothing is repaired. The error
            names file, line and column, and what is allowed.
    """
    lines = content.splitlines()
    if not lines:
        raise InputError(f"{path} is empty; its first line must name the columns, such as name or d1,w1,d2,w2")
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator(lines[0]), strict=True)
    try:
        header = [cell.strip() for cell in next(reader)]
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from error
    _check_header(path, header, [row for _, row in rows])
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: {len(row)} fields, but line 1 names {len(header)} columns")
        cells = {name: cell for name, cell in zip(header, row, strict=True) if cell}
        yield line, _Row(f"{path}, line {line}", cells).network()


def _check_header(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Raise if a column occurs twice or is unknown; own parameters of the user's classes are checked row by row."""
    if repeated := next((name for name in header if header.count(name) > 1), None):
        raise InputError(f"{path}, line 1: the column {shown(repeated)} occurs twice")
    if NAME not in header and not {"d1", "w1"} <= set(header):
        missing = "d1" if "d1" not in header else "w1"
        raise InputError(
            f"{path}, line 1: the column {missing} is missing; a table has the column name, or d1 and w1 and those of "
            "further stages"
        )
    if any(is_import_name(cell) for row in rows for cell in row):
        return
    own = [parameter for kind in blocks.BLOCKS.values() for parameter in kind.parameters]
    known = {NAME, *_KINDS, *_NUMBERS, *(parameter.name for parameter in own)}
    for name in header:
        match = _OWN_COLUMN.fullmatch(name)
        if not _STAGE_COLUMN.fullmatch(name) and name not in known and (match is None or match[1] not in known):
            columns = [NAME, "d1", "w1", "s1", "b1", "g1", *_KINDS, *_NUMBERS]
            columns += dict.fromkeys(each.name if each.once else f"{each.name}1" for each in own)
            raise InputError(f"{path}, line 1: {unknown('column', name, columns)}")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table."""

    place: str
    """File and line."""
    cells: Mapping[str, str]
    """Column -> text, without blank cells."""

    def network(self) -> Network:
        """Return the network of the row."""
        if NAME in self.cells:
            if others := [column for column in self.cells if column != NAME]:
                raise self._error(
                    NAME,
                    f"{self.cells[NAME]} is a published network, but the row has {first_few(others, 3)} as well; leave "
                    "the name or the other cells blank",
                )
            published: Network = self._checked(NAME, catalog.get, self.cells[NAME])
            return published
        kinds: dict[str, Any] = {name: self._kind(name) for name in _KINDS if name in self.cells}
        stem_width = self._whole("stem_width", 1, MAX_WIDTH, 32)
        stem: Stem = self._checked("stem_width", Stem, kinds.pop("stem", "imagenet"), stem_width)
        block = kinds.get("block", "bottleneck")
        once = self._parameters_once(block, stem.kind, kinds.get("head", "linear"))
        stages = self._stages(block, {parameter.name for parameter in once})
        numbers: dict[str, Any] = {
            "se_ratio": self._number("se_ratio", 0, 0),
            "radix": self._whole("radix", 0, 64, 0),
            "head_width": self._whole("head_width", 0, MAX_WIDTH, 0),
        }
        self._check_groups(stages, numbers["radix"])
        own = tuple(self._own_parameters(once).items())
        try:
            return Network(stem, stages, **kinds, **numbers, parameters=own)
        except InputError as error:
            raise InputError(f"{self.place}: {error}") from error

    def _parameters_once(self, block: str, stem: str, head: str) -> list[Parameter]:
        """Return the own parameters that a network has once, by the names of their columns."""
        kind = self._checked("block", blocks.get, block)
        of_parts = [
            dataclasses.replace(parameter, name=f"{column}_{parameter.name}", once=True)
            for column, get, name in (("stem", stems.get, stem), ("head", heads.get, head))
            for parameter in self._checked(column, get, name).parameters
        ]
        return [*(parameter for parameter in kind.parameters if parameter.once), *of_parts]

    def _stages(self, block: str, once: Collection[str]) -> tuple[Stage, ...]:
        """Return the stages, which are numbered without a gap; ``once`` are the own parameters of the network."""
        of_stages = [parameter for parameter in blocks.get(block).parameters if not parameter.once]
        numbers = sorted({int(match[2]) for name in self.cells if (match := _STAGE_COLUMN.fullmatch(name))})
        if not numbers or numbers[-1] > MAX_STAGES:
            raise self._error("d1", f"a network needs 1 to {MAX_STAGES} stages, each with a depth and a width (d1, w1)")
        for name in self.cells:
            if name not in (*_KINDS, *_NUMBERS, *once) and not _STAGE_COLUMN.fullmatch(name):
                self._check_own_column(name, of_stages, block, len(numbers))
        stages: list[Stage] = []
        for i in range(1, numbers[-1] + 1):
            for letter in "dw":
                if f"{letter}{i}" not in self.cells:
                    later = f", but there is a stage {numbers[-1]}" if i not in numbers else ""
                    raise self._error(f"{letter}{i}", f"is blank{later}; stages are numbered from 1 without a gap")
            own = self._own_parameters(of_stages, i)
            depth, width = self._whole(f"d{i}", 1, MAX_DEPTH), self._whole(f"w{i}", 1, MAX_WIDTH)
            ratio = self._number(f"b{i}", 1 / 64, 1)
            stride = self._whole(f"s{i}", 1, 1024, 2)
            inner = self._checked(f"w{i}", Stage, depth, width, stride, ratio).inner_width
            groups = self._whole(f"g{i}", 1, MAX_WIDTH, inner)
            stages.append(self._checked(f"g{i}", Stage, depth, width, stride, ratio, groups, tuple(own.items())))
        return tuple(stages)

    def _check_groups(self, stages: Sequence[Stage], radix: int) -> None:
        """Raise if a group width divides no inner width, or a radix no group width."""
        for i, stage in enumerate(stages, start=1):
            inner = stage.inner_width
            multiple = radix or 1
            if inner % stage.group_width or stage.group_width % multiple:
                candidates = range(multiple, min(inner, _MAX_LISTED_WIDTH) + 1, multiple)
                allowed = [str(width) for width in candidates if inner % width == 0]
                more = f" and be a multiple of the radix {radix}" if radix else ""
                column = f"g{i}" if f"g{i}" in self.cells or not radix else "radix"
                choose = f"; choose from: {first_few(allowed, _MAX_LISTED)}" if allowed else ""
                raise self._error(
                    column,
                    f"the group width {stage.group_width} must divide the inner width {inner} (= w{i} / b{i})"
                    f"{more}{choose}",
                )

    def _check_own_column(self, name: str, of_stages: Sequence[Parameter], block: str, stages: int) -> None:
        """Raise unless a column is an own parameter of a stage that the network has."""
        match = _OWN_COLUMN.fullmatch(name)
        parameter = next((each for each in of_stages if match is not None and each.name == match[1]), None)
        if match is None or parameter is None:
            columns = ", ".join(f"{each.name}1" for each in of_stages) or "none"
            raise self._error(name, f"{block} blocks have no such parameter; those of the stages: {columns}")
        if match[2] is None or int(match[2]) > stages:
            raise self._error(
                name, f"each stage has its own: choose from {parameter.name}1 to {parameter.name}{stages}"
            )

    def _own_parameters(self, parameters: Sequence[Parameter], stage: int | None = None) -> dict[str, Value]:
        """Return the values of own parameters of a stage or of the network; a missing one has its default."""
        values: dict[str, Value] = {}
        for parameter in parameters:
            column = parameter.name if stage is None else f"{parameter.name}{stage}"
            if column in self.cells:
                value = self._value(column, parameter)
                self._checked(column, parameter.check, "", value)
            elif parameter.default is None:
                raise self._error(column, "is blank, but the parameter has no default")
            else:
                value = parameter.default
            values[parameter.name] = value
        return values

    def _value(self, column: str, parameter: Parameter) -> Value:
        """Return a cell as a value of the type that a parameter has."""
        if isinstance(parameter.default, str):
            return self.cells[column]
        value = _parsed(self.cells[column])
        if value is None and parameter.default is not None:
            raise self._error(column, f"{shown(self.cells[column])} is not a number, such as {parameter.default}")
        return self.cells[column] if value is None else value

    def _kind(self, column: str) -> str:
        """Return the name in a cell after checking it."""
        value, allowed = self.cells[column], _KINDS[column]
        if value not in allowed and not (column in _IMPORTED and is_import_name(value)):
            raise self._error(column, str(unknown(column, value, allowed)))
        return value

    def _whole(self, column: str, low: int, high: int, default: int = 0) -> int:
        """Return a whole number; ``default`` if the cell is blank."""
        if column not in self.cells:
            return default
        value = _parsed(self.cells[column])
        cell = self.cells[column] if value is None else value
        return int(self._checked(column, whole, "the value", cell, low, high))

    def _number(self, column: str, low: float, default: float) -> float:
        """Return a number up to 64; ``default`` if the cell is blank."""
        if column not in self.cells:
            return default
        value = _parsed(self.cells[column])
        cell = self.cells[column] if value is None else value
        checked: float = self._checked(column, number, "the value", cell, low, 64)
        return checked

    def _checked(self, column: str, function: Any, *arguments: Any) -> Any:
        """Return what a function returns, and name file, line and column in its error."""
        try:
            return function(*arguments)
        except InputError as error:
            raise self._error(column, str(error)) from error

    def _error(self, column: str, problem: str) -> InputError:
        """Return the error for a cell."""
        return InputError(f"{self.place}, column {column}: {problem}")


def _parsed(cell: str) -> float | None:
    """Return a cell as a number, whole ones as int; None if it is none.

    >>> _parsed("16.0"), _parsed("3,5"), _parsed("x")
    (16, 3.5, None)
    """
    text = decimal_point(cell)
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if value.is_integer() else value


_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})([eE][+-]?\d{1,2})?")
