"""The networks of a run as trained modules, the best one first."""

from __future__ import annotations

import logging
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from designspace import data
from designspace.data.data_source import data_of
from designspace.library.facts import ImageFacts, count_of, trained_info
from designspace.library.saved import fill, is_model_folder, read_model
from designspace.models import AnyNet
from designspace.models.info import OWN_LICENCE, SeedMeans, Selection
from designspace.networks.network import Network
from designspace.spaces.population import Population
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.text import command
from designspace.training.checkpoint import fingerprint_of, trained_weights
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan, id_of, is_key
from designspace.trials.ranking import RankedNetwork, check_none_edited, ranking
from designspace.trials.trial import TrialResult
from designspace.trials.trial_folder import TrialState

log = logging.getLogger(__name__)


def load(
    path: str | Path, *, rank: int | None = None, id: str | None = None, device: str | torch.device = "cpu"
) -> AnyNet:
    """Load a trained network: one of a run's, or a folder that ``designspace.export`` wrote.

    Images (N, C, H, W) must be prepared as the module's attribute ``weights.preset`` says; ``weights`` also tells its
    error, recipe and origin (see `designspace.models.info.ModelInfo`).

    Args:
        path: a run folder or a model folder.
        rank: the network with the least error is 1, which is the default: the error on held-out images where the
            recipe has some, so that the test images choose nothing, else the final one. Of networks that were trained
            with several seeds, the mean counts, and those with fresh seeds come first (see
            `designspace.trials.ranking.ranking`). For run folders only.
        id: the network of this id, instead of a rank: where it was trained with several seeds, the first of those that
            rank it. Or the key of one trial, as ``60e881614052-s1``. For run folders only.
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


class NetworkOfRun(NamedTuple):
    """A network of a run, without its weights."""

    name: str
    network: Network
    folder: Path
    """Of the run."""
    id: str
    """Its id, or a trial's key."""


def find(run: RunFolder, rank: int | None = None, id_: str | None = None) -> NetworkOfRun:
    """Find one of a run's networks.

    Args:
        run: an existing run.
        rank: as for `load`.
        id_: instead of a rank; its trial need not be done, or begun.

    Raises:
        InputError: there is no such rank or id.
        RunError: a file is missing or damaged.
    """
    population, plan = run.population(), run.plan()
    if id_ is None or rank is not None or _key(plan, id_) not in run.trial_keys(plan):
        trials = _Trials.of(run, population, plan)
        id_ = trials.chosen(rank, id_).key
    network = id_of(id_)
    name = f"{population.space.name} {network}"
    return NetworkOfRun(name, population[population.ids.index(network)], run.path, id_)


def _key(plan: Plan | None, id_: str) -> str:
    """Return the key of the trial that an id or a key names; the first seed may be named too, as ``<id>-s0``."""
    if plan is None or not is_key(id_):
        return id_
    return plan.key(id_of(id_), plan.seed_of(id_))


