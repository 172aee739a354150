"""Loads trained networks of a run, by rank or id, or from a model folder."""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import torch

from designspace import data
from designspace.data.data_source import data_of
from designspace.library.facts import ImageFacts, describe_count, trained_info
from designspace.library.kept_code import code_of
from designspace.library.saved import fill_model, is_model_folder, read_model
from designspace.models import AnyNet, Backbone
from designspace.models.info import OWN_LICENCE, SeedMeans, Selection
from designspace.models.norms import freeze_norms
from designspace.models.zoo import rebuild
from designspace.networks.network import Network
from designspace.spaces.population import Population
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError
from designspace.support.imported import is_import_name
from designspace.support.text import command
from designspace.training.checkpoint import fingerprint_of, trained_weights
from designspace.trials.data_note import DATA_FILE, read_note
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan, id_of, is_key
from designspace.trials.ranking import RankedNetwork, check_none_edited, ranking
from designspace.trials.state import TrialState
from designspace.trials.trial import TrialResult

log = logging.getLogger(__name__)


@overload
def load(
    path: str | Path,
    *,
    features: Literal[False] = ...,
    rank: int | None = ...,
    id: str | None = ...,
    device: str | torch.device = ...,
    **options: Any,
) -> AnyNet: ...


@overload
def load(
    path: str | Path,
    *,
    features: Literal[True],
    rank: int | None = ...,
    id: str | None = ...,
    device: str | torch.device = ...,
    **options: Any,
) -> Backbone: ...


def load(
    path: str | Path,
    *,
    rank: int | None = None,
    id: str | None = None,
    device: str | torch.device = "cpu",
    features: bool = False,
    out_indices: Sequence[int] | None = None,
    frozen_norm: bool = False,
    **options: Any,
) -> AnyNet | Backbone:
    """Load a trained network from a run folder, or from a model folder that ``designspace.export`` wrote.

    The module's attribute ``weights`` describes how images (N, C, H, W) must be prepared (``weights.preset``), and its
    error, recipe and origin (see `designspace.models.info.ModelInfo`).

    Args:
        path: a run folder or a model folder.
        rank: rank of the network; 1, the default, has the lowest error. The error on held-out images counts if the
            recipe has any, so that the test images play no part in the choice; otherwise the error after the last
            epoch. For networks that were trained with several seeds the mean counts, and those with fresh seeds come
            first (see `designspace.trials.ranking.ranking`). For run folders only.
        id: id of the network, instead of a rank; if it was trained with several seeds, the first seed of its ranking is
            loaded. Or the key of one trial, such as ``60e881614052-s1``. For run folders only.
        device: device of the module.
        features: return a `Backbone`, which maps images to the feature maps of the stages instead of logits.
        out_indices: indices of the maps, with ``features``; None for all.
        frozen_norm: make batch-norms constant (`designspace.models.norms.FrozenBatchNorm2d`).
        options: options of `AnyNet` that do not change the weights: ``output_stride``, ``drop_path``, ``drop_block``,
            ``dropout``, ``checkpointing``.

    Returns:
        The module, in evaluation mode.

    Raises:
        InputError: the path is not such a folder, the rank or id does not exist, its trial is not done, or an option
            does not exist; the error says what exists.
        RunError: a file is missing or damaged.
    """
    path = Path(path)
    if out_indices is not None and not features:
        raise InputError("out_indices chooses feature maps of a backbone: add features=True")
    model = _model_in(path, rank, id)
    if options:
        model = rebuild(model, **options)
    if frozen_norm:
        freeze_norms(model)
    module = Backbone(model, out_indices).eval() if features else model
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error


def _model_in(path: Path, rank: int | None, id_: str | None) -> AnyNet:
    """Return the module of a model folder, or of one of a run's networks; the arguments are those of `load`."""
    if is_model_folder(path):
        if rank is not None or id_ is not None:
            raise InputError(f"{path} is a model folder with a single model: leave out rank and id")
        return read_model(path)
    if RunFolder(path).exists():
        return _of_run(RunFolder(path), rank, id_)
    raise InputError(
        f"{path} is neither a run folder (of designspace.sample) nor a model folder (of designspace.export)"
    )


