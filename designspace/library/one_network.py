"""One network's training: with which weights it begins, what is kept of its epochs, and the model that comes of it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from designspace import data
from designspace.data.images import ImageData
from designspace.library.facts import ImageFacts, trained_info
from designspace.library.saved import ONNX, TORCH_EXPORT, fill_model, model_files
from designspace.library.start import InitialModel, Start, WeightSource, build_initial_model
from designspace.models import AnyNet
from designspace.models.info import ModelInfo
from designspace.support.errors import InputError, RunError
from designspace.support.files import write_folder
from designspace.training.checkpoint import question_of, trained_weights
from designspace.training.device_data import on_device
from designspace.training.distributed import train_on_devices
from designspace.training.events import EventFile
from designspace.training.into_folder import train_into
from designspace.training.loop import OnEpoch, ShouldStop, train_part
from designspace.training.ranks import OtherRankFailed, Ranks, is_lost_connection
from designspace.trials.history import common_beginning
from designspace.trials.recipe import Recipe
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import EpochRecord, Trial, TrialFailure, TrialResult


@dataclass(frozen=True, slots=True)
class OneTraining:
    """One network's training into a folder, which in the end is a model folder."""

    run: TrainingFolder
    start: Start
    weight_source: WeightSource
    """Whose weights it begins with."""
    images: ImageData
    classes: tuple[str, ...]
    """Names of the classes; empty if they are not known."""

    @property
    def trial(self) -> Trial:
        """What is trained."""
        return self.run.only_trial

    @staticmethod
    def of(run: TrainingFolder, root: Path) -> OneTraining:
        """Read what a training needs from its folder, and its images from the folder of all data sets.

        Raises:
            InputError, RunError: the folder is damaged, or what it names cannot be had.
        """
        recipe = run.only_trial.recipe
        start, weight_source = Start.from_dict(run.start(), run.only_trial.network)
        images = data.load(recipe.data, root, recipe.train_images, recipe.test_images)
        return OneTraining(run, start, weight_source, images, data.facts(recipe.data, root).classes)

    def initial_model(self) -> InitialModel:
        """Build the module that is trained (see `begin`)."""
        return build_initial_model(
            self.start, self.trial.network, self.weight_source, self.trial.recipe, self.trial.seed
        )

    def train(
        self,
        initial: InitialModel,
        ranks: Ranks,
        device: torch.device,
        *,
        on_step: Callable[[], None] | None,
        on_epoch: OnEpoch,
        should_stop: ShouldStop,
    ) -> TrialResult | TrialFailure:
        """Train, keep the folder up to date, and write the model into it; return what came of it.

        Args:
            initial: what `begin` gave.
            ranks: who this process is. Rank 0 alone has the folder; the others call `take_part`.
            device: of this process; of its kind are those of a recipe that trains on several.
            on_step: called before each step, or soon after it began where other processes train.
            on_epoch: called with the history so far after each epoch.
            should_stop: asked before every step, or some ten times a second while other processes train.

        Raises:
            Interrupted, ClaimLost, RunError: as of `train_into`.
        """
        _check_same_checkpoint(self.run.trial_folder.checkpoint, ranks)
        epochs = _EpochWriter(self.run, images_per_epoch(self.trial.recipe, self.images))

        def keep(history: tuple[EpochRecord, ...]) -> None:
            epochs.add(history)
            on_epoch(history)

        train = functools.partial(self._train, initial, ranks, device, on_step)
        try:
            finish = functools.partial(self._write_model, initial)
            return train_into(self.run.trial_folder, self.trial, train, keep, should_stop, finish)
        finally:
            epochs.close()

    def take_part(
        self, initial: InitialModel, ranks: Ranks, device: torch.device, should_stop: ShouldStop
    ) -> TrialResult:
        """Train as another rank than the first.

        Raises:
            OtherRankFailed: another process ended, or says itself what is wrong.
            Exception: whatever else ends the training.
        """
        checkpoint = _check_same_checkpoint(self.run.trial_folder.checkpoint, ranks)
        return self._train(initial, ranks, device, None, checkpoint, None, should_stop)

    def _train(
        self,
        initial: InitialModel,
        ranks: Ranks,
        device: torch.device,
        on_step: Callable[[], None] | None,
        checkpoint: Path,
        on_epoch: OnEpoch | None,
        should_stop: ShouldStop,
    ) -> TrialResult:
        """Train on one device, as one of several ranks, or on several devices by ranks that are started for it."""
        trial = self.trial
        if trial.recipe.devices > 1 and ranks.world == 1:
            return train_on_devices(
                trial.network,
                trial.recipe,
                self.images,
                seed=trial.seed,
                device=device.type,
                checkpoint=checkpoint,
                on_epoch=on_epoch,
                should_stop=should_stop,
                first=initial.model.state_dict() if initial.source else None,
                on_step=on_step,
            )

        def asked() -> bool:
            if on_step is not None:
                on_step()
            return should_stop()

        try:
            part = ranks.together(lambda: on_device(self.images, trial.recipe, device))
            return train_part(
                initial.model,
                trial.recipe,
                part,
                ranks.shard,
                seed=trial.seed,
                checkpoint=checkpoint,
                on_epoch=on_epoch,
                should_stop=asked,
            )
        except Exception as error:
            if is_lost_connection(error):
                raise OtherRankFailed from error
            raise

    def _write_model(self, initial: InitialModel, result: TrialResult) -> None:
        """Write the trained model into the folder."""
        trial, folder = self.trial, self.run.trial_folder
        question = question_of(trial.id, trial.recipe, trial.seed)
        model = AnyNet(trial.network)
        fill_model(model, trained_weights(folder.checkpoint, question, result.epochs), folder.checkpoint)
        files = model_files(model, self._info(initial, result))
        write_folder(folder.path, files, stale=(ONNX, TORCH_EXPORT))

    def _info(self, initial: InitialModel, result: TrialResult) -> ModelInfo:
        """What is known of the trained weights."""
        recipe, images = self.trial.recipe, self.images
        how = "fine-tuned" if initial.source else "trained from scratch"
        origin = f"{how} on {trained_images(recipe, images):,} training images of {recipe.data}"
        return trained_info(
            self.start.name,
            recipe,
            result,
            seed=self.trial.seed,
            ended=time.time(),
            images=ImageFacts(images.shape[1], images.mean, images.std, self.classes),
            origin=origin + (f", from {initial.source}" if initial.source else ""),
            licence=initial.licence,
            provenance=[self.run.provenance()],
        )


