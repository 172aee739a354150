"""Train one network with a full recipe; the result is a model folder."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.options import Count
from designspace.cli.recipes import TrainingOptions, usable
from designspace.cli.training import lr_note, print_summary, stem_note, training_progress
from designspace.data.data_source import DataSource, data_of
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
from designspace.trials.recipe import Recipe
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import Trial, TrialResult


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for."""

    training: OneTraining
    launcher: Launcher
    device: str | None


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Keys of configs/train.yaml, which says what they mean."""

    model: str | None
    run: Path | None
    rank: Count | None
    id: str | None
    stem: str | None
    weights: str | bool | None
    out: Path | None
    device: str | None
    wait: bool
    dry_run: bool

    @property
    def any_device(self) -> str | None:
        """The device that was typed, as ``device=`` or ``launcher.device=``; None for whichever there is."""
        of_launcher = None if self.launcher.device == "auto" else self.launcher.device
        return of_launcher if self.device is None else self.device


def run(options: Options) -> None:
    """Train here, alone or as one of torchrun's processes, or on SLURM, and say what came of it."""
    ranks = torchrun.from_environment(os.environ)
    recipe = Recipe.from_dict({**options.recipe, "data": options.data.name or ""})
    devices = _on_ranks(recipe, options).devices  # what is wrong with it must be known before others are waited for
    if options.dry_run or options.launcher.name == "slurm":
        plan = _plan(options, show=True)
        if plan.launcher.slurm is not None:
            _on_slurm(plan, options)
        return
    try:
        _train(options, devices)
    except OtherRankFailed:
        raise SystemExit(1) from None
    except (Interrupted, KeyboardInterrupt) as end:
        if ranks is None or ranks.rank == 0:
            sys.stderr.write("\nstopped; run the same command again to resume\n")
        number = signal.SIGINT if isinstance(end, KeyboardInterrupt) else signal.SIGTERM
        raise SystemExit(128 + number) from None


def _train(options: Options, devices: int) -> None:
    """Train in this process, alone or with others, and say what came of it."""
    with torchrun.joined(options.any_device, devices) as (ranks, device):
        plan = ranks.together(lambda: _plan(options, show=ranks.rank == 0))
        training = plan.training
        ranks.together(lambda: None if ranks.rank else _ask(training, options))
        with training_progress(training.trial.recipe, training.images, silent=ranks.rank > 0) as (on_step, on_epoch):
            effort, about = plan.launcher.effort, plan.launcher.about
            result = train_here(training, ranks, device, effort, about, on_step=on_step, on_epoch=on_epoch)
    if ranks.rank == 0:
        _say(training, result)


def _on_slurm(plan: _Plan, options: Options) -> None:
    """Submit the training, or say how it would be submitted; with ``wait``, follow it to its end."""
    training, folder = plan.training, plan.training.run
    if torchrun.from_environment(os.environ) is not None:
        raise InputError("launcher=slurm starts array tasks, and torchrun started this process: leave one of them out")
    if training.which:
        training.begin()  # nodes may have no network: what must be fetched is fetched here
    if options.dry_run:
        made = plan.launcher.submit(folder, folder.plan(), dry_run=True)
        print(f"{made.in_words()}; nothing was submitted")
        if made.script:
            print(f"the script of the array:\n\n{made.script}")
        return
    _ask(training, options)
    folder.note_start(training.start.to_dict(training.which))
    submit({folder: folder.plan()}, plan.launcher, wait=options.wait)
    if result := folder.trial_folder.state().result:
        _say(training, result)


def _ask(training: OneTraining, options: Options) -> None:
    """Note in the folder what is trained."""
    start = training.start.to_dict(training.which)
    training.run.ask(training.trial, start, options.provenance())


