"""Training of populations in which some trials are stopped early, because of their errors after some epochs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from designspace.cli.decisions import DECISIONS_FILE, Decision, DecisionLog
from designspace.cli.options import StopOptions
from designspace.support.errors import InputError, RunError
from designspace.support.text import counted
from designspace.trials.fidelity import Fidelity, Standings, read_standings
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan

Train = Callable[[Mapping[RunFolder, Plan], Collection[str], int | None], object]
"""Receives runs with their plans, the keys of the trials to train, and the number of epochs; None trains to the end."""


def fidelity_of(options: StopOptions) -> Fidelity | None:
    """Return the rule that the options of a command describe; None if all trials are trained to their ends.

    Raises:
        InputError: a value is out of range.
    """
    if options.epochs is None:
        return None
    return Fidelity(epochs=options.epochs, keep=options.keep, sample=options.sample)


def checked_fidelity(options: StopOptions, plan: Plan, seeds: int = 1, rounds: int = 0) -> Fidelity | None:
    """Return `fidelity_of` if trials can be stopped early as requested.

    Args:
        options: the options of the command.
        plan: how the trials are trained.
        seeds: number of seeds per network.
        rounds: number of rounds of refinement.

    Raises:
        InputError: looks at the comparison, several seeds or rounds of refinement are requested, too, or the recipe has
            no more epochs than that.
    """
    rule = fidelity_of(options)
    if rule is None:
        return None
    if options.looks > 1:
        raise InputError(
            "stop.looks ends comparisons, for which networks are trained to the end, and stop.epochs ends trials: "
            "choose one of them"
        )
    if rule.epochs >= plan.recipe.epochs:
        raise InputError(
            f"stop.epochs={rule.epochs} must be less than recipe.epochs={plan.recipe.epochs}, or it saves nothing"
        )
    if seeds > 1 or plan.repeats:
        raise InputError("stop.epochs needs seeds=1: train chosen networks again with designspace.retrain")
    if rounds:
        raise InputError(
            "refine.rounds asks what good networks have in common, for which all are trained to the end: leave out "
            "stop.epochs"
        )
    return rule


def train_some_to_the_end(plans: Mapping[RunFolder, Plan], rule: Fidelity, train: Train) -> None:
    """Train all networks for some epochs, then the promising ones and a random sample of each run to the end.

    The decisions are recorded in each run and follow from its results; to resume, call this function again.

    Raises:
        InputError: trials of a run were stopped by another rule.
        RunError: some trials have not completed the first epochs, because another launch is training them.
    """
    undecided = {}
    for run, plan in plans.items():
        decided = _standings(run, rule).by_key
        undecided[run] = [key for key in run.trial_keys(plan) if key not in decided]
    if any(undecided.values()):
        train(plans, {key for keys in undecided.values() for key in keys}, rule.epochs)
    for run, plan in plans.items():
        if undecided[run]:
            _decide(run, plan, rule, undecided[run])
    standings = [item for run in plans for item in _standings(run, rule).by_key.items()]
    train(plans, {key for key, standing in standings if standing.continues}, None)


def _standings(run: RunFolder, rule: Fidelity) -> Standings:
    """Return the standings of the trials of a run that are decided already.

    Raises:
        InputError: they were decided by another rule.
    """
    standings = read_standings(run.path) or Standings(rule, {})
    if standings.rule != rule:
        earlier = standings.rule
        raise InputError(
            f"{run.path} was trained with stop.epochs={earlier.epochs} stop.keep={earlier.keep:g} "
            f"stop.sample={earlier.sample:g}; use the same, or leave out stop.epochs to train all networks to the end"
        )
    return standings


def _decide(run: RunFolder, plan: Plan, rule: Fidelity, keys: Collection[str]) -> None:
    """Decide which trials of a run continue, and record the decision in the run and its log."""
    states = run.states(list(keys))
    if missing := [state.key for state in states if not run.has_reached(state, rule.epochs)]:
        raise RunError(
            f"{run.path}: {counted(len(missing), 'trial')} have not completed epoch {rule.epochs} yet; run the same "
            "command again when they have"
        )
    metric = run.metric()
    chance_error = metric.oriented(plan.metric_for(run.space().template.num_classes).guess)
    errors = {key: rule.error(run.trial(key).known_history(), metric, chance_error) for key in keys}
    decided = Standings(rule, rule.decide(errors, plan.seed))
    decided.merged_with(_standings(run, rule)).write(run.path)
    continuing = sum(standing.continues for standing in decided.by_key.values())
    sampled = sum(standing.sampled for standing in decided.by_key.values())
    text = (
        f"{run.name}: {continuing} of {counted(len(keys), 'network')} continue after epoch {rule.epochs}, {sampled} of "
        "them drawn at random; the others are stopped"
    )
    facts = {"trials": len(keys), "continuing": continuing, "sampled": sampled, "epochs": rule.epochs}
    DecisionLog(run.path / DECISIONS_FILE).add(Decision("stop", text, facts))
    print(text)
