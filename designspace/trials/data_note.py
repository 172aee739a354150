"""The data set that a population was sampled for, as it is recorded in the run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.support.errors import RunError
from designspace.support.files import read_json, write_json

DATA_FILE = "data.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnData:
    """Facts about a user's own data set, so that a run does not need it to describe its networks. Values are checked.

    Raises:
        ValueError: a value is missing or of another type.
    """

    describe: str
    """Channels, size and labels as text."""
    counts: tuple[int, ...]
    """Numbers of training and test images."""
    size: int
    """Height and width of an image, in pixels."""
    dtype: str
    """Type of the images' values."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    digest: str
    """Digest of the files, or of the labels and these facts for a function."""
    files: tuple[str, ...] = ()
    """Paths of the files of arrays."""

    def __post_init__(self) -> None:
        texts = (self.describe, self.dtype, self.digest, *self.classes, *self.files)
        numbers = (self.size, *self.counts, *self.mean, *self.std)
        if not all(isinstance(value, str) for value in texts) or not all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in numbers
        ):
            raise ValueError("facts about a data set must be texts and numbers")

    @staticmethod
    def from_dict(fields: Any) -> OwnData:
        """Return the facts in a JSON object.

        Raises:
            TypeError: a field is missing or unknown.
            ValueError: a value is of another type.
        """
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
        return OwnData(**values)


@dataclass(frozen=True, slots=True)
class DataNote:
    """Name of a data set, the folder of data sets if the user gave one, and facts if the data are the user's own."""

    name: str
    root: str | None = None
    """Folder of all data sets; None for the default folder."""
    own: OwnData | None = None
    """Facts about arrays or about what a user's function returns; None for other data sets."""


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
        own = fields.pop("own", None)
        note = DataNote(**fields, own=None if own is None else OwnData.from_dict(own))
    except (TypeError, ValueError, AttributeError) as error:
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
    fields = dataclasses.asdict(note)
    if note.own is None:  # as in earlier versions
        del fields["own"]
    write_json(run / DATA_FILE, fields)
