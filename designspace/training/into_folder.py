"""Training one network into a folder, which in the end is a model folder, in this process or together with others."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from designspace.data.images import ImageData
from designspace.models import AnyNet
from designspace.models.known import Known
from designspace.models.saved import ONNX, TORCH_EXPORT, is_model_folder, model_files
from designspace.support.errors import InputError, RunError
from designspace.support.files import make_folder, write_folder
from designspace.training.best import heldout_result, measured_on, preset_of
from designspace.training.device_data import DeviceData, on_device
from designspace.training.events import EventFile
from designspace.training.failures import Diverged, Interrupted, advice
from designspace.training.loop import OnEpoch, train_part
from designspace.training.start import Start, Which, begin
from designspace.training.stopping import stop_signals
from designspace.training.torchrun import AgreedStop, OtherRankFailed, Ranks, is_lost_connection
from designspace.trials import claims
from designspace.trials.training_folder import Question, TrainingFolder
from designspace.trials.trial import EpochRecord, Recipe, TrialResult


@dataclass(frozen=True, slots=True)
class Training:
    """One network's training: what is asked, and what it needs to begin or to go on."""

    start: Start
    which: Which
    """Whose weights it begins with."""
    question: Question
    images: ImageData
    classes: tuple[str, ...]
    """Names of the classes; empty where they are not known."""


