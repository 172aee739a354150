"""``--multirun``: a command runs once for each combination of the values that were typed, in Hydra's sweep syntax.

Each combination has an output folder of its own. Where one folder was typed for several combinations, each gets a
folder below it, named after the values that differ, as by Hydra's ``override_dirname``: for example
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

from designspace.cli import typed
from designspace.cli.command_line import CommandLine
from designspace.cli.config_files import ConfigFiles
from designspace.cli.overrides import parse_override
from designspace.support.errors import InputError

MAX_LABEL = 200
"""Characters of a folder's name that is made from values; file systems allow 255 bytes."""
MAX_COMBINATIONS = 1000
"""The most combinations of one command; a mistyped range would give millions."""
HINT = "; to run the command once for each of several values, add --multirun"
"""End of the message on a value that stands for several."""


@dataclass(frozen=True, slots=True)
class Combination:
    """One of the combinations."""

    label: str
    """What sets it apart, such as ``space=AnyNetXA seed=1``; empty if it is the only one."""
    line: CommandLine
    """The command line of this combination alone."""


@dataclass(frozen=True, slots=True)
class _Output:
    """The folder that a command writes."""

    key: str
    """Its key."""
    sources: frozenset[str] = frozenset()
    """Keys that the default folder is named after."""
    dry: str = ""
    """The word with which the command writes nothing."""


_OUTPUTS = {
    "sample": _Output("run", frozenset({"space", "file"}), "count=true"),
    "explore": _Output("run", frozenset({"name", "experiment"})),
    "train": _Output("out", frozenset({"model", "data", "data.name"}), "dry_run=true"),
    "analyze": _Output("out", frozenset({"runs"})),
    "export": _Output("to"),
}
"""Command -> the folder that it writes. The others change the folders that they are given."""


def combinations(command: str, line: CommandLine) -> list[Combination]:
    """Return every combination of the values that were typed; the last key changes fastest.

    Raises:
        InputError: a word cannot be read, there are too many combinations, or several would share a folder.
    """
    values: dict[str, list[str]] = {}
    for word in line.words:
        key, value = typed.split_word(word)
        values[key] = _alternatives(key, value, line.files)
    count = math.prod(map(len, values.values()))
    if count > MAX_COMBINATIONS:
        raise InputError(f"--multirun runs at most {MAX_COMBINATIONS:,} combinations of values; type fewer values")
    several = [key for key, alternatives in values.items() if len(alternatives) > 1]
    chosen = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    with_folders = _with_folders(command, chosen, several)
    return [
        Combination(
            " ".join(f"{key}={row[key]}" for key in several),
            dataclasses.replace(line, words=tuple(f"{k}={v}" for k, v in words.items()), multirun=False),
        )
        for row, words in zip(chosen, with_folders, strict=True)
    ]


def hint(message: str, words: Sequence[str]) -> str:
    """Return words on --multirun if a message is about a value that looks like several; else an empty text."""
    values = (word.partition("=")[2] for word in words)
    is_about_several = any(value in message for value in values if len(typed.alternatives(value)) > 1)
    return HINT if is_about_several and HINT not in message else ""


def _alternatives(key: str, value: str, files: ConfigFiles) -> list[str]:
    """Return the values that a value stands for: of a path or a name, what is between commas; else as Hydra reads it.

    Raises:
        InputError: the value cannot be read, or is a range of real numbers.
    """
    from hydra.core.override_parser.types import ValueType

    if key in typed.PATHS | typed.NAMES:
        return typed.alternatives(value)
    override = parse_override(f"{key}={value}")
    if not override.is_sweep_override():
        return [value]
    if not override.is_discrete_sweep():
        raise InputError(
            f"{key}={value} is a range of real numbers; list values instead, as {key}=1,2,3 or {key}=range(1,4)"
        )
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        pattern: Any = override.value()
        options = files.options(key.partition("@")[0])
        if not (found := list(pattern.filter(options))):
            raise InputError(f"{key}={value} matches nothing; choose from: {', '.join(options)}")
        return found
    read = [str(each) for each in itertools.islice(override.sweep_string_iterator(), MAX_COMBINATIONS + 1)]
    as_typed = typed.alternatives(value)
    # Hydra would write 1e3 as 1000.0, which is not a number of networks, so values stay as they were typed.
    is_plain = override.value_type == ValueType.SIMPLE_CHOICE_SWEEP and len(as_typed) == len(read)
    return as_typed if is_plain else read


def _with_folders(command: str, chosen: Sequence[dict[str, str]], several: Sequence[str]) -> list[dict[str, str]]:
    """Return the words of each combination, with an output folder of its own.

    Raises:
        InputError: combinations would share a folder.
    """
    output = _OUTPUTS.get(command)
    if command == "launch":
        runs = {row["run"] for row in chosen if "run" in row and row.get("dry_run") != "true"}
        if runs and len(runs) < len(chosen):
            raise InputError(
                "several combinations would train the same run, and all trials of a run are trained alike; type a run "
                "folder for each, as --multirun run=runs/a,runs/b, or one command for each"
            )
    differing = [key for key in several if output is not None and key != output.key]
    if output is None or not differing:
        return list(chosen)
    if output.key in chosen[0]:
        labels = _labels(chosen, differing)
        return [
            {**row, output.key: f"{typed.path(output.key, row[output.key])}/{label}"}
            for row, label in zip(chosen, labels, strict=True)
        ]
    unnamed = [key for key in differing if key not in output.sources]
    if unnamed and output.dry not in (f"{key}={value}" for key, value in chosen[0].items()):
        folder = f"{output.key}=..."
        raise InputError(
            f"combinations with different {unnamed[0]}=... would share a folder; type {folder}, and each gets its own "
            f"below it, as {output.key}=runs/x for runs/x/{_labels(chosen, differing)[0]}"
        )
    return list(chosen)


def _labels(chosen: Sequence[Mapping[str, str]], differing: Sequence[str]) -> list[str]:
    """Return the name of each combination's folder, from the values that differ; a number where names are alike."""
    labels = [",".join(f"{key}={_as_file_name(row[key])}" for key in differing) for row in chosen]
    is_usable = len(set(labels)) == len({tuple(row[key] for key in differing) for row in chosen})
    if is_usable and max(map(len, labels)) <= MAX_LABEL:
        return labels
    return [str(number) for number in range(len(chosen))]


def _as_file_name(value: str) -> str:
    """Return a value without the characters that are awkward in the name of a folder.

    >>> _as_file_name("[2e6,4e6]"), _as_file_name("runs/a b")
    ('2e6-4e6', 'runs-a-b')
    """
    return re.sub(r"[^\w.+-]+", "-", value).strip("-")