class NetworkOfRun(NamedTuple):
    """A network of a run, without its weights."""

    name: str
    network: Network
    folder: Path
    """Folder of the run."""
    id: str
    """Id of the network, or key of a trial."""


def find_network(run: RunFolder, rank: int | None = None, id_: str | None = None) -> NetworkOfRun:
    """Find one of a run's networks.

    Args:
        run: an existing run.
        rank: as for `load`.
        id_: id of the network, instead of a rank; its trial need not be done or started.

    Raises:
        InputError: the rank or id does not exist.
        RunError: a file is missing or damaged.
    """
    population, plan = run.population(), run.plan()
    if id_ is None or rank is not None or _key(plan, id_) not in run.trial_keys(plan):
        trials = _Trials.of(run, population, plan)
        id_ = trials.choose(rank, id_).key
    network = id_of(id_)
    name = f"{population.space.name} {network}"
    return NetworkOfRun(name, population[population.ids.index(network)], run.path, id_)


def _key(plan: Plan | None, id_: str) -> str:
    """Return the key of the trial with an id or key; the trial of the first seed may also be named ``<id>-s0``."""
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
    """Networks that have a result, the best one first."""

    @staticmethod
    def of(run: RunFolder, population: Population, plan: Plan | None) -> _Trials:
        """Read the trials of a run."""
        states = run.states(run.trial_keys(plan))
        return _Trials(run, plan, states, ranking(states, plan, population.space.template.num_classes))

    def network(self, id_: str) -> RankedNetwork | None:
        """Return a network with its errors; None if it has no result."""
        return next((network for network in self.networks if network.id == id_), None)

    def choose(self, rank: int | None, id_: str | None) -> TrialState:
        """Return the trial of a rank or an id; it is done.

        Raises:
            InputError: the rank or id does not exist, or its trial is not done.
            RunError: a result was edited, so that the ranking is not reliable.
        """
        if rank is not None and id_ is not None:
            raise InputError(f"choose by rank or by id, not by both: rank={rank}, id={id_}")
        if id_ is not None:
            return self._by_id(id_)
        return self._by_rank(whole("rank", 1 if rank is None else rank, 1))

    def _by_id(self, id_: str) -> TrialState:
        """Return the trial with a key, or the one that represents the network with an id."""
        if network := self.network(id_):
            return network.state
        key = _key(self.plan, id_)
        state = next((state for state in self.states if state.key == key), None)
        if state is None:
            count = len({state.id for state in self.states})
            raise InputError(f"{self.run.path} has no network {id_!r}; population.csv lists the ids of its {count}")
        if state.status != "done":
            reason = f" ({state.failure.reason}: {state.failure.detail})" if state.failure else ""
            raise InputError(f"the trial of network {id_} in {self.run.path} is not done but {state.status}{reason}")
        return state

    def _by_rank(self, rank: int) -> TrialState:
        """Return the trial that represents the network of a rank."""
        path, states = self.run.path, self.states
        check_none_edited(states)
        if len(self.networks) < rank:
            counts = Counter(state.status for state in states)
            kinds = ["failed", "running", "waiting", *(["stopped"] if counts["stopped"] else [])]
            other_trials = ", ".join(f"{counts[kind]} {kind}" for kind in kinds)
            count = len(self.networks)
            raise InputError(
                f"{path} has {count or 'no'} trained network{'s' if count != 1 else ''}, so none of rank "
                f"{rank} ({other_trials}); train more: {command('launch', run=path)}"
            )
        if not all(state.is_finished for state in states):
            position = "best" if rank == 1 else f"rank {rank}"
            done = sum(state.status == "done" for state in states)
            log.warning("%s: %s of %d of %d trials; others are not finished", path, position, done, len(states))
        return self.networks[rank - 1].state

    def selection(self, chosen: TrialState, space: str) -> Selection:
        """Return the number of networks from which a trial's was chosen, and of those that failed or are unfinished."""
        ranked = [network.id for network in self.networks]
        others = [state for state in self.states if state.key == state.id and state.id not in set(ranked)]
        return Selection(
            run=self.run.name,
            space=space,
            rank=ranked.index(chosen.id) + 1 if chosen.id in ranked else 0,
            done=len(ranked),
            failed=sum(state.failure is not None for state in others),
            unfinished=sum(not state.is_finished for state in others),
            trials=len(ranked) + len(others),
        )


