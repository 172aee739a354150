"""Train one network with a full recipe; the result is a model folder."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.provenance import provenance
from designspace.cli.recipes import usable
from designspace.cli.training import lr_note, print_summary, stem_note, training_progress
from designspace.data.of_run import DataSource, data_of
from designspace.networks.layers import NetworkColumns
from designspace.support.errors import InputError
from designspace.support.text import command, counted, duration
from designspace.sweeps.preflight import check_training
from designspace.training import torchrun
from designspace.training.failures import Interrupted
from designspace.training.into_folder import Training, train_into
from designspace.training.start import choose, fitted
from designspace.training.torchrun import OtherRankFailed
from designspace.training.verification import choose_device
from designspace.trials.folder import RunFolder
from designspace.trials.training_folder import Question, TrainingFolder
from designspace.trials.trial import Recipe


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Train here, as one of torchrun's processes, or start as many of them as the recipe has devices."""
    ranks = torchrun.of_environment(os.environ)
    recipe = Recipe.from_dict({**config["recipe"], "data": config["data"]["name"] or ""})
    devices = _on_ranks(recipe, typed).devices  # what is wrong with it must be known before others are waited for
    if config["dry_run"]:
        if ranks is None and devices > 1:
            torchrun.check_devices(devices, config["device"])
        _plan(config, typed, show=True)
        return
    if ranks is None and devices > 1:
        _plan(config, typed, show=False)  # what is wrong is better said once
        torchrun.check_devices(devices, config["device"])
        raise SystemExit(torchrun.start(devices, "designspace.train", typed))
    try:
        _train(config, typed)
    except OtherRankFailed:
        raise SystemExit(1) from None
    except (Interrupted, KeyboardInterrupt) as end:
        if ranks is None or ranks.rank == 0:
            sys.stderr.write("\nstopped; the same command goes on from here\n")
        number = signal.SIGINT if isinstance(end, KeyboardInterrupt) else signal.SIGTERM
        raise SystemExit(128 + number) from None


def _train(config: app.Config, typed: Sequence[str]) -> None:
    """Train, alone or with others, and say what came of it."""
    with torchrun.joined(config["device"]) as (ranks, device):
        folder, training = ranks.together(lambda: _plan(config, typed, show=ranks.rank == 0))
        recipe = training.question.recipe
        with training_progress(recipe, training.images, silent=ranks.rank > 0) as (on_step, on_epoch):
            origin = provenance("train", typed)
            result = train_into(folder, training, ranks, device, origin, on_step=on_step, on_epoch=on_epoch)
    if ranks.rank == 0:
        heldout = "" if result.heldout_error is None else f", held-out error {result.heldout_error:.2f}%"
        epochs = f"{counted(result.epochs, 'epoch')} in {duration(result.train_s)}"
        print(f"error {result.final_error:.2f}%{heldout}; {epochs}")
        print(f"the model is in {folder.path}: {command('verify', model=folder.path, data=recipe.data)}")


def _plan(config: app.Config, typed: Sequence[str], *, show: bool) -> tuple[TrainingFolder, Training]:
    """Find what was asked for, check that it goes together, and show it if that is wanted."""
    model, found = (None if config[key] is None else str(config[key]) for key in ("model", "run"))
    start = choose(model, None if found is None else Path(found), config["rank"], config["id"])
    source = _source(config, typed)
    given = Recipe.from_dict({**config["recipe"], "data": source.name})
    recipe, images_note = usable(_on_ranks(given, typed), source, typed)
    shape = data.shape(recipe.data, source.root)
    network = fitted(start.network, shape.channels, shape.num_classes, config["stem"])
    check_training(recipe, NetworkColumns.of(network), source.root)
    recipe.check_device(torchrun.device_kind(config["device"]))
    images = data.load(recipe.data, source.root, recipe.train_images, recipe.test_images)
    question = Question(network, recipe, config["seed"], start.weights_in_words(config["weights"]))
    folder = TrainingFolder(Path(config["out"] or f"runs/{start.name}-{recipe.data}".replace(" ", "-")))
    folder.check(question)
    if show:
        name = app.chosen("train", "recipe", typed)
        print_summary(start.name, question, images, name, choose_device(config["device"]), folder.path)
        usual = app.compose("train", [f"recipe={name}"])["recipe"]["batch_size"]
        notes = (
            images_note,
            stem_note(network, recipe.crop_size or shape.size, is_typed=app.is_typed("stem", typed)),
            lr_note(recipe, usual, name, lr_typed=app.is_typed("recipe.lr", typed)),
        )
        for note in filter(None, notes):
            print(note)
    return folder, Training(start, config["weights"], question, images, data.facts(recipe.data, source.root).classes)


def _source(config: app.Config, typed: Sequence[str]) -> DataSource:
    """The data set that was typed, or that of the run that the network is from, or the default."""
    name, root = config["data"]["name"], config["data"]["root"]
    typed_root = Path(root).expanduser() if root else None
    if config["run"] is not None:
        is_named = name is None or any(app.is_typed(key, typed) for key in ("data", "data.name"))
        return data_of(RunFolder(Path(str(config["run"]))), name if is_named else None, typed_root)
    return DataSource(name, typed_root or data.default_root())


def _on_ranks(recipe: Recipe, typed: Sequence[str]) -> Recipe:
    """The recipe on as many devices as torchrun has started processes."""
    if recipe.trainer is not None:
        raise InputError("recipe.trainer is for launch: train has a training function of its own")
    ranks = torchrun.of_environment(os.environ)
    if ranks is None or recipe.devices == ranks.world:
        return recipe
    if app.is_typed("recipe.devices", typed):
        raise InputError(f"recipe.devices={recipe.devices}, but torchrun started {ranks.world} processes; leave it out")
    return dataclasses.replace(recipe, devices=ranks.world)


if __name__ == "__main__":
    app.main("train", run)