def trained_images(recipe: Recipe, images: ImageData) -> int:
    """Training images that a recipe trains on: those held out are not.

    Raises:
        InputError: there are none.
    """
    given = recipe.train_images or len(images.train_images)
    if recipe.heldout_images >= given:
        raise InputError(f"recipe: heldout_images {recipe.heldout_images} leaves none of {given} training images")
    return given - recipe.heldout_images


def images_per_epoch(recipe: Recipe, images: ImageData) -> int:
    """Images that an epoch's steps take; those that do not fill a batch wait for another epoch's order."""
    return steps_per_epoch(recipe, images) * min(recipe.batch_size, trained_images(recipe, images))


def steps_per_epoch(recipe: Recipe, images: ImageData) -> int:
    """Steps of an epoch: whole batches, or one of all images where they do not fill it."""
    return max(1, trained_images(recipe, images) // recipe.batch_size)


class _EpochWriter:
    """What people read of the epochs: first the events, then the line of history.csv that says they are there."""

    def __init__(self, folder: TrainingFolder, images: int) -> None:
        self._folder = folder
        self._images = images
        self._events: EventFile | None = None
        self._written: tuple[EpochRecord, ...] = ()

    def add(self, history: tuple[EpochRecord, ...]) -> None:
        """Write down the epochs that are not yet."""
        if self._events is None:
            self._written = common_beginning(self._folder.read_table(), history)
            self._events = EventFile(self._folder.events, first=len(self._written) + 1)
        for record in history[len(self._written) :]:
            self._events.add(record, self._images)
        self._events.flush()
        self._folder.write_table(history)
        self._written = history

    def close(self) -> None:
        """End the events."""
        if self._events is not None:
            self._events.close()


def _check_same_checkpoint(checkpoint: Path, ranks: Ranks) -> Path:
    """Return the checkpoint, which all processes must see alike to resume from one epoch."""
    ends = ranks.gather(_last_bytes(checkpoint))
    if others := [str(rank) for rank, content in enumerate(ends) if content != ends[0]]:
        if ranks.rank:
            raise OtherRankFailed
        raise RunError(
            f"{checkpoint} is not the same for rank {', '.join(others)} as for rank 0: put out=... where all machines "
            "see it"
        )
    return checkpoint


def _last_bytes(path: Path) -> bytes:
    """Return the last 32 bytes of a file, which are a checkpoint's digest; empty if the file does not exist."""
    try:
        with path.open("rb") as file:
            file.seek(-min(32, path.stat().st_size), os.SEEK_END)
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
