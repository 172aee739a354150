"""Train one network with a full recipe, and write a model folder."""

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
from designspace.cli.recipes import TrainingOptions, with_available_images
from designspace.cli.training import lr_note, print_summary, stem_note, training_progress
from designspace.data.data_source import DataSource, data_of
from designspace.launch import train as submit
from designspace.library.one_network import OneTraining
from designspace.library.start import choose, fit_to_images
from designspace.networks.columns import NetworkColumns
from designspace.support.errors import InputError
from designspace.support.text import command, counted, duration
from designspace.sweeps.in_process import train_in_process
from designspace.sweeps.launch import Launcher
from designspace.sweeps.objective import check_same_metric, is_usual, settle_metric
from designspace.sweeps.preflight import check_training
from designspace.training import ranks as torchrun
from designspace.training.devices import check_devices, choose_device, device_kind
from designspace.training.failures import Interrupted
from designspace.training.ranks import OtherRankFailed
from designspace.trials.folder import RunFolder
from designspace.trials.metric import Metric
from designspace.trials.recipe import Recipe
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import Trial, TrialResult


@dataclass(frozen=True, slots=True)
class _Setup:
    """A training that was checked, with its launcher and device."""

    training: OneTraining
    launcher: Launcher
    device: str | None
    metric: Metric | None
    """What the network is measured by; None for the default metric."""


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Keys of configs/train.yaml, which describes them."""

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
        """The device given as ``device=`` or ``launcher.device=``; None to choose automatically."""
        of_launcher = None if self.launcher.device == "auto" else self.launcher.device
        return of_launcher if self.device is None else self.device


def run(options: Options) -> None:
    """Train in this process, as one of torchrun's processes, or on SLURM, and print the result."""
    ranks = torchrun.from_environment(os.environ)
    recipe = Recipe.from_dict({**options.recipe, "data": options.data.name or ""})
    devices = _on_ranks(recipe, options).devices  # raises errors before this process waits for others
    if options.dry_run or options.launcher.name == "slurm":
        setup = _setup(options, show=True)
        if setup.launcher.slurm is not None:
            _on_slurm(setup, options)
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
    """Train in this process, alone or together with others, and print the result."""
    with torchrun.joined(options.any_device, devices) as (ranks, device):
        setup = ranks.together(lambda: _setup(options, show=ranks.rank == 0))
        training = setup.training
        ranks.together(lambda: None if ranks.rank else _record_trial(setup, options))
        metric = training.run.metric()
        progress = training_progress(training.trial.recipe, training.images, metric, silent=ranks.rank > 0)
        with progress as (on_step, on_epoch):
            retry_policy, about = setup.launcher.retry_policy, setup.launcher.about
            result = train_in_process(training, ranks, device, retry_policy, about, on_step=on_step, on_epoch=on_epoch)
    if ranks.rank == 0:
        _print_result(training, result)


def _on_slurm(setup: _Setup, options: Options) -> None:
    """Submit the training, or only print how it would be submitted; with ``wait``, wait until it ends."""
    training, folder = setup.training, setup.training.run
    if torchrun.from_environment(os.environ) is not None:
        raise InputError("launcher=slurm starts array tasks, but torchrun started this process; use only one of them")
    if training.weight_source:
        training.initial_model()  # weights are downloaded here, because compute nodes may not have network access
    if options.dry_run:
        submission = setup.launcher.submit(folder, folder.plan(), dry_run=True)
        print(f"{submission.describe()}; nothing was submitted")
        if submission.script:
            print(f"batch script of the array:\n\n{submission.script}")
        return
    _record_trial(setup, options)
    folder.note_start(training.start.to_dict(training.weight_source))
    submit({folder: folder.plan()}, setup.launcher, wait=options.wait)
    if result := folder.trial_folder.state().result:
        _print_result(training, result)


def _record_trial(setup: _Setup, options: Options) -> None:
    """Record the trial in its folder."""
    training = setup.training
    start = training.start.to_dict(training.weight_source)
    training.run.record(training.trial, start, options.provenance(), setup.metric)


