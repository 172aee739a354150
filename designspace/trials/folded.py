"""One file with the done trials of a run, because many small files slow down a file system.

``done.jsonl`` has one line per trial: its key, and the texts and times of its files. Checkpoints stay in the folders of
the trials. It is written before the files that it replaces are removed, so every trial can be read at any time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from designspace.support.errors import RunError
from designspace.support.files import atomic_writer, writing
from designspace.support.reading import parse_json, read_with_time
from designspace.support.removal import remove

FILE = "done.jsonl"

Files = Mapping[str, tuple[bytes, int]]
"""Name -> content, and time of the last change in nanoseconds since 1970."""


class FoldedTrials:
    """Done trials in the file of a run, which is read when they are needed, and again after it has changed."""

    def __init__(self, run: Path) -> None:
        self.path = run / FILE
        self._trials: dict[str, Files] = {}
        self._read_from: tuple[int, ...] | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of the trials."""
        return iter(self._current())

    def known(self, key: str) -> Files | None:
        """Return the files of a trial; None if it was not in the file when that was last read."""
        return self._trials.get(key)  # a trial in the file stays there

    def files(self, key: str) -> Files | None:
        """Return the files of a trial; None if it is not in the file as it is now.

        Raises:
            RunError: the file is not whole.
        """
        return self._current().get(key)

    def write(self, trials: Mapping[str, Files]) -> None:
        """Add trials to the file, which is replaced as a whole.

        Raises:
            RunError: it cannot be read or written; it is unchanged then.
        """
        with atomic_writer(self.path) as file:
            for key, files in {**self._current(), **trials}.items():
                texts = {name: [content.decode(), time_ns] for name, (content, time_ns) in files.items()}
                file.write(f"{json.dumps({'trial': key, 'files': texts})}\n".encode())

    def remove_originals(self, folders: Path) -> None:
        """Remove the files that are in this one from the folders of the trials, and the folders that are empty then.

        An interrupted process may have left some of them.

        Raises:
            RunError: a file cannot be removed.
        """
        for key, files in self._current().items():
            folder = folders / key
            if not folder.is_dir():
                continue
            for name in files:
                with writing(folder / name):
                    remove(folder / name, self.path.parent)
            with contextlib.suppress(OSError):  # its checkpoint stays
                folder.rmdir()

    def _current(self) -> Mapping[str, Files]:
        """Return the trials of the file as it is now: key -> files.

        Raises:
            RunError: the file is not whole.
        """
        try:
            info = self.path.stat()
        except FileNotFoundError:
            return self._trials
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}") from error
        version = (info.st_ino, info.st_size, info.st_mtime_ns)
        if version != self._read_from:
            self._trials = dict(map(self._parsed, read_with_time(self.path)[0].splitlines()))
            self._read_from = version
        return self._trials

    def _parsed(self, line: bytes) -> tuple[str, Files]:
        """Return the key and the files of a line.

        Raises:
            RunError: the line is not whole.
        """
        try:
            fields = parse_json(line)
            texts: Mapping[str, tuple[str, int]] = fields["files"]
            return str(fields["trial"]), {name: (text.encode(), int(ns)) for name, (text, ns) in texts.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.path} is not whole ({error}); restore it from a copy") from error
