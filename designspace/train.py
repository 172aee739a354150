"""Train one network with a full recipe; the result is a model folder."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.provenance import provenance
from designspace.cli.recipes import usable
from designspace.cli.training import lr_note, print_summary, stem_note, training_progress
from designspace.data.of_run import DataSource, data_of
from designspace.launch import train as submit
from designspace.library.one_network import OneTraining
from designspace.library.start import choose, fitted
from designspace.networks.layers import NetworkColumns
from designspace.support.errors import InputError
from designspace.support.text import command, counted, duration
from designspace.sweeps.here import train_here
from designspace.sweeps.launch import Launcher
from designspace.sweeps.preflight import check_training
from designspace.training import ranks as torchrun
from designspace.training.devices import check_devices, choose_device, device_kind
from designspace.training.failures import Interrupted
from designspace.training.ranks import OtherRankFailed
from designspace.trials.folder import RunFolder
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import Recipe, Trial, TrialResult


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for."""

    training: OneTraining
    launcher: Launcher
    device: str | None


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Train here, alone or as one of torchrun's processes, or on SLURM, and say what came of it."""
    ranks = torchrun.of_environment(os.environ)
    recipe = Recipe.from_dict({**config["recipe"], "data": config["data"]["name"] or ""})
    devices = _on_ranks(recipe, typed).devices  # what is wrong with it must be known before others are waited for
    if config["dry_run"] or config["launcher"]["name"] == "slurm":
        plan = _plan(config, typed, show=True)
        if plan.launcher.slurm is not None:
            _on_slurm(plan, config, typed)
        return
    try:
        _train(config, devices, typed)
    except OtherRankFailed:
        raise SystemExit(1) from None
    except (Interrupted, KeyboardInterrupt) as end:
        if ranks is None or ranks.rank == 0:
            sys.stderr.write("\nstopped; the same command goes on from here\n")
        number = signal.SIGINT if isinstance(end, KeyboardInterrupt) else signal.SIGTERM
        raise SystemExit(128 + number) from None


def _train(config: app.Config, devices: int, typed: Sequence[str]) -> None:
    """Train in this process, alone or with others, and say what came of it."""
    with torchrun.joined(_device(config), devices) as (ranks, device):
        plan = ranks.together(lambda: _plan(config, typed, show=ranks.rank == 0))
        training = plan.training
        ranks.together(lambda: None if ranks.rank else _ask(training, typed))
        with training_progress(training.trial.recipe, training.images, silent=ranks.rank > 0) as (on_step, on_epoch):
            effort, about = plan.launcher.effort, plan.launcher.about
            result = train_here(training, ranks, device, effort, about, on_step=on_step, on_epoch=on_epoch)
    if ranks.rank == 0:
        _say(training, result)


def _on_slurm(plan: _Plan, config: app.Config, typed: Sequence[str]) -> None:
    """Submit the training, or say how it would be submitted; with ``wait``, follow it to its end."""
    training, folder = plan.training, plan.training.folder
    if torchrun.of_environment(os.environ) is not None:
        raise InputError("launcher=slurm starts array tasks, and torchrun started this process: leave one of them out")
    if training.which:
        training.begin()  # nodes may have no network: what must be fetched is fetched here
    if config["dry_run"]:
        made = plan.launcher.submit(folder, folder.plan(), dry_run=True)
        print(f"{made.in_words()}; nothing was submitted")
        if made.script:
            print(f"the script of the array:\n\n{made.script}")
        return
    _ask(training, typed)
    folder.note_start(training.start.to_dict(training.which))
    submit({folder: folder.plan()}, plan.launcher, wait=config["wait"])
    if result := folder.folder.state().result:
        _say(training, result)


def _ask(training: OneTraining, typed: Sequence[str]) -> None:
    """Note in the folder what is trained."""
    start = training.start.to_dict(training.which)
    training.folder.ask(training.trial, start, provenance("train", typed))


def _say(training: OneTraining, result: TrialResult) -> None:
    """Say what came of a training."""
    heldout = "" if result.heldout_error is None else f", held-out error {result.heldout_error:.2f}%"
    epochs = f"{counted(result.epochs, 'epoch')} in {duration(result.train_s)}"
    print(f"error {result.final_error:.2f}%{heldout}; {epochs}")
    verify = command("verify", model=training.folder.path, data=training.trial.recipe.data)
    print(f"the model is in {training.folder.path}: {verify}")


def _plan(config: app.Config, typed: Sequence[str], *, show: bool) -> _Plan:
    """Find what was asked for, check that it goes together, and show it if that is wanted."""
    model, run_path = (None if config[key] is None else str(config[key]) for key in ("model", "run"))
    start = choose(model, None if run_path is None else Path(run_path), config["rank"], config["id"])
    source = _source(config, typed)
    given = Recipe.from_dict({**config["recipe"], "data": source.name})
    recipe, images_note = usable(_on_ranks(given, typed), source, typed)
    shape = data.shape(recipe.data, source.root)
    network = fitted(start.network, shape.channels, shape.num_classes, config["stem"])
    check_training(recipe, NetworkColumns.of(network), source.root)
    launcher, device = _launcher(config, recipe, source.root, typed), _device(config)
    if launcher.slurm is not None:
        where: object = f"{launcher.on_slurm(recipe)[0]}, on SLURM"
    else:
        recipe.check_device(device_kind(device))
        where = choose_device(device) if recipe.devices == 1 else device_kind(device)
        if recipe.devices > 1 and torchrun.of_environment(os.environ) is None:
            check_devices(recipe.devices, device)
    images = data.load(recipe.data, source.root, recipe.train_images, recipe.test_images)
    trial = Trial(network, recipe, config["seed"], start.weights_in_words(config["weights"]))
    path = Path(config["out"] or f"runs/{start.name}-{recipe.data}".replace(" ", "-"))
    TrainingFolder(path).check(trial)
    if show:
        name = app.chosen("train", "recipe", typed)
        print_summary(start.name, trial, images, name, where, path)
        usual = app.compose("train", [f"recipe={name}"])["recipe"]["batch_size"]
        notes = (
            images_note,
            stem_note(network, recipe.crop_size or shape.size, is_typed=app.is_typed("stem", typed)),
            lr_note(recipe, usual, name, lr_typed=app.is_typed("recipe.lr", typed)),
        )
        for note in filter(None, notes):
            print(note)
    classes = data.facts(recipe.data, source.root).classes
    return _Plan(OneTraining(TrainingFolder(path, trial), start, config["weights"], images, classes), launcher, device)


def _launcher(config: app.Config, recipe: Recipe, root: Path, typed: Sequence[str]) -> Launcher:
    """How the training is launched: as one worker, on the devices of the recipe."""
    fields = dict(config["launcher"])
    if fields["workers"] not in (None, 1) or fields["workers_per_gpu"] != 1:
        raise InputError(
            "one network is trained by one worker: leave out launcher.workers and launcher.workers_per_gpu"
        )
    if fields["gpus_per_trial"] not in (None, recipe.devices):
        raise InputError(f"launcher.gpus_per_trial={fields['gpus_per_trial']}: type recipe.devices instead")
    if fields["name"] == "slurm":
        fields["device"] = _device(config) or "auto"
    else:
        fields["device"] = "auto"  # a worker's; here it may be any of torch's
    return Launcher.from_dict(fields, root, provenance("train", typed))


def _device(config: app.Config) -> str | None:
    """The device that was typed, as ``device=`` or ``launcher.device=``; None for whichever there is."""
    of_launcher: str = config["launcher"]["device"]
    device: str | None = config["device"]
    return device if device is not None or of_launcher == "auto" else of_launcher


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
