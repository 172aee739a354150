"""The run of a single network: the output folder of `train`, which is the folder of its only trial.

In addition to the files of a trial, it has train.json, which records the trial, its initial weights and the command
that started it first. The same training resumes there; another one is refused, and the folder is left unchanged. When
the training is done, the folder is a model folder.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from designspace.support.checks import mapping
from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder, read_json, write_first, write_json, write_text
from designspace.support.reading import entries, read_text
from designspace.support.text import command, is_printable, shown
from designspace.trials.history import from_csv, to_csv
from designspace.trials.metric import DEFAULT_METRIC, TOP1_ERROR, Metric
from designspace.trials.plan import Plan, Repeats
from designspace.trials.recipe import Recipe
from designspace.trials.run import Run
from designspace.trials.trial import EpochRecord, Trial
from designspace.trials.trial_folder import MAX_HISTORY_BYTES, TrialFolder

FORMAT = 1
TRAINING_FILE = "train.json"
_MEASURED_BY = "measured_by"
"""Key of the metric; missing for the default metric."""


class TrainingFolder(Run):
    """The folder of one network's training."""

    def __init__(self, path: Path, trial: Trial | None = None) -> None:
        """Name the folder of a training, which may not exist yet.

        Args:
            path: the folder.
            trial: the trial; by default the one in train.json.
        """
        super().__init__(path)
        self.events = path / "events"
        """Folder of events for TensorBoard."""
        self._training_file = path / TRAINING_FILE
        self._trial = trial

    def exists(self) -> bool:
        """Return whether a training was started here."""
        return self._training_file.exists()

    def is_whole(self) -> bool:
        """Return whether there is a valid train.json; other programs write files of that name, too."""
        try:
            return self.exists() and bool(self._read())
        except RunError:
            return False

    @property
    def only_trial(self) -> Trial:
        """The only trial of the run.

        Raises:
            RunError: train.json is missing or damaged.
        """
        if self._trial is None:
            try:
                self._trial = Trial.from_dict(self._read())
            except InputError as error:
                raise RunError(f"{self._training_file} does not describe a trial ({error})") from error
        return self._trial

    def network_names(self) -> tuple[str, ...]:
        """Return the names of the user's own classes of which the network consists; see `Run.network_names`."""
        return self.only_trial.network.imported_names

    @property
    def trial_folder(self) -> TrialFolder:
        """Folder of the trial, which is this folder."""
        trial = self.only_trial
        return TrialFolder(self.path, trial.fingerprint, trial.id, has_model=True, metric=self.metric())

    def check(self, trial: Trial) -> None:
        """Raise unless a trial can be trained in this folder.

        Raises:
            InputError: the folder holds another training or other files; it is left unchanged.
            RunError: its files are damaged.
        """
        if not self.exists():
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"{self.path} is a file; choose a folder with out=...")
            others = [entry.name for entry in entries(self.path)] if self.path.exists() else []
            if any(not name.startswith((".", "claim.")) for name in others):
                raise InputError(f"{self.path} holds no training but other files; choose another folder with out=...")
            return
        if differences := trial.differences(self._read()):
            listed = "; ".join(
                f"{name} is {shown(there)} there and {shown(here)} here" for name, (there, here) in differences.items()
            )
            raise InputError(
                f"{self.path} holds another training ({listed}). It was left as it is; choose another folder with "
                "out=..."
            )

    def record(
        self, trial: Trial, start: Mapping[str, Any], provenance: Mapping[str, Any], metric: Metric | None = None
    ) -> None:
        """Write train.json with a trial, its initial weights, its provenance and its metric, unless it exists already.

        The metric is None for the default one.

        Raises:
            InputError, RunError: see `check`; or the folder cannot be written.
        """
        self.check(trial)
        if not self.exists():
            note = {"format": FORMAT, **trial.to_dict(), "start": dict(start), "provenance": dict(provenance)}
            if metric is not None:
                note[_MEASURED_BY] = metric.to_dict()
            make_folder(self.path)
            write_first(self._training_file, json.dumps(note, indent=2, allow_nan=False) + "\n")
            self.check(trial)  # another command may have written first, with another training

    def start(self) -> Mapping[str, Any]:
        """Return the fields that locate the initial weights; empty in a folder of an earlier version."""
        start = self._read().get("start", {})
        if not isinstance(start, dict):
            raise RunError(f"{self._training_file} does not describe the initial weights")
        return start

    def note_start(self, start: Mapping[str, Any]) -> None:
        """Add the fields that locate the initial weights, if they are missing in a folder of an earlier version."""
        if not self.start():
            write_json(self._training_file, {**self._read(), "start": dict(start)})

    def provenance(self) -> dict[str, Any]:
        """Return the provenance of the training, which includes the command that started it first."""
        provenance = self._read().get("provenance")
        if not isinstance(provenance, dict):
            raise RunError(f"{self._training_file} does not contain the provenance of the training")
        return provenance

    def plan(self) -> Plan:
        """Return the recipe and the seed of the trial."""
        return Plan(self.only_trial.recipe, self.only_trial.seed, metric=self._written_metric())

    def metric(self) -> Metric:
        """Return what the trial is measured by (see `Run.metric`)."""
        return self._written_metric() or TOP1_ERROR

    def _written_metric(self) -> Metric | None:
        """Return the metric in train.json; None for the default one, and before it is written.

        Raises:
            RunError: there is none, or it is damaged.
        """
        if self.only_trial.recipe.metric == DEFAULT_METRIC or not self.exists():
            return None
        try:
            return Metric.from_dict(mapping("train.json", self._read(), needed=[_MEASURED_BY])[_MEASURED_BY])
        except InputError as error:
            raise RunError(f"{self._training_file} does not describe the metric ({error})") from error

    def check_plan(self, recipe: Recipe, seed: int) -> None:
        """Raise `InputError` if the trial has another recipe or seed."""
        if differences := self.plan().differences(recipe, seed):
            raise InputError(f"{self.path} {differences}")

    def write_plan(self, recipe: Recipe, seed: int, repeats: Repeats, metric: Metric | None = None) -> None:
        """Do nothing, since `record` fixes the plan."""

    def trial_keys(self, plan: Plan | None = None) -> tuple[str, ...]:
        """Return the key of the only trial: the id of its network."""
        return (self.only_trial.id,)

    def read_trials(self) -> Callable[[str], Trial]:
        """Return a function that returns the only trial."""
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

    def started_keys(self) -> set[str]:
        """Return the key of the trial, if its folder exists."""
        return {self.only_trial.id} if self.path.is_dir() else set()

    def write_results(self) -> None:
        """Do nothing, since the table is written after each epoch (see `write_table`)."""

    def write_table(self, history: tuple[EpochRecord, ...]) -> None:
        """Write the epochs so far as a CSV table for the user."""
        write_text(self.trial_folder.history_table, to_csv(history))

    def read_table(self) -> tuple[EpochRecord, ...]:
        """Return the epochs that `write_table` wrote; none if there is no table, or it was edited."""
        with contextlib.suppress(ValueError, RunError):
            return from_csv(read_text(self.trial_folder.history_table, MAX_HISTORY_BYTES))
        return ()

    def resume_command(self) -> str:
        """Return the command that started the training first, if it is valid, or one that resumes it.

        Another person may have written the file, so a line that would do more than run the command is not shown.
        """
        line = str(self.provenance().get("command", ""))
        with contextlib.suppress(ValueError):  # an unclosed quotation mark
            arguments = shlex.split(line)
            is_train = arguments[:3] == ["python", "-m", "designspace.train"]
            if is_train and line == shlex.join(arguments) and is_printable(line):
                return line
        return command("train", out=self.path)

    def _read(self) -> dict[str, Any]:
        """Read train.json."""
        fields = read_json(self._training_file, file_names=True)
        if not isinstance(fields, dict) or fields.get("format") != FORMAT or not isinstance(fields.get("recipe"), dict):
            raise RunError(f"{self._training_file} does not describe a training in format {FORMAT}")
        return fields
