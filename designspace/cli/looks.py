"""Training of populations in steps, with a look at the comparison after each, until it is decided or hopeless."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from designspace.analysis import Results
from designspace.analysis.stopping import PairVerdict, StoppingRule, beginning, look, undecided
from designspace.cli.decisions import Decision, DecisionLog
from designspace.cli.options import whole_number
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan

Train = Callable[[Mapping[RunFolder, Plan], Collection[str]], object]
"""Trains the trials of some runs with some keys, and returns when they have finished."""


@dataclass(frozen=True, kw_only=True)
class StopOptions:
    """Keys of configs/base/stop.yaml, which describes them."""

    looks: Annotated[int, whole_number(1, 1000)]
    effect: float
    hopeless: float

    def rule(self, level: float = 0.05) -> StoppingRule:
        """Return the rule.

        Raises:
            InputError: a value is out of range.
        """
        return StoppingRule(looks=self.looks, level=level, effect=self.effect, hopeless=self.hopeless)


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


def train_with_looks(sweep: LookedAt, train: Train) -> list[PairVerdict]:
    """Train the networks of each run in the order of its population, and stop a run when its comparisons have ended.

    All networks up to a look have finished before it, whatever they cost, so that the networks that are compared are a
    random sample of their space. What is decided follows from the results alone: to resume, call it again.

    Returns:
        The verdicts of the last look.

    Raises:
        InputError: the networks of a run were chosen, so that no part of them is a sample.
    """
    ids = {run: run.ids() for run in sweep.plans}
    for run in sweep.plans:
        if not run.space().is_drawn:
            raise InputError(f"{run.path} is a given list, whose order is not random, so it must be trained as a whole")
    sizes = {run: sweep.rule.sizes(len(of_run)) for run, of_run in ids.items()}
    trained = dict.fromkeys(sweep.plans, 0)
    going, log = set(sweep.plans), DecisionLog(sweep.log)
    verdicts: list[PairVerdict] = []
    for step in range(max(map(len, sizes.values()))):
        for run in going:
            trained[run] = sizes[run][min(step, len(sizes[run]) - 1)]
        keys = {key for run in going for key in sweep.plans[run].keys(ids[run][: trained[run]])}
        train({run: plan for run, plan in sweep.plans.items() if run in going}, keys)
        results = [*sweep.others, *(beginning(Results.read(run), trained[run]) for run in sweep.plans)]
        planned = [*(len(each.table) for each in sweep.others), *(len(ids[run]) for run in sweep.plans)]
        verdicts = look(results, planned, sweep.rule)
        left = undecided(verdicts)
        going = {run for run in sweep.plans if run.name in left and trained[run] < len(ids[run])}
        _record(log, sweep.rule, trained, verdicts, going)
        if not going:
            break
    return verdicts


def _record(
    log: DecisionLog,
    rule: StoppingRule,
    trained: Mapping[RunFolder, int],
    verdicts: Sequence[PairVerdict],
    going: Collection[RunFolder],
) -> None:
    """Write what a look decided into the log, and print it."""
    sizes = {run.name: size for run, size in trained.items()}
    listed = ", ".join(f"{size} of {name}" for name, size in sizes.items())
    names = [run.name for run in trained if run in going]
    next_step = (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} trained further" if names else "all have ended"
    )
    sentences = [each.sentence() for each in verdicts]
    text = f"look at {listed} ({counted(len(verdicts), 'pair')}): {next_step}"
    facts = {
        "rule": dataclasses.asdict(rule),
        "trained": sizes,
        "verdicts": [
            {"a": each.comparison.a, "b": each.comparison.b, "verdict": each.verdict, "sentence": each.sentence()}
            for each in verdicts
        ],
        "going": names,
    }
    log.add(Decision("look", text, facts))
    print("\n".join([text, *(f"- {sentence}" for sentence in sentences)]))