@dataclass(frozen=True, slots=True)
class _Trials:
    """The trials of a run and the order of its networks."""

    run: RunFolder
    plan: Plan | None
    states: list[TrialState]
    networks: list[RankedNetwork]
    """Those that have a result, the best one first."""

    @staticmethod
    def of(run: RunFolder, population: Population, plan: Plan | None) -> _Trials:
        """Read them."""
        states = run.states(run.trial_keys(plan))
        return _Trials(run, plan, states, ranking(states, plan, population.space.template.num_classes))

    def network(self, id_: str) -> RankedNetwork | None:
        """Return a network with its errors; None if it has no result."""
        return next((network for network in self.networks if network.id == id_), None)

    def chosen(self, rank: int | None, id_: str | None) -> TrialState:
        """Return the trial that was asked for, which is done.

        Raises:
            InputError: there is no such rank or id, or its trial is not done.
            RunError: somebody edited a result, so that the order is not known.
        """
        if rank is not None and id_ is not None:
            raise InputError(f"choose by rank or by id, not by both: rank={rank}, id={id_}")
        if id_ is not None:
            return self._named(id_)
        return self._of_rank(whole("rank", 1 if rank is None else rank, 1))

    def _named(self, id_: str) -> TrialState:
        """Return the trial of a key, or the one that stands for the network of an id."""
        if network := self.network(id_):
            return network.state
        key = _key(self.plan, id_)
        state = next((state for state in self.states if state.key == key), None)
        if state is None:
            count = len({state.id for state in self.states})
            raise InputError(f"{self.run.path} has no network {id_!r}; population.csv lists the ids of its {count}")
        if state.status != "done":
            why = f" ({state.failure.reason}: {state.failure.detail})" if state.failure else ""
            raise InputError(f"the trial of network {id_} in {self.run.path} is not done but {state.status}{why}")
        return state

    def _of_rank(self, rank: int) -> TrialState:
        """Return the trial that stands for the network of a rank."""
        path, states = self.run.path, self.states
        check_none_edited(states)
        if len(self.networks) < rank:
            how = ", ".join(
                f"{sum(state.status == status for state in states)} {status}"
                for status in ("failed", "running", "waiting")
            )
            count = len(self.networks)
            raise InputError(
                f"{path} has {count or 'no'} trained network{'s' if count != 1 else ''}, so none of rank "
                f"{rank} ({how}); train more: {command('launch', run=path)}"
            )
        if not all(state.has_ended for state in states):
            which = "best" if rank == 1 else f"rank {rank}"
            done = sum(state.status == "done" for state in states)
            log.warning("%s: %s of %d of %d trials; others have not ended", path, which, done, len(states))
        return self.networks[rank - 1].state

    def selection(self, chosen: TrialState, space: str) -> Selection:
        """Return among how many networks of a space one was chosen, and how many were no choice."""
        ranked = [network.id for network in self.networks]
        others = [state for state in self.states if state.key == state.id and state.id not in set(ranked)]
        return Selection(
            run=self.run.name,
            space=space,
            rank=ranked.index(chosen.id) + 1 if chosen.id in ranked else 0,
            done=len(ranked),
            failed=sum(state.failure is not None for state in others),
            unfinished=sum(not state.has_ended for state in others),
            trials=len(ranked) + len(others),
        )


def _of_run(run: RunFolder, rank: int | None, id_: str | None) -> AnyNet:
    """Return the module of one of a run's networks."""
    population, plan = run.population(), run.plan()
    trials = _Trials.of(run, population, plan)
    chosen = trials.chosen(rank, id_)
    if plan is None or chosen.result is None:
        raise RunError(f"{run.path} has results but no recipe.yaml")
    recipe = plan.recipe
    model = AnyNet(population[population.ids.index(chosen.id)])
    fill(model, _weights(run, plan, chosen.key, chosen.result), run.trial(chosen.key).checkpoint)
    root = data_of(run, recipe.data).root
    facts, size = data.facts(recipe.data, root), data.shape(recipe.data, root).size
    model.weights = trained_info(
        f"{population.space.name} {chosen.id}",
        recipe,
        chosen.result,
        seed=plan.seed_of(chosen.key),
        ended=chosen.ended,
        images=ImageFacts(size, facts.mean, facts.std, facts.classes),
        origin=f"trained from scratch on {count_of(recipe.train_images)} training images of {recipe.data}",
        licence=OWN_LICENCE,
        provenance=_provenance(run),
        seeds=_seeds(trials.network(chosen.id)),
        selection=trials.selection(chosen, population.space.name),
    )
    return model.eval()


def _seeds(network: RankedNetwork | None) -> SeedMeans | None:
    """Return what is known of a network's errors over several seeds; None for a single training."""
    if network is None or (len(network.errors) == 1 and not network.is_fresh):
        return None
    return SeedMeans(
        network.kind(),
        network.is_fresh,
        len(network.errors),
        network.mean,
        network.deviation,
        statistics.fmean(network.final_errors),
    )


def _weights(run: RunFolder, plan: Plan, key: str, result: TrialResult) -> dict[str, Any]:
    """Return the state dict of a trial that is done."""
    folder, recipe = run.trial(key), plan.recipe
    try:
        fingerprint = fingerprint_of(id_of(key), recipe, plan.seed_of(key))
        return trained_weights(folder.checkpoint, fingerprint, result.epochs)
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


def _provenance(run: RunFolder) -> list[dict[str, Any]]:
    """The commands that led to the run's results, as far as they were noted: versions, commit, command line, time."""
    names = ("command", "time", "commit", "designspace", "python", "numpy", "torch", "platform")
    noted = [run.provenance(), *(launch.about() for launch in run.launches())]
    return [told for about in noted if (told := {name: about[name] for name in names if name in about})]
