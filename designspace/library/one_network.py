"""The training of one network: its initial weights, the records of its epochs, and the resulting model folder."""

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
from designspace.training.checkpoint import fingerprint_of, trained_weights
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
    """The training of one network into a folder, which becomes a model folder at the end."""

    run: TrainingFolder
    start: Start
    weight_source: WeightSource
    """Source of the initial weights."""
    images: ImageData
    classes: tuple[str, ...]
    """Names of the classes; empty if they are not known."""

    @property
    def trial(self) -> Trial:
        """The trial of the training: network, recipe and seed."""
        return self.run.only_trial

    @staticmethod
    def of(run: TrainingFolder, root: Path) -> OneTraining:
        """Read a training from its folder, and its images from the folder of all data sets.

        Raises:
            InputError, RunError: the folder is damaged, or the data set or weights that it names are not available.
        """
        recipe = run.only_trial.recipe
        start, weight_source = Start.from_dict(run.start(), run.only_trial.network)
        images = data.load(recipe.data, root, recipe.train_images, recipe.test_images)
        return OneTraining(run, start, weight_source, images, data.facts(recipe.data, root).classes)

    def initial_model(self) -> InitialModel:
        """Build the module with its initial weights (see `build_initial_model`)."""
        trial = self.trial
        return build_initial_model(self.start, trial.network, self.weight_source, trial.recipe, trial.seed)

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
        """Train, keep the folder up to date, write the model into it, and return the result.

        Args:
            initial: the result of `initial_model`.
            ranks: this process's rank. Only rank 0 writes the folder; the others call `take_part`.
            device: device of this process; a recipe for several devices uses devices of the same kind.
            on_step: called before each step, or shortly after its start if other processes train.
            on_epoch: called with the history so far after each epoch.
            should_stop: called before each step, or about ten times per second while other processes train.

        Raises:
            Interrupted, ClaimLost, RunError: see `train_into`.
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
        """Train as a rank other than 0.

        Raises:
            OtherRankFailed: another process exited, or reports the error itself.
            Exception: any other error of the training.
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
        """Train on one device, as one of several ranks, or on several devices with newly started ranks."""
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
                initial_weights=initial.model.state_dict() if initial.source else None,
                on_step=on_step,
            )

        def report_step_and_check() -> bool:
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
                should_stop=report_step_and_check,
            )
        except Exception as error:
            if is_lost_connection(error):
                raise OtherRankFailed from error
            raise

    def _write_model(self, initial: InitialModel, result: TrialResult) -> None:
        """Write the trained model into the folder."""
        trial, folder = self.trial, self.run.trial_folder
        fingerprint = fingerprint_of(trial.id, trial.recipe, trial.seed)
        model = AnyNet(trial.network)
        fill_model(model, trained_weights(folder.checkpoint, fingerprint, result.epochs), folder.checkpoint)
        files = model_files(model, self._info(initial, result))
        write_folder(folder.path, files, stale=(ONNX, TORCH_EXPORT))

    def _info(self, initial: InitialModel, result: TrialResult) -> ModelInfo:
        """Return the description of the trained weights."""
        recipe, images = self.trial.recipe, self.images
        method = "fine-tuned" if initial.source else "trained from scratch"
        origin = f"{method} on {trained_images(recipe, images):,} training images of {recipe.data}"
        return trained_info(
            self.start.name,
            recipe,
            result,
            seed=self.trial.seed,
            ended=time.time(),
            images=ImageFacts(images.shape[1], images.mean, images.std, self.classes, images.dtype),
            origin=origin + (f", from {initial.source}" if initial.source else ""),
            licence=initial.licence,
            provenance=[self.run.provenance()],
            metric=self.run.plan().metric,
        )


def trained_images(recipe: Recipe, images: ImageData) -> int:
    """Return the number of images on which a recipe trains: all training images that are not held out.

    Raises:
        InputError: there are none.
    """
    available = recipe.train_images or len(images.train_images)
    if recipe.heldout_images >= available:
        raise InputError(f"recipe: heldout_images {recipe.heldout_images} leaves none of {available} training images")
    return available - recipe.heldout_images


def images_per_epoch(recipe: Recipe, images: ImageData) -> int:
    """Return the number of images per epoch, without those that do not fill a last batch."""
    return steps_per_epoch(recipe, images) * min(recipe.batch_size, trained_images(recipe, images))


def steps_per_epoch(recipe: Recipe, images: ImageData) -> int:
    """Return the number of steps per epoch: full batches, or one batch of all images if they do not fill one."""
    return max(1, trained_images(recipe, images) // recipe.batch_size)


class _EpochWriter:
    """Writes each epoch's events, and then the row of history.csv that records that they are written."""

    def __init__(self, folder: TrainingFolder, images: int) -> None:
        self._folder = folder
        self._images = images
        self._events: EventFile | None = None
        self._written: tuple[EpochRecord, ...] = ()

    def add(self, history: tuple[EpochRecord, ...]) -> None:
        """Write the epochs that are not written yet."""
        if self._events is None:
            self._written = common_beginning(self._folder.read_table(), history)
            self._events = EventFile(self._folder.events, first=len(self._written) + 1)
        for record in history[len(self._written) :]:
            self._events.add(record, self._images)
        self._events.flush()
        self._folder.write_table(history)
        self._written = history

    def close(self) -> None:
        """Close the file of events."""
        if self._events is not None:
            self._events.close()


def _check_same_checkpoint(checkpoint: Path, ranks: Ranks) -> Path:
    """Return the checkpoint; raise an error unless all processes see the same file, from which they resume."""
    digests = ranks.gather(_last_bytes(checkpoint))
    if others := [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]:
        if ranks.rank:
            raise OtherRankFailed
        raise RunError(
            f"{checkpoint} is not the same for rank {', '.join(others)} as for rank 0: choose out=... in a folder that "
            "all machines share"
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
