"""Training of populations in which some trials are stopped early, because of their errors after some epochs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from designspace.cli.decisions import DECISIONS_FILE, Decision, DecisionLog
from designspace.cli.options import StopOptions
from designspace.support.errors import InputError, RunError
from designspace.support.text import counted
from designspace.trials.fidelity import Decided, Fidelity, Standing, read_decided
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.trial_folder import TrialState

Train = Callable[[Mapping[RunFolder, Plan], Collection[str], int | None], object]
"""Trains the trials of some runs with some keys, for a number of epochs or to their ends, and returns then."""


def fidelity_of(options: StopOptions) -> Fidelity | None:
    """Return the rule that the options of a command describe; None if all trials are trained to their ends.

    Raises:
        InputError: a value is out of range, or looks at the comparison are requested, too.
    """
    if options.epochs is None:
        return None
    if options.looks > 1:
        raise InputError(
            "stop.looks ends comparisons, for which networks are trained to the end, and stop.epochs ends trials: "
            "choose one of them"
        )
    return Fidelity(epochs=options.epochs, keep=options.keep, sample=options.sample)


def check_fidelity(rule: Fidelity, plan: Plan, seeds: int = 1, rounds: int = 0) -> None:
    """Raise unless trials can be stopped early as requested.

    Args:
        rule: when to stop them.
        plan: how they are trained.
        seeds: number of seeds per network.
        rounds: number of rounds of refinement.

    Raises:
        InputError: there are not more epochs than that, or several seeds, or rounds.
    """
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


def train_some_to_the_end(plans: Mapping[RunFolder, Plan], rule: Fidelity, train: Train) -> None:
    """Train all networks for some epochs, then the promising ones and a random sample of each run to the end.

    What is decided is kept in each run, and follows from its results: to resume, call it again.

    Raises:
        InputError: trials of a run were stopped by another rule.
        RunError: some trials have not completed the first epochs, because another launch is training them.
    """
    undecided = {}
    for run, plan in plans.items():
        decided = _standings(run, rule)
        undecided[run] = [key for key in run.trial_keys(plan) if key not in decided]
    if any(undecided.values()):
        train(plans, {key for keys in undecided.values() for key in keys}, rule.epochs)
    for run, plan in plans.items():
        if undecided[run]:
            _decide(run, plan, rule, undecided[run])
    going = {key for run in plans for key, standing in _standings(run, rule).items() if standing.goes_on}
    train(plans, going, None)


def _standings(run: RunFolder, rule: Fidelity) -> Mapping[str, Standing]:
    """Return the standings of the trials of a run that are decided already.

    Raises:
        InputError: by another rule.
    """
    decided = read_decided(run.path)
    if decided is None:
        return {}
    if decided.rule != rule:
        was = decided.rule
        raise InputError(
            f"{run.path} was trained with stop.epochs={was.epochs} stop.keep={was.keep:g} stop.sample={was.sample:g}; "
            "use the same, or leave out stop.epochs to train all networks to the end"
        )
    return decided.standings


def _decide(run: RunFolder, plan: Plan, rule: Fidelity, keys: Collection[str]) -> None:
    """Decide which trials of a run go on, and record it in the run and in its log."""
    states = run.states(list(keys))
    if missing := [state.key for state in states if not run.has_reached(state, rule.epochs)]:
        raise RunError(
            f"{run.path}: {counted(len(missing), 'trial')} have not completed epoch {rule.epochs} yet; run the same "
            "command again when they have"
        )
    standings = rule.decide({state.key: _error(run, plan, state, rule.epochs) for state in states}, plan.seed)
    Decided(rule, {**_standings(run, rule), **standings}).write(run.path)
    going = sum(standing.goes_on for standing in standings.values())
    sampled = sum(standing.sampled for standing in standings.values())
    text = (
        f"{run.name}: {going} of {counted(len(keys), 'network')} go on after epoch {rule.epochs}, {sampled} of them at "
        f"random; the others are stopped"
    )
    facts = {"trials": len(keys), "going": going, "sampled": sampled, "epochs": rule.epochs}
    DecisionLog(run.path / DECISIONS_FILE).add(Decision("stop", text, facts))
    print(text)


def _error(run: RunFolder, plan: Plan, state: TrialState, epochs: int) -> float:
    """Return the error of a trial after a number of epochs, lower is better; that of guessing if it failed before.

    Held-out images choose, if the recipe has some.
    """
    metric = run.metric()
    history = run.trial(state.key).known_history()
    if len(history) < epochs:
        guess = plan.metric_for(run.space().template.num_classes).guess
        return float(metric.oriented(guess))
    record = history[epochs - 1]
    return float(metric.oriented(record.test_error if record.heldout_error is None else record.heldout_error))