def _say(training: OneTraining, result: TrialResult) -> None:
    """Say what came of a training."""
    heldout = "" if result.heldout_error is None else f", held-out error {result.heldout_error:.2f}%"
    epochs = f"{counted(result.epochs, 'epoch')} in {duration(result.train_s)}"
    print(f"error {result.final_error:.2f}%{heldout}; {epochs}")
    verify = command("verify", model=training.run.path, data=training.trial.recipe.data)
    print(f"the model is in {training.run.path}: {verify}")


def _plan(options: Options, *, show: bool) -> _Plan:
    """Find what was asked for, check that it goes together, and show it if that is wanted."""
    start = choose(options.model, options.run, options.rank, options.id)
    source = _source(options)
    given = Recipe.from_dict({**options.recipe, "data": source.name})
    recipe, images_note = usable(_on_ranks(given, options), source, options)
    shape = data.shape(recipe.data, source.root)
    network = fitted(start.network, shape.channels, shape.num_classes, options.stem)
    check_training(recipe, NetworkColumns.of(network), source.root)
    launcher, device = _launcher(options, recipe, source.root), options.any_device
    if launcher.slurm is not None:
        where: object = f"{launcher.on_slurm(recipe)[0]}, on SLURM"
    else:
        recipe.check_device(device_kind(device))
        where = choose_device(device) if recipe.devices == 1 else device_kind(device)
        if recipe.devices > 1 and torchrun.from_environment(os.environ) is None:
            check_devices(recipe.devices, device)
    images = data.load(recipe.data, source.root, recipe.train_images, recipe.test_images)
    trial = Trial(network, recipe, options.seed, start.weights_in_words(options.weights))
    path = options.out or Path(f"runs/{start.name}-{recipe.data}".replace(" ", "-"))
    TrainingFolder(path).check(trial)
    if show:
        name = options.chosen("recipe")
        print_summary(start.name, trial, images, name, where, path)
        usual = options.as_chosen("recipe")["batch_size"]
        notes = (
            images_note,
            stem_note(network, recipe.crop_size or shape.size, is_typed=options.is_typed("stem")),
            lr_note(recipe, usual, name, lr_typed=options.is_typed("recipe.lr")),
        )
        for note in filter(None, notes):
            print(note)
    classes = data.facts(recipe.data, source.root).classes
    return _Plan(OneTraining(TrainingFolder(path, trial), start, options.weights, images, classes), launcher, device)


def _launcher(options: Options, recipe: Recipe, root: Path) -> Launcher:
    """How the training is launched: as one worker, on the devices of the recipe."""
    launcher = options.launcher
    if launcher.workers not in (None, 1) or launcher.workers_per_gpu != 1:
        raise InputError(
            "one network is trained by one worker: leave out launcher.workers and launcher.workers_per_gpu"
        )
    if launcher.gpus_per_trial not in (None, recipe.devices):
        raise InputError(f"launcher.gpus_per_trial={launcher.gpus_per_trial}: type recipe.devices instead")
    device = options.any_device if launcher.name == "slurm" else None  # a worker's; here it may be any of torch's
    return launcher.make(options, root, device=device or "auto")


def _source(options: Options) -> DataSource:
    """The data set that was typed, or that of the run that the network is from, or the default."""
    if options.run is not None:
        name = options.data.name if options.is_typed("data", "data.name") else None
        return data_of(RunFolder(options.run), name, options.data.root)
    return DataSource(options.data.known_name, options.data.root or data.default_root())


def _on_ranks(recipe: Recipe, options: Options) -> Recipe:
    """The recipe on as many devices as torchrun has started processes."""
    if recipe.trainer is not None:
        raise InputError("recipe.trainer is for launch: train has a training function of its own")
    ranks = torchrun.from_environment(os.environ)
    if ranks is None or recipe.devices == ranks.world:
        return recipe
    if options.is_typed("recipe.devices"):
        raise InputError(f"recipe.devices={recipe.devices}, but torchrun started {ranks.world} processes; leave it out")
    return dataclasses.replace(recipe, devices=ranks.world)


if __name__ == "__main__":
    app.main("train", run)
