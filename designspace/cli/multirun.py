"""``--multirun``: run a command once for each combination of the given values, in Hydra's sweep syntax.

Each combination has its own output folder. If the same folder was given for several combinations, each one gets a
subfolder named after the values that differ, as with Hydra's ``override_dirname``: for example
``runs/x/space=AnyNetXA,seed=1``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.cli import text_values
from designspace.cli.command_line import CommandLine
from designspace.cli.config_files import ConfigFiles
from designspace.cli.overrides import parse_override
from designspace.support.errors import InputError

MAX_LABEL = 200
"""Maximum length of a folder name that is made from values; file systems allow 255 bytes."""
MAX_COMBINATIONS = 1000
"""Maximum number of combinations of one command; a mistyped range could give millions."""
HINT = "; to run the command once for each of several values, add --multirun"
"""Hint at the end of an error message about an argument with several values."""


@dataclass(frozen=True, slots=True)
class Combination:
    """One combination of values."""

    label: str
    """The values that differ between combinations, such as ``space=AnyNetXA seed=1``; empty for a single one."""
    line: CommandLine
    """The command line of this combination."""


@dataclass(frozen=True, slots=True)
class _Output:
    """The output folder of a command."""

    key: str
    """Key of the folder."""
    sources: frozenset[str] = frozenset()
    """Keys that determine the name of the default folder."""
    dry: str = ""
    """Argument with which the command writes nothing."""


_OUTPUTS = {
    "sample": _Output("run", frozenset({"space", "file", "networks"}), "count=true"),
    "explore": _Output("run", frozenset({"name", "experiment"})),
    "train": _Output("out", frozenset({"model", "data", "data.name"}), "dry_run=true"),
    "analyze": _Output("out", frozenset({"runs"})),
    "export": _Output("to"),
}
"""Command -> its output folder. Other commands change existing folders."""


def combinations(command: str, line: CommandLine) -> list[Combination]:
    """Return all combinations of the given values; the last key changes fastest.

    Raises:
        InputError: an argument cannot be read, there are too many combinations, or several would share a folder.
    """
    values: dict[str, list[str]] = {}
    for argument in line.arguments:
        key, value = text_values.split_argument(argument)
        values[key] = _alternatives(key, value, line.files)
    count = math.prod(map(len, values.values()))
    if count > MAX_COMBINATIONS:
        raise InputError(f"--multirun runs at most {MAX_COMBINATIONS:,} combinations; give fewer values")
    differing = [key for key, alternatives in values.items() if len(alternatives) > 1]
    chosen = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    with_folders = _with_folders(command, chosen, differing)
    return [
        Combination(
            " ".join(f"{key}={row[key]}" for key in differing),
            dataclasses.replace(line, arguments=tuple(f"{k}={v}" for k, v in arguments.items()), multirun=False),
        )
        for row, arguments in zip(chosen, with_folders, strict=True)
    ]


def hint(message: str, arguments: Sequence[str]) -> str:
    """Return a hint at --multirun if a message is about an argument with several values, else an empty text."""
    values = (argument.partition("=")[2] for argument in arguments)
    has_several_values = any(value in message for value in values if len(text_values.alternatives(value, "[{")) > 1)
    return HINT if has_several_values and HINT not in message else ""


def _alternatives(key: str, value: str, files: ConfigFiles) -> list[str]:
    """Return the alternatives in a value: for paths and names separated by commas, else as Hydra reads them.

    Raises:
        InputError: the value cannot be read, or is a range of real numbers.
    """
    from hydra.core.override_parser.types import ValueType

    if key in text_values.PATHS | text_values.NAMES:
        return text_values.alternatives(value)
    override = parse_override(f"{key}={value}")
    if not override.is_sweep_override():
        return [value]
    if not override.is_discrete_sweep():
        raise InputError(
            f"{key}={value} is a range of real numbers; list the values, such as {key}=1,2,3 or {key}=range(1,4)"
        )
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        pattern: Any = override.value()
        options = files.options(key.partition("@")[0])
        if not (matches := list(pattern.filter(options))):
            raise InputError(f"{key}={value} matches nothing; choose from: {', '.join(options)}")
        return matches
    values = [str(item) for item in itertools.islice(override.sweep_string_iterator(), MAX_COMBINATIONS + 1)]
    as_typed = text_values.alternatives(value, "[{")
    # Hydra would write 1e3 as 1000.0, which is not a whole number, so simple values are not converted.
    is_plain = override.value_type == ValueType.SIMPLE_CHOICE_SWEEP and len(as_typed) == len(values)
    return as_typed if is_plain else values


def _with_folders(command: str, chosen: Sequence[dict[str, str]], differing: Sequence[str]) -> list[dict[str, str]]:
    """Return the arguments of each combination with its own output folder.

    Raises:
        InputError: combinations would share a folder.
    """
    output = _OUTPUTS.get(command)
    if command == "launch":
        runs = {row["run"] for row in chosen if "run" in row and row.get("dry_run") != "true"}
        if runs and len(runs) < len(chosen):
            raise InputError(
                "several combinations would train the same run, but all trials of a run share one recipe; give each "
                "one its own run folder, such as --multirun run=runs/a,runs/b, or use separate commands"
            )
    differing = [key for key in differing if output is not None and key != output.key]
    if output is None or not differing:
        return list(chosen)
    if output.key in chosen[0]:
        labels = _labels(chosen, differing)
        return [
            {**row, output.key: f"{text_values.path(output.key, row[output.key])}/{label}"}
            for row, label in zip(chosen, labels, strict=True)
        ]
    unnamed = [key for key in differing if key not in output.sources]
    if unnamed and output.dry not in (f"{key}={value}" for key, value in chosen[0].items()):
        folder = f"{output.key}=..."
        raise InputError(
            f"combinations with different {unnamed[0]}=... would share a folder; give {folder}, and each one gets "
            f"its own subfolder, such as runs/x/{_labels(chosen, differing)[0]} for {output.key}=runs/x"
        )
    return list(chosen)


def _labels(chosen: Sequence[Mapping[str, str]], differing: Sequence[str]) -> list[str]:
    """Return the folder name of each combination, made from the differing values, or numbers if that fails."""
    labels = [",".join(f"{key}={_as_file_name(row[key])}" for key in differing) for row in chosen]
    is_usable = len(set(labels)) == len({tuple(row[key] for key in differing) for row in chosen})
    if is_usable and max(map(len, labels)) <= MAX_LABEL:
        return labels
    return [str(number) for number in range(len(chosen))]


def _as_file_name(value: str) -> str:
    """Return a value without characters that are problematic in folder names.

    >>> _as_file_name("[2e6,4e6]"), _as_file_name("runs/a b")
    ('2e6-4e6', 'runs-a-b')
    """
    return re.sub(r"[^\w.+-]+", "-", value).strip("-")