def _print_result(training: OneTraining, result: TrialResult) -> None:
    """Print the result of a training."""
    metric = training.run.metric()
    heldout = ""
    if result.heldout_error is not None:
        heldout = f", held-out {metric.name} {metric.text(result.heldout_error)}"
    epochs = f"{counted(result.epochs, 'epoch')} in {duration(result.train_s)}"
    print(f"{metric.name} {metric.text(result.final_error)}{heldout}; {epochs}")
    verify = command("verify", model=training.run.path, data=training.trial.recipe.data)
    print(f"the model is in {training.run.path}; to verify it: {verify}")


def _setup(options: Options, *, show: bool) -> _Setup:
    """Resolve the options, check that they fit together, and print a summary if ``show`` is true."""
    start = choose(options.model, options.run, options.rank, options.id)
    source = _source(options)
    full_recipe = Recipe.from_dict({**options.recipe, "data": source.name})
    recipe, images_note = with_available_images(_on_ranks(full_recipe, options), source, options)
    shape = data.shape(recipe.data, source.root)
    network = fit_to_images(start.network, shape.channels, shape.num_classes, options.stem)
    check_training(recipe, NetworkColumns.of(network), source.root)
    launcher, device = _launcher(options, recipe, source.root), options.any_device
    if launcher.slurm is not None:
        device_text: object = f"{launcher.slurm_workers(recipe)[0]}, on SLURM"
    else:
        recipe.check_device(device_kind(device))
        device_text = choose_device(device) if recipe.devices == 1 else device_kind(device)
        if recipe.devices > 1 and torchrun.from_environment(os.environ) is None:
            check_devices(recipe.devices, device)
    images = data.load(recipe.data, source.root, recipe.train_images, recipe.test_images)
    metric = None if is_usual(recipe) else settle_metric(recipe, images)
    trial = Trial(network, recipe, options.seed, start.describe_weights(options.weights))
    path = options.out or Path(f"runs/{start.name}-{recipe.data}".replace(" ", "-"))
    folder = TrainingFolder(path)
    folder.check(trial)
    if folder.exists():
        check_same_metric(path, folder.plan(), metric)
    if show:
        name = options.chosen("recipe")
        print_summary(start.name, trial, images, name, device_text, path)
        default_batch = options.choice_values("recipe")["batch_size"]
        notes = (
            images_note,
            stem_note(network, recipe.crop_size or shape.size, is_given=options.is_given("stem")),
            lr_note(recipe, default_batch, name, is_lr_given=options.is_given("recipe.lr")),
        )
        for note in filter(None, notes):
            print(note)
    classes = data.facts(recipe.data, source.root).classes
    training = OneTraining(TrainingFolder(path, trial), start, options.weights, images, classes)
    return _Setup(training, launcher, device, metric)


def _launcher(options: Options, recipe: Recipe, root: Path) -> Launcher:
    """Return the launcher for one worker on the devices of the recipe."""
    launcher = options.launcher
    if launcher.workers not in (None, 1) or launcher.workers_per_gpu != 1:
        raise InputError(
            "one network is trained by one worker; leave out launcher.workers and launcher.workers_per_gpu"
        )
    if launcher.gpus_per_trial not in (None, recipe.devices):
        raise InputError(
            f"launcher.gpus_per_trial={launcher.gpus_per_trial} is for designspace.launch; use recipe.devices instead"
        )
    # A local training may use devices that launchers do not accept, such as cuda:1.
    device = options.any_device if launcher.name == "slurm" else None
    return launcher.make(options, root, device=device or "auto")


def _source(options: Options) -> DataSource:
    """Return the given data set, else that of the network's run, else the default."""
    if options.run is not None:
        name = options.data.name if options.is_given("data", "data.name") else None
        return data_of(RunFolder(options.run), name, options.data.root)
    return DataSource(options.data.known_name, options.data.root or data.default_root())


def _on_ranks(recipe: Recipe, options: Options) -> Recipe:
    """Return the recipe with one device per process that torchrun has started."""
    if recipe.trainer is not None:
        raise InputError("recipe.trainer works only with designspace.launch; train has its own training function")
    ranks = torchrun.from_environment(os.environ)
    if ranks is None or recipe.devices == ranks.world:
        return recipe
    if options.is_given("recipe.devices"):
        raise InputError(f"recipe.devices={recipe.devices}, but torchrun started {ranks.world} processes; leave it out")
    return dataclasses.replace(recipe, devices=ranks.world)


if __name__ == "__main__":
    app.main("train", run)
