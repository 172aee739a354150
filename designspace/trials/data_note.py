"""The data set that a population was sampled for, as it is recorded in the run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from designspace.support.errors import RunError
from designspace.support.files import read_json, write_json

DATA_FILE = "data.json"


@dataclass(frozen=True, slots=True)
class DataNote:
    """Name of a data set, and the folder of data sets if the user gave one."""

    name: str
    root: str | None = None
    """Folder of all data sets; None for the default folder."""


def read_note(run: Path) -> DataNote | None:
    """Read the note of a run folder; return None if there is none, as in runs of earlier versions.

    Raises:
        RunError: the file is damaged.
    """
    path = run / DATA_FILE
    if not path.exists():
        return None
    fields = read_json(path, file_names=True)
    try:
        note = DataNote(**fields)
    except TypeError as error:
        raise RunError(f"{path} does not name a data set; type data=... instead, or delete it") from error
    if not isinstance(note.name, str) or not isinstance(note.root, str | None):
        raise RunError(f"{path} does not name a data set; type data=... instead, or delete it")
    return note


def write_note(run: Path, note: DataNote) -> None:
    """Record the data set of a run, unless it is recorded already.

    Raises:
        RunError: the file cannot be written.
    """
    with contextlib.suppress(RunError):  # a damaged note is replaced
        if read_note(run) == note:
            return
    write_json(run / DATA_FILE, dataclasses.asdict(note))
