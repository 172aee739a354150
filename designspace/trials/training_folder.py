"""The run of a single network: `train`'s folder, which is the folder of its one trial, and in the end a model folder.

Beside the files of a trial it has train.json, which says what is trained, with which weights it begins and which
command asked for it first. The same training resumes there; another one is refused, and the folder stays as it is.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder, read_json, write_first, write_json, write_text
from designspace.support.reading import entries, read_text
from designspace.support.text import command, is_printable, shown
from designspace.trials.history import from_csv, to_csv
from designspace.trials.plan import Plan, Repeats
from designspace.trials.recipe import Recipe
from designspace.trials.run import Run
from designspace.trials.trial import EpochRecord, Trial
from designspace.trials.trial_folder import MAX_HISTORY_BYTES, TrialFolder

FORMAT = 1
TRAINING_FILE = "train.json"


class TrainingFolder(Run):
    """The files of one network's training."""

    def __init__(self, path: Path, trial: Trial | None = None) -> None:
        """Name the folder of a training, which may not exist yet.

        Args:
            path: the folder.
            trial: what is trained; by default what train.json says.
        """
        super().__init__(path)
        self.events = path / "events"
        """For TensorBoard."""
        self._asked = path / TRAINING_FILE
        self._trial = trial

    def exists(self) -> bool:
        """Whether a training was asked for here."""
        return self._asked.exists()

    def is_whole(self) -> bool:
        """Whether there is a train.json of this program; others write files of that name too."""
        try:
            return self.exists() and bool(self._held())
        except RunError:
            return False

    @property
    def only_trial(self) -> Trial:
        """The trial.

        Raises:
            RunError: train.json is missing or damaged.
        """
        if self._trial is None:
            try:
                self._trial = Trial.from_dict(self._held())
            except InputError as error:
                raise RunError(f"{self._asked} does not say what is trained ({error})") from error
        return self._trial

    @property
    def trial_folder(self) -> TrialFolder:
        """The folder of the trial: this one."""
        return TrialFolder(self.path, self.only_trial.fingerprint, self.only_trial.id, has_model=True)

    def check(self, trial: Trial) -> None:
        """Raise unless this may be the folder of that training.

        Raises:
            InputError: it holds another training, or something else; it stays as it is.
            RunError: what it holds is damaged.
        """
        if not self.exists():
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"{self.path} is a file; choose a folder with out=...")
            others = [entry.name for entry in entries(self.path)] if self.path.exists() else []
            if any(not name.startswith((".", "claim.")) for name in others):
                raise InputError(f"{self.path} holds no training but other files; choose another folder with out=...")
            return
        if found := trial.differences(self._held()):
            words = "; ".join(
                f"{name} is {shown(there)} there and {shown(here)} here" for name, (there, here) in found.items()
            )
            raise InputError(
                f"{self.path} holds another training ({words}). It was left as it is; choose another folder with "
                "out=..."
            )

    def ask(self, trial: Trial, start: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Note what is trained, what finds the weights that it begins with, and where that comes from, once.

        Raises:
            InputError, RunError: as `check`; or the folder cannot be written.
        """
        self.check(trial)
        if not self.exists():
            note = {"format": FORMAT, **trial.to_dict(), "start": dict(start), "provenance": dict(provenance)}
            make_folder(self.path)
            write_first(self._asked, json.dumps(note, indent=2, allow_nan=False) + "\n")
            self.check(trial)  # another command may have been first, with another training

    def start(self) -> Mapping[str, Any]:
        """Return what finds the weights that the training begins with; empty in a folder of an earlier version."""
        start = self._held().get("start", {})
        if not isinstance(start, dict):
            raise RunError(f"{self._asked} does not say which weights the training begins with")
        return start

    def note_start(self, start: Mapping[str, Any]) -> None:
        """Note what finds the weights in a folder of an earlier version, which does not say."""
        if not self.start():
            write_json(self._asked, {**self._held(), "start": dict(start)})

    def provenance(self) -> dict[str, Any]:
        """Return what is known of the command that asked for the training first."""
        provenance = self._held().get("provenance")
        if not isinstance(provenance, dict):
            raise RunError(f"{self._asked} does not say where the training comes from")
        return provenance

    def plan(self) -> Plan:
        """Return recipe and seed of the trial."""
        return Plan(self.only_trial.recipe, self.only_trial.seed)

    def check_plan(self, recipe: Recipe, seed: int) -> None:
        """Raise `InputError` unless the network may be trained like this here."""
        if words := self.plan().differences(recipe, seed):
            raise InputError(f"{self.path} {words}")

    def write_plan(self, recipe: Recipe, seed: int, repeats: Repeats) -> None:
        """Do nothing: `ask` fixes the plan with the trial."""

    def trial_keys(self, plan: Plan | None = None) -> tuple[str, ...]:
        """Return the key of the only trial: the id of its network."""
        return (self.only_trial.id,)

    def read_trials(self) -> Callable[[str], Trial]:
        """Return a function that gives the only trial."""
        return lambda key: self.only_trial

    def trial(self, key: str) -> TrialFolder:
        """Return the folder of the only trial.

        Raises:
            RunError: there is no such trial.
        """
        if key != self.only_trial.id:
            raise RunError(f"{self.path} has no trial {key[:40]!r}; its only one is {self.only_trial.id}")
        return self.trial_folder

    def fingerprint(self, key: str) -> str:
        """Return the fingerprint of the only trial."""
        return self.only_trial.fingerprint

    def begun(self) -> set[str]:
        """Return the key of the trial, if its folder exists."""
        return {self.only_trial.id} if self.path.is_dir() else set()

    def write_results(self) -> None:
        """Do nothing: the table of epochs is written with each epoch (see `write_table`)."""

    def write_table(self, history: tuple[EpochRecord, ...]) -> None:
        """Write a line of CSV for each epoch so far, for people."""
        write_text(self.trial_folder.history_table, to_csv(history))

    def read_table(self) -> tuple[EpochRecord, ...]:
        """Return the epochs that `write_table` wrote; none if there is no table, or somebody edited it."""
        with contextlib.suppress(ValueError, RunError):
            return from_csv(read_text(self.trial_folder.history_table, MAX_HISTORY_BYTES))
        return ()

    def resume_command(self) -> str:
        """Return the command line that asked for the training first, as far as it can be one.

        Somebody else may have written the file, so a line that would do more than run the command is not shown.
        """
        line = str(self.provenance().get("command", ""))
        with contextlib.suppress(ValueError):  # a quotation mark that is not closed
            words = shlex.split(line)
            if words[:3] == ["python", "-m", "designspace.train"] and line == shlex.join(words) and is_printable(line):
                return line
        return command("train", out=self.path)

    def _held(self) -> dict[str, Any]:
        """The content of train.json."""
        held = read_json(self._asked, file_names=True)
        if not isinstance(held, dict) or held.get("format") != FORMAT or not isinstance(held.get("recipe"), dict):
            raise RunError(f"{self._asked} does not say what was asked, or in a format other than {FORMAT}")
        return held