def train_into(
    folder: TrainingFolder,
    training: Training,
    ranks: Ranks,
    device: torch.device,
    provenance: Mapping[str, Any],
    *,
    on_step: Callable[[], None] | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrialResult:
    """Train, keeping the folder up to date, and write the model into it at the end; what is over is not done again.

    It goes on from the folder's checkpoint. While another process is at work on the folder, it waits. All processes of
    a training call this alike, in their main threads; rank 0 alone writes, and has callbacks. After SIGINT or SIGTERM
    to any of them, all end before the next step.

    Args:
        folder: where to write.
        training: what to train.
        ranks: who this process is.
        device: of this process.
        provenance: what is known of the command, noted when the training begins.
        on_step: called before each step.
        on_epoch: called with the history so far, as by `designspace.training.train`.

    Raises:
        InputError: as of `designspace.training.train`; or the folder holds something else, a batch cannot be shared by
            the processes, or the weights do not fit.
        RunError: the loss diverged, memory ran out, weights cannot be had, or the folder cannot be read or written; the
            error says what to do about it.
        Interrupted: the training was told to stop by SIGTERM; the epochs before are in the folder.
        KeyboardInterrupt: the same, by SIGINT.
        OtherRankFailed: another process ended, or says itself what is wrong.
    """
    recipe, seed = training.question.recipe, training.question.seed
    if ranks.rank == 0:
        folder.check(training.question)
        make_folder(folder.path)
    with claims.alone(folder.path) if ranks.rank == 0 else contextlib.nullcontext():

        def before() -> TrialResult | None:
            if ranks.rank:
                return None
            folder.ask(training.question, provenance)
            return _finished(folder, recipe)

        if (result := ranks.gather(ranks.together(before))[0]) is not None:
            return result
        model, source, licence = ranks.together(
            lambda: begin(training.start, training.question.network, training.which, recipe, seed)
        )
        result = _trained(model, folder, training, ranks, device, on_step, on_epoch)
        if ranks.rank == 0:
            known = _known(training, source, licence, result, folder)
            write_folder(folder.path, model_files(model, known), stale=(ONNX, TORCH_EXPORT))
            folder.add_to_log(f"done: final error {result.final_error:.2f}%")
        return result


def _trained(
    model: AnyNet,
    folder: TrainingFolder,
    training: Training,
    ranks: Ranks,
    device: torch.device,
    on_step: Callable[[], None] | None,
    on_epoch: OnEpoch | None,
) -> TrialResult:
    """Train the module in place."""
    recipe, seed, images = training.question.recipe, training.question.seed, training.images
    record = _Record(folder, recipe, images_per_epoch(recipe, images), on_epoch)
    parent = os.getppid()
    with stop_signals() as signals:

        def asked() -> bool:
            if on_step:
                on_step()
            # Processes of torchrun do not end with it.
            return signals.received is not None or (ranks.world > 1 and os.getppid() != parent)

        stop = AgreedStop(ranks, asked)
        try:
            checkpoint = _seen_by_all(folder.checkpoint, ranks)
            record.started(ranks, device)
            part = ranks.together(lambda: _on_device(images, recipe, device))
            result = train_part(
                model,
                recipe,
                part,
                ranks.shard,
                seed=seed,
                checkpoint=checkpoint,
                on_epoch=record.on_epoch if ranks.rank == 0 else None,
                should_stop=stop,
            )
            stop.wait()
            return result
        except Interrupted as interruption:
            if ranks.rank == 0:
                folder.add_to_log(f"stopped {interruption}")
            ranks.part()
            if signals.received == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise
        except Exception as error:
            raise _explained(error, folder, recipe, ranks) from error
        finally:
            record.close()


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


def _finished(folder: TrainingFolder, recipe: Recipe) -> TrialResult | None:
    """What came of a training that is over, with its model in the folder; None before."""
    history = folder.read_history()
    if len(history) < recipe.epochs or not is_model_folder(folder.path):
        return None
    return TrialResult.of_history(history, "")


class _Record:
    """What rank 0 writes after each epoch: first the events, then the line of history.csv that says they are there."""

    def __init__(self, folder: TrainingFolder, recipe: Recipe, images: int, show: OnEpoch | None) -> None:
        self._folder = folder
        self._recipe = recipe
        self._images = images
        self._show = show
        self._events: EventFile | None = None
        self._written: tuple[EpochRecord, ...] = ()

    def started(self, ranks: Ranks, device: torch.device) -> None:
        """Note who begins or goes on."""
        if ranks.rank == 0:
            others = f" and {ranks.world - 1} more processes" if ranks.world > 1 else ""
            self._folder.add_to_log(f"started on {socket.gethostname()}, process {os.getpid()}{others}, {device.type}")

    def on_epoch(self, history: tuple[EpochRecord, ...]) -> None:
        """Write down the epochs that are not yet."""
        if self._events is None:
            self._written = _common(self._folder.read_history(), history)
            self._events = EventFile(self._folder.events, first=len(self._written) + 1)
        for record in history[len(self._written) :]:
            self._events.add(record, self._images)
            self._folder.add_to_log(record.in_words(self._recipe.epochs))
        self._events.flush()
        self._folder.write_history(history)
        self._written = history
        if self._show:
            self._show(history)

    def close(self) -> None:
        """End the events."""
        if self._events is not None:
            self._events.close()


def _common(one: tuple[EpochRecord, ...], other: tuple[EpochRecord, ...]) -> tuple[EpochRecord, ...]:
    """The epochs with which both begin: a damaged checkpoint makes a training begin anew."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return other[:count]


def _seen_by_all(checkpoint: Path, ranks: Ranks) -> Path:
    """The checkpoint, which all processes must see alike to go on from one epoch."""
    found = ranks.gather(_last_bytes(checkpoint))
    if others := [str(rank) for rank, content in enumerate(found) if content != found[0]]:
        if ranks.rank:
            raise OtherRankFailed
        raise RunError(
            f"{checkpoint} is not the same for rank {', '.join(others)} as for rank 0: put out=... where all machines "
            "see it"
        )
    return checkpoint


def _last_bytes(path: Path) -> bytes:
    """The end of a file, where a checkpoint has its digest; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(-min(32, path.stat().st_size), os.SEEK_END)
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def _on_device(images: ImageData, recipe: Recipe, device: torch.device) -> DeviceData:
    """The images on the device of a process."""
    batch = min(recipe.batch_size, trained_images(recipe, images))
    if batch % recipe.devices:
        raise InputError(f"{images.name}: a batch of all {batch} images cannot be shared by {recipe.devices} devices")
    return on_device(images, recipe, device)


def _explained(error: Exception, folder: TrainingFolder, recipe: Recipe, ranks: Ranks) -> Exception:
    """What to raise for what ended a training: with words on what a person can do, where there is something."""
    if isinstance(error, (InputError, RunError, OtherRankFailed)):
        return error
    if is_lost_connection(error) or (isinstance(error, Diverged) and ranks.rank):  # all see the same loss
        return OtherRankFailed()
    where = f"rank {ranks.rank}: " if ranks.rank else ""
    words = advice(error, recipe)
    folder.add_to_log(f"{where}{words or ''.join(traceback.format_exception(error))}")
    return RunError(f"{where}{words}") if words else error


def _known(training: Training, source: str, licence: str, result: TrialResult, folder: TrainingFolder) -> Known:
    """What is known of the trained weights."""
    recipe, images = training.question.recipe, training.images
    how = f"{'fine-tuned' if source else 'trained from scratch'} on {trained_images(recipe, images):,} training images"
    about: Mapping[str, Any] = {
        "result": {
            "final_error": result.final_error,
            "best_error": result.best_error,
            **heldout_result(result),
            "measured_on": measured_on(recipe),
        },
        "training": {
            "seed": training.question.seed,
            "epochs": result.epochs,
            "train_s": result.train_s,
            "device": result.device,
            "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        "recipe": recipe.to_dict(),
        "provenance": [folder.provenance()],
    }
    return Known(
        name=training.start.name,
        preset=preset_of(recipe, images.shape[1], images.mean, images.std),
        origin=f"{how} of {recipe.data}" + (f", from {source}" if source else ""),
        licence=licence,
        classes=training.classes,
        about=about,
    )
