"""Training of populations in steps, with a look at the comparison after each, until it is decided or hopeless."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from designspace.analysis import Results
from designspace.analysis.stopping import Course, StoppingRule, beginning, courses
from designspace.cli.decisions import Decision, DecisionLog
from designspace.cli.options import StopOptions
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan

Train = Callable[[Mapping[RunFolder, Plan], Collection[str]], object]
"""Trains the trials of some runs with some keys, and returns when they have finished."""


def rule_of(options: StopOptions, level: float = 0.05) -> StoppingRule:
    """Return the rule that the options of a command describe.

    Raises:
        InputError: a value is out of range.
    """
    return StoppingRule(looks=options.looks, level=level, effect=options.effect, hopeless=options.hopeless)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A sweep that is compared while it runs."""

    plans: Mapping[RunFolder, Plan]
    """The runs to train."""
    others: Sequence[Results]
    """Populations that are compared with them, but not trained."""
    rule: StoppingRule
    log: Path
    """File of the decisions."""


def train_with_looks(sweep: LookedAt, train: Train) -> None:
    """Train the networks of each run in the order of its population, and stop a run when its comparisons have ended.

    All networks up to a look have finished before it, whatever they cost, so that the networks that are compared are a
    random sample of their space. What is decided follows from the results alone: to resume, call it again.

    Raises:
        InputError: two runs have the same name, or the networks of a run were chosen, so that no part is a sample.
    """
    ids = {run.name: run.ids() for run in sweep.plans}
    planned = {each.name: len(each.table) for each in sweep.others} | {
        name: len(of_run) for name, of_run in ids.items()
    }
    if len(planned) < len(sweep.others) + len(sweep.plans):
        raise InputError("runs that are compared must have different names; rename a folder")
    for run in sweep.plans:
        if not run.space().is_drawn:
            raise InputError(f"{run.path} is a given list, whose order is not random, so it must be trained as a whole")
    log = DecisionLog(sweep.log)

    def results_at(trained: Mapping[str, int], going: Collection[str]) -> list[Results]:
        plans = {run: plan for run, plan in sweep.plans.items() if run.name in going}
        train(plans, {key for run, plan in plans.items() for key in plan.keys(ids[run.name][: trained[run.name]])})
        return [*sweep.others, *(beginning(Results.read(run), trained[run.name]) for run in sweep.plans)]

    for course in courses(planned, sweep.rule, results_at, complete=[each.name for each in sweep.others]):
        _record(log, sweep.rule, course, list(ids))


def _record(log: DecisionLog, rule: StoppingRule, course: Course, names: Sequence[str]) -> None:
    """Write what a look decided into the log, and print it.

    Args:
        log: the log.
        rule: when to end a comparison.
        course: the sweep at the look.
        names: names of the runs that are trained.
    """
    going = [name for name in names if name in course.going]
    listed = ", ".join(f"{course.trained[name]} of {name}" for name in names)
    next_step = f"{', '.join(going)} {'is' if len(going) == 1 else 'are'} trained further"
    pairs = counted(len(course.verdicts), "pair")
    text = f"look at {listed} ({pairs}): {next_step if going else 'all comparisons have ended'}"
    verdicts = [
        {"a": each.comparison.a, "b": each.comparison.b, "verdict": each.verdict, "sentence": each.sentence()}
        for each in course.verdicts
    ]
    facts = {"rule": dataclasses.asdict(rule), "trained": dict(course.trained), "verdicts": verdicts, "going": going}
    log.add(Decision("look", text, facts))
    print("\n".join([text, *(f"- {verdict['sentence']}" for verdict in verdicts)]))
