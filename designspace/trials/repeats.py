"""Reading and writing ``repeats.yaml``, the repeats of a run. A run with one seed per network has no such file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from designspace.support.errors import InputError, RunError
from designspace.support.files import write_text
from designspace.support.yaml_text import MAX_YAML_BYTES, read_yaml
from designspace.trials.plan import Plan, Repeats

_REPEATS = "repeats.yaml"


def with_repeats(plan: Plan, folder: Path) -> Plan:
    """Return a plan with the repeats in a run folder.

    Raises:
        RunError: the file is damaged, or does not fit the plan.
    """
    path = folder / _REPEATS
    if not path.exists():
        return plan
    try:
        return dataclasses.replace(plan, repeats=Repeats.from_fields(read_yaml(path)))
    except InputError as error:
        raise RunError(f"{path} does not contain valid repeats ({error})") from error


def write_repeats(folder: Path, repeats: Repeats) -> None:
    """Write the repeats of a run atomically.

    Raises:
        InputError: there are too many to be read back.
        RunError: the file cannot be written.
    """
    text = repeats.to_text()
    if len(text) > MAX_YAML_BYTES:
        raise InputError(f"{len(repeats.fresh):,} networks with fresh seeds are too many; give a smaller top")
    write_text(folder / _REPEATS, text)
