"""The design process in rounds: train a space, propose constraints, confirm them on fresh networks, refine the space.

Every step follows from the files of the study, so that the same command resumes it at any point, and constraints that a
person accepts or rejects take effect from the round in which they are candidates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from designspace.analysis import Results
from designspace.analysis.refinement import Refinement, refine
from designspace.analysis.refinement.confirming import confirmation_table
from designspace.analysis.refinement.findings import sentences
from designspace.analysis.refinement.population import MIN_NETWORKS
from designspace.cli.confirming import describe, fresh_plan, fresh_runs
from designspace.cli.decisions import Decision, DecisionLog
from designspace.cli.options import OptionalCount, whole_number
from designspace.cli.tables import print_table
from designspace.spaces.seeds import independent_seed
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan

CONFIRMATIONS = "confirmations"
"""Folder of the fresh runs, within that of the study."""
_MAX_NAME = 60

Train = Callable[[Mapping[RunFolder, Plan]], object]
"""Trains all trials of some runs that are not done."""


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Keys of ``refine`` in configs/explore.yaml, which describes them."""

    rounds: Annotated[int, whole_number(0, 100)]
    n: OptionalCount
    match: str | None
    accept: tuple[str, ...] | None
    reject: tuple[str, ...] | None
    interactive: bool


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Keys of ``budget`` in configs/explore.yaml: how much a study may train."""

    trials: OptionalCount
    hours: float | None

    def __post_init__(self) -> None:
        if self.hours is not None and not self.hours > 0:
            raise InputError(f"budget.hours must be above 0, or null, not {self.hours:g}")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What all rounds of a study share."""

    path: Path
    plan: Plan
    n: int
    """Number of networks of each space."""
    seed: int
    train: Train
    budget: Budget
    provenance: Mapping[str, str]
    log: DecisionLog
    started: float = field(default_factory=time.monotonic)

    def over_budget(self, runs: Sequence[RunFolder], more: int) -> str:
        """Return why further trainings are not within the budget, as text; empty if they are.

        Args:
            runs: all runs of the study so far.
            more: number of trainings that are to follow.
        """
        done = sum(state.is_finished for run in runs for state in run.states(run.trial_keys()))
        hours = (time.monotonic() - self.started) / 3600
        if self.budget.trials is not None and done + more > self.budget.trials:
            return f"{done} trials are done and {more} would follow, but budget.trials is {self.budget.trials}"
        if self.budget.hours is not None and hours >= self.budget.hours:
            return f"{hours:.2f} hours have passed, and budget.hours is {self.budget.hours:g}"
        return ""


def check_loop(options: LoopOptions, n: int) -> None:
    """Raise unless a study can be refined.

    Raises:
        InputError: there are too few networks, or nobody to ask.
    """
    if n < MIN_NETWORKS:
        raise InputError(f"refine.rounds needs at least n={MIN_NETWORKS} networks, not {n}")
    if options.interactive and not sys.stdin.isatty():
        raise InputError(
            "refine.interactive=true asks questions, but the input is not a terminal; use refine.accept=[...]"
        )


def refine_in_rounds(study: Study, start: RunFolder, options: LoopOptions) -> list[RunFolder]:
    """Refine a space whose networks are trained, round by round; return the runs of all spaces, in their order.

    It ends when nothing is adopted, after the last round, or at the end of the budget; the log says which.
    """
    runs, used = [start], [start]
    for number in range(1, options.rounds + 1):
        refinement = refine(Results.read(runs[-1]), runs[-1].space(), options.match)
        _log_proposals(study.log, number, refinement)
        adopted = _adopted(study, runs[-1], refinement, options, used, number)
        child = refinement.child(adopted)
        if child is None:
            _end(study, number, "no constraint is adopted")
            break
        child = dataclasses.replace(child, name=_name(runs[-1].name, adopted))
        run = RunFolder(study.path / child.name)
        if reason := study.over_budget(used, study.n):
            _end(study, number, reason)
            break
        run.create(child.sample(study.n, independent_seed(child, study.seed)), study.provenance)
        study.train({run: study.plan})
        runs.append(run)
        used.append(run)
    else:
        _end(study, options.rounds, "it was the last one")
    return runs