def _of_run(run: RunFolder, rank: int | None, id_: str | None) -> AnyNet:
    """Return the module of one of a run's networks."""
    population, plan = run.population(), run.plan()
    trials = _Trials.of(run, population, plan)
    chosen = trials.choose(rank, id_)
    if plan is None or chosen.result is None:
        raise RunError(f"{run.path} has results but no recipe.yaml")
    recipe = plan.recipe_of(chosen.key)
    network = population[population.ids.index(chosen.id)]
    with code_of(run, network.imported_names):
        model = AnyNet(network)
    fill_model(model, _weights(run, plan, chosen.key, chosen.result), run.trial(chosen.key).checkpoint)
    model.weights = trained_info(
        f"{population.space.name} {chosen.id}",
        recipe,
        chosen.result,
        seed=plan.seed_of(chosen.key),
        ended=chosen.finished_at,
        images=_image_facts(run, recipe.data),
        origin=f"trained from scratch on {describe_count(recipe.train_images)} training images of {recipe.data}",
        licence=OWN_LICENCE,
        provenance=_provenance(run),
        seeds=_seeds(trials.network(chosen.id)),
        selection=trials.selection(chosen, population.space.name),
        metric=plan.metric,
    )
    return model.eval()


def _image_facts(run: RunFolder, name: str) -> ImageFacts:
    """Return the facts about the images of a run, if possible from the run itself, so that none of its names is run."""
    note = read_note(run.path)
    if note is not None and note.name == name and note.own is not None:
        return ImageFacts(note.own.size, note.own.mean, note.own.std, note.own.classes, note.own.dtype)
    if is_import_name(name):
        raise RunError(f"{run.path / DATA_FILE} does not describe {name}; resume the run, which records it")
    root = data_of(run, name).root
    facts, shape = data.facts(name, root), data.shape(name, root)
    return ImageFacts(shape.size, facts.mean, facts.std, facts.classes, shape.dtype)


def _seeds(network: RankedNetwork | None) -> SeedMeans | None:
    """Return a network's mean errors over several seeds; None for a single training."""
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
    folder, recipe = run.trial(key), plan.recipe_of(key)
    try:
        fingerprint = fingerprint_of(id_of(key), recipe, plan.seed_of(key))
        return trained_weights(folder.checkpoint, fingerprint, result.epochs)
    except FileNotFoundError as error:
        if recipe.trainer:
            raise RunError(
                f"{folder.checkpoint} is missing: to keep the weights, {recipe.trainer} must write it (its argument "
                "`checkpoint`), as designspace.training.train_model does"
            ) from error
        raise RunError(
            f"{folder.checkpoint} is missing; was it deleted by designspace.clean? To train this network again, "
            f"delete {folder.path} and resume: {command('launch', run=run.path)}"
        ) from error


def _provenance(run: RunFolder) -> list[dict[str, Any]]:
    """Return the recorded commands that led to the run's results, with versions, commit and time."""
    names = ("command", "time", "commit", "designspace", "python", "numpy", "torch", "platform")
    records = [run.provenance(), *(launch.about() for launch in run.launches())]
    return [entry for record in records if (entry := {name: record[name] for name in names if name in record})]
