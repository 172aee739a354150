"""The networks of a run as trained modules, the best one first."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch

from designspace import data
from designspace.data.presets import Preset
from designspace.models import AnyNet
from designspace.models.known import OWN_LICENCE, Known
from designspace.models.saved import fill, is_model_folder, read_model
from designspace.networks.network import Network
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.text import command
from designspace.training.checkpoint import question_of, trained_weights
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe, TrialResult
from designspace.trials.trial_folder import TrialState, best_first, check_none_edited

log = logging.getLogger(__name__)


def load(
    path: str | Path, *, rank: int | None = None, id: str | None = None, device: str | torch.device = "cpu"
) -> AnyNet:
    """Load a trained network: one of a run's, or a folder that ``designspace.export`` wrote.

    Images (N, C, H, W) must be prepared as the module's attribute ``weights.preset`` says; ``weights`` also tells its
    error, recipe and origin (see `designspace.models.known.Known`).

    Args:
        path: a run folder or a model folder.
        rank: the network with the least error is 1, which is the default: the error on held-out images where the
            recipe has some, so that the test images choose nothing, else the final one. For run folders only.
        id: the network of this id, in the place of a rank. For run folders only.
        device: where the module is to be.

    Returns:
        The module, in evaluation mode.

    Raises:
        InputError: there is nothing to load, no such rank or id, or its trial is not done; the error says what there
            is.
        RunError: a file is missing or damaged.
    """
    path = Path(path)
    if is_model_folder(path):
        if rank is not None or id is not None:
            raise InputError(f"{path} holds one model: neither rank nor id can be chosen")
        model = read_model(path)
    elif RunFolder(path).exists():
        model = _of_run(RunFolder(path), rank, id)
    else:
        raise InputError(
            f"{path} is neither a run folder (of designspace.sample) nor a model folder (of designspace.export)"
        )
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error


def find(run: RunFolder, rank: int | None = None, id_: str | None = None) -> tuple[str, Network, Path, str]:
    """Find one of a run's networks, without its weights: its name, itself, the run's folder, its id.

    Args:
        run: an existing run.
        rank: as for `load`.
        id_: in the place of a rank; its trial need not be done, or begun.

    Raises:
        InputError: there is no such rank or id.
        RunError: a file is missing or damaged.
    """
    population = run.population()
    if id_ is None or rank is not None or id_ not in population.ids:
        id_ = _chosen(run, run.states(population.ids), rank, id_).id
    return f"{population.space.name} {id_}", population[population.ids.index(id_)], run.path, id_


def _of_run(run: RunFolder, rank: int | None, id_: str | None) -> AnyNet:
    """The module of one of a run's networks."""
    population, plan = run.population(), run.plan()
    states = run.states(population.ids)
    chosen = _chosen(run, states, rank, id_)
    if plan is None or chosen.result is None:
        raise RunError(f"{run.path} has results but no recipe.yaml")
    recipe, seed = plan
    model = AnyNet(population[population.ids.index(chosen.id)])
    fill(model, _weights(run, chosen.id, chosen.result, recipe, seed), run.trial(chosen.id).checkpoint)
    about = {
        "result": {
            "final_error": chosen.result.final_error,
            "best_error": chosen.result.best_error,
            **heldout_result(chosen.result),
            "measured_on": measured_on(recipe),
        },
        "selection": {"run": run.name, "space": population.space.name, **_selection(states, chosen)},
        "training": {
            "seed": seed,
            "epochs": chosen.result.epochs,
            "train_s": chosen.result.train_s,
            "device": chosen.result.device,
            "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(chosen.ended)),
        },
        "recipe": recipe.to_dict(),
        "provenance": _provenance(run),
    }
    model.weights = _known(f"{population.space.name} {chosen.id}", recipe, about, _data_root(run))
    return model.eval()


def _selection(states: list[TrialState], chosen: TrialState) -> dict[str, int]:
    """Among how many a network was chosen, and how many were no choice."""
    done = best_first(states)
    return {
        "rank": done.index(chosen) + 1,
        "done": len(done),
        "failed": sum(state.failure is not None for state in states),
        "unfinished": sum(not state.has_ended for state in states),
        "trials": len(states),
    }