def _adopted(
    study: Study,
    run: RunFolder,
    refinement: Refinement,
    options: LoopOptions,
    used: list[RunFolder],
    number: int,
) -> list[str]:
    """Return the constraints of a round: those that fresh networks confirm or a person accepts, but none rejected."""
    rejected, candidates = set(options.reject or ()), {candidate.name for candidate in refinement.candidates}
    accepted = [name for name in options.accept or () if name in candidates]
    names = [name for name in refinement.proposals if name not in rejected and name not in accepted]
    confirmed = _confirmed(study, run, refinement, names, options, used, number) if names else []
    chosen = [name for name in dict.fromkeys([*confirmed, *accepted]) if name not in rejected]
    if options.interactive:
        chosen = _asked(study.log, run, chosen, candidates)
    by_hand = [name for name in chosen if name not in confirmed]
    if chosen:
        text = f"round {number}: adopted for {run.name}: {', '.join(chosen)}"
        text += f" (by hand: {', '.join(by_hand)})" if by_hand else ""
        _say(study.log, Decision("adopt", text, {"run": run.name, "adopted": chosen, "by hand": by_hand}))
    return chosen


def _confirmed(
    study: Study,
    run: RunFolder,
    refinement: Refinement,
    names: Sequence[str],
    options: LoopOptions,
    used: list[RunFolder],
    number: int,
) -> list[str]:
    """Train fresh networks, and return the constraints that they confirm; none if the budget does not suffice."""
    fresh = fresh_runs(refinement, names, study.path / CONFIRMATIONS / run.name, options.n, run)
    print(f"\nround {number}, confirmation: {describe(fresh)}")
    if reason := study.over_budget(used, fresh.n * len(fresh.runs)):
        _say(
            study.log, Decision("budget", f"round {number}: nothing was confirmed, because {reason}", {"run": run.name})
        )
        return []
    fresh.create(study.provenance)
    study.train(dict.fromkeys(fresh.runs, fresh_plan(run)))
    used += fresh.runs
    settings = refinement.settings
    confirmations = fresh.confirmations(options.match, settings.margin, settings.level)
    table = confirmation_table(confirmations)
    print()
    print_table(table.title, table.header, table.rows, texts=(0, 1, 2, 4, 5, 6, 7))
    for each in confirmations:
        facts = {"run": run.name, "p": each.p_holm, "probability": each.estimate.value, "adopted": each.is_adopted}
        _say(study.log, Decision("confirm", f"round {number}: {each.sentence()}", facts))
    return [each.question.name for each in confirmations if each.is_adopted]


def _asked(log: DecisionLog, run: RunFolder, proposed: Sequence[str], candidates: set[str]) -> list[str]:
    """Return the constraints that a person chose for a run, now or when the study was started before."""
    for decision in log.read():
        if decision.kind == "answer" and decision.facts["run"] == run.name:
            return list(decision.facts["names"])
    while True:
        answer = input(f"constraints for the next space, separated by commas [{', '.join(proposed) or 'none'}]: ")
        names = [name.strip() for name in answer.split(",") if name.strip()] if answer.strip() else list(proposed)
        names = [] if names == ["none"] else names
        unknown = [name for name in names if name not in candidates]
        if not unknown:
            log.add(
                Decision(
                    "answer", f"{run.name}: answered {', '.join(names) or 'none'}", {"run": run.name, "names": names}
                )
            )
            return names
        print(f"not a candidate: {', '.join(unknown)}; type none for no constraint")


def _log_proposals(log: DecisionLog, number: int, refinement: Refinement) -> None:
    """Print what a round proposes, and write it into the log."""
    print()
    for sentence in sentences(refinement):
        facts = {"run": refinement.name, "proposals": list(refinement.proposals)}
        _say(log, Decision("propose", f"round {number}: {sentence}", facts))


def _end(study: Study, number: int, reason: str) -> None:
    """Print why the study ends, and write it into the log."""
    _say(study.log, Decision("end", f"round {number}: the refinement ends, because {reason}", {"round": number}))


def _say(log: DecisionLog, decision: Decision) -> None:
    """Print a decision and write it into the log."""
    log.add(decision)
    print(f"- {decision.text}")


def _name(parent: str, constraints: Sequence[str]) -> str:
    """Return the name of a refined space, which is also that of its folder.

    >>> _name("AnyNetXA", ["group_width_shared"])
    'AnyNetXA-group_width_shared'
    """
    name = "-".join([parent, *constraints])
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
