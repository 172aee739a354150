"""The folder of one network's training: what was asked, how it goes, what came of it.

The same question goes on where it was; another one is refused, and the folder stays as it is. The model that comes out
of it is written beside these files (see `designspace.models.saved`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace.networks.network import Network
from designspace.support.checks import make_plain, whole
from designspace.support.errors import InputError, RunError
from designspace.support.files import add_to_log, read_json, write_json, write_text
from designspace.support.reading import entries, read_text
from designspace.support.text import shown
from designspace.trials.history import from_csv, to_csv
from designspace.trials.trial import EpochRecord, Recipe

FORMAT = 1
MAX_HISTORY_BYTES = 32 << 20
"""The largest history.csv that is read."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a training is asked: all that its numbers depend on."""

    network: Network
    recipe: Recipe
    seed: int
    weights: str
    """With which weights it begins, in words."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("seed", self.seed, 0)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "id": self.network.id,
            "network": json.loads(self.network.to_json()),
            "weights": self.weights,
            "seed": self.seed,
            "recipe": self.recipe.to_dict(),
        }


class TrainingFolder:
    """The files of one network's training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.pt"
        self.history = path / "history.csv"
        """A line for each epoch so far."""
        self.events = path / "events"
        """For TensorBoard."""
        self.log = path / "log.txt"
        self._asked = path / "train.json"

    def check(self, question: Question) -> None:
        """Raise unless this may be the folder of that training.

        Raises:
            InputError: it holds another training, or something else; it stays as it is.
            RunError: what it holds is damaged.
        """
        if not self._asked.exists():
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"{self.path} is a file; choose a folder with out=...")
            others = [entry.name for entry in entries(self.path)] if self.path.exists() else []
            if any(not name.startswith((".", "claim.")) for name in others):
                raise InputError(f"{self.path} holds no training but other files; choose another folder with out=...")
            return
        differences = [
            f"{name} is {shown(was)} there and {shown(now)} here" for name, was, now in self._compared(question)
        ]
        if differences:
            raise InputError(
                f"{self.path} holds another training ({'; '.join(differences)}). It was left as it is; choose another "
                "folder with out=..."
            )

    def ask(self, question: Question, provenance: Mapping[str, Any]) -> None:
        """Note what is asked and where that comes from, once.

        Raises:
            InputError, RunError: as `check`; or the folder cannot be written.
        """
        self.check(question)
        if not self._asked.exists():
            write_json(self._asked, {"format": FORMAT, **question.to_dict(), "provenance": dict(provenance)})

    def provenance(self) -> dict[str, Any]:
        """What is known of the command that began the training."""
        provenance = self._held().get("provenance")
        if not isinstance(provenance, dict):
            raise RunError(f"{self._asked} does not say where the training comes from")
        return provenance

    def write_history(self, history: tuple[EpochRecord, ...]) -> None:
        """Write a line of CSV for each epoch so far."""
        write_text(self.history, to_csv(history))

    def read_history(self) -> tuple[EpochRecord, ...]:
        """The epochs so far; none if there is no file.

        Raises:
            RunError: the file was edited.
        """
        if not self.history.exists():
            return ()
        try:
            return from_csv(read_text(self.history, MAX_HISTORY_BYTES))
        except ValueError as error:
            raise RunError(f"{self.history} does not hold epochs ({error}); remove it to go on") from error

    def add_to_log(self, text: str) -> None:
        """Add to log.txt what a person may want to read, with the time before it.

        Raises:
            RunError: the file cannot be written.
        """
        add_to_log(self.log, text)

    def _held(self) -> dict[str, Any]:
        """The content of train.json."""
        held = read_json(self._asked, file_names=True)
        if not isinstance(held, dict) or held.get("format") != FORMAT or not isinstance(held.get("recipe"), dict):
            raise RunError(f"{self._asked} does not say what was asked, or in a format other than {FORMAT}")
        return held

    def _compared(self, question: Question) -> list[tuple[str, Any, Any]]:
        """Where the question that is held differs from another: name, value there, value here."""
        held, wanted = self._held(), question.to_dict()
        # A field that recipes did not have when the file was written had the value that is its default now.
        recipes = {**Recipe().to_dict(), **held["recipe"]}, wanted["recipe"]
        names = ("id", "weights", "seed")
        pairs = [("network" if name == "id" else name, held.get(name), wanted[name]) for name in names]
        pairs += [(f"recipe.{name}", was, recipes[1].get(name)) for name, was in recipes[0].items()]
        return [(name, was, now) for name, was, now in pairs if was != now]