def _chosen(run: RunFolder, states: list[TrialState], rank: int | None, id_: str | None) -> TrialState:
    """The trial that was asked for, which is done."""
    if rank is not None and id_ is not None:
        raise InputError(f"choose by rank or by id, not by both: rank={rank}, id={id_}")
    if id_ is not None:
        state = next((state for state in states if state.id == id_), None)
        if state is None:
            raise InputError(f"{run.path} has no network {id_!r}; population.csv lists the ids of its {len(states)}")
        if state.status != "done":
            why = f" ({state.failure.reason}: {state.failure.detail})" if state.failure else ""
            raise InputError(f"the trial of network {id_} in {run.path} is not done but {state.status}{why}")
        return state
    rank = 1 if rank is None else rank
    rank = whole("rank", rank, 1)
    check_none_edited(states)
    done = best_first(states)
    if len(done) < rank:
        how = ", ".join(
            f"{sum(state.status == status for state in states)} {status}" for status in ("failed", "running", "waiting")
        )
        raise InputError(
            f"{run.path} has {len(done) or 'no'} trained network{'s' if len(done) != 1 else ''}, so none of rank "
            f"{rank} ({how}); train more: {command('launch', run=run.path)}"
        )
    if not all(state.has_ended for state in states):
        which = "best" if rank == 1 else f"rank {rank}"
        log.warning("%s: %s of %d of %d trials; others have not ended", run.path, which, len(done), len(states))
    return done[rank - 1]


def _weights(run: RunFolder, id_: str, result: TrialResult, recipe: Recipe, seed: int) -> dict[str, Any]:
    """The state dict of a trial that is done."""
    folder = run.trial(id_)
    try:
        return trained_weights(folder.checkpoint, question_of(id_, recipe, seed), result.epochs)
    except FileNotFoundError as error:
        if recipe.trainer:
            raise RunError(
                f"{folder.checkpoint} is missing: {recipe.trainer} has to write it (its argument `checkpoint`, as "
                "designspace.training.train_model does) for the weights to be kept"
            ) from error
        raise RunError(
            f"{folder.checkpoint} is missing; was it deleted by designspace.clean? To train this network again, "
            f"delete {folder.path} and go on: {command('launch', run=run.path)}"
        ) from error


def _known(name: str, recipe: Recipe, about: dict[str, Any], root: Path | None) -> Known:
    """What is known about the weights of a run's network."""
    facts, size = data.facts(recipe.data, root), data.shape(recipe.data, root).size
    return Known(
        name=name,
        preset=preset_of(recipe, size, facts.mean, facts.std),
        origin=f"trained from scratch on {_count(recipe.train_images)} training images of {recipe.data}",
        licence=OWN_LICENCE,
        classes=facts.classes,
        about=about,
    )


def _data_root(run: RunFolder) -> Path | None:
    """Where the run's data sets are, as its last launch noted; None for the usual place."""
    noted = [Path(told) for launch in run.launches() if (told := launch.about().get("data_root"))]
    return next((root for root in reversed(noted) if root.is_dir()), None)


def preset_of(recipe: Recipe, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Preset:
    """How images must be prepared for what a recipe trained: those it was tested on are ``size`` pixels large."""
    return Preset(crop=recipe.test_size or recipe.crop_size or size, resize=size, mean=mean, std=std)


def measured_on(recipe: Recipe) -> str:
    """Say on which images a recipe measures the error."""
    return f"{_count(recipe.test_images)} test images of {recipe.data}"


def heldout_result(result: TrialResult) -> dict[str, float]:
    """The error on held-out images as a model's ``result`` tells it; nothing where none were held out."""
    return {} if result.heldout_error is None else {"heldout_error": result.heldout_error}


def _provenance(run: RunFolder) -> list[dict[str, Any]]:
    """The commands that led to the run's results, as far as they were noted: versions, commit, command line, time."""
    names = ("command", "time", "commit", "designspace", "python", "numpy", "torch", "platform")
    noted = [run.provenance(), *(launch.about() for launch in run.launches())]
    return [told for about in noted if (told := {name: about[name] for name in names if name in about})]


def _count(images: int | None) -> str:
    return "all" if images is None else f"{images:,}"
