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
from designspace.analysis.refinement.findings import sentences
from designspace.analysis.refinement.population import MIN_NETWORKS
from designspace.cli.confirming import fresh_runs, print_confirmations, sample_beside
from designspace.cli.decisions import Decision, DecisionLog
from designspace.cli.options import OptionalCount, whole_number
from designspace.spaces.seeds import independent_seed
from designspace.support.errors import InputError, closest
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
    runs: list[RunFolder]
    """All runs that were trained so far, also those of confirmations."""
    started: float = field(default_factory=time.monotonic)

    def over_budget(self, more: int) -> str:
        """Return why ``more`` trainings are not within the budget, as text; empty if they are."""
        done = sum(state.is_finished for run in self.runs for state in run.states(run.trial_keys()))
        hours = (time.monotonic() - self.started) / 3600
        if self.budget.trials is not None and done + more > self.budget.trials:
            return f"{done} trials are done and {more} would follow, but budget.trials is {self.budget.trials}"
        if self.budget.hours is not None and hours >= self.budget.hours:
            return f"{hours:.2f} hours have passed, and budget.hours is {self.budget.hours:g}"
        return ""


def check_loop(options: LoopOptions, budget: Budget, n: int, trainings: int) -> None:
    """Raise unless a study can be refined as requested.

    Args:
        options: the options of the rounds.
        budget: the budget.
        n: number of networks of each space.
        trainings: number of trainings of the first populations.

    Raises:
        InputError: there are too few networks, the budget does not suffice for them or is that of a study without
            rounds, or questions cannot be asked because the input is not a terminal.
    """
    if not options.rounds:
        if budget.trials is not None or budget.hours is not None:
            raise InputError("a budget limits rounds of refinement; give refine.rounds=..., or leave it out")
        return
    if budget.trials is not None and budget.trials < trainings:
        raise InputError(f"budget.trials={budget.trials}, but the first populations alone take {trainings} trainings")
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
    runs, candidates = [start], set[str]()
    for number in range(1, options.rounds + 1):
        refinement = refine(Results.read(runs[-1]), runs[-1].space(), options.match)
        candidates |= {candidate.name for candidate in refinement.candidates}
        _log_proposals(study.log, number, refinement)
        adopted = _adopted(study, runs[-1], refinement, options, number)
        child = refinement.child(adopted)
        if child is None:
            _end(study, number, "no constraint is adopted")
            break
        child = dataclasses.replace(child, name=_name(runs[-1].name, adopted))
        if reason := study.over_budget(study.n * (1 + len(study.plan.repeats.for_all))):
            _end(study, number, reason)
            break
        run = RunFolder(study.path / child.name)
        sample_beside(runs[-1], run, child, study.n, independent_seed(child, study.seed), study.provenance)
        study.train({run: study.plan})
        runs.append(run)
        study.runs.append(run)
    else:
        _end(study, options.rounds, "it was the last one")
    for name in [*(options.accept or ()), *(options.reject or ())]:
        if name not in candidates:
            likely = ", ".join(closest(name, sorted(candidates)))
            print(f"note: {name} was not a candidate in any round{f'; did you mean {likely}?' if likely else ''}")
    return runs


def _adopted(study: Study, run: RunFolder, refinement: Refinement, options: LoopOptions, number: int) -> list[str]:
    """Return the constraints of a round: those that fresh networks confirm or a person accepts, but none rejected."""
    rejected, candidates = set(options.reject or ()), {candidate.name for candidate in refinement.candidates}
    accepted = [name for name in options.accept or () if name in candidates]
    names = [name for name in refinement.proposals if name not in rejected and name not in accepted]
    confirmed = _confirmed(study, run, refinement, names, options.n, number) if names else []
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
    study: Study, run: RunFolder, refinement: Refinement, names: Sequence[str], n: int | None, number: int
) -> list[str]:
    """Train fresh networks, and return the constraints that they confirm; none if the budget does not suffice."""
    fresh = fresh_runs(refinement, names, study.path / CONFIRMATIONS / run.name, n, run)
    print(f"\nround {number}, confirmation: {fresh.describe()}")
    if reason := study.over_budget(fresh.trainings):
        text = f"round {number}: nothing was confirmed, because {reason}"
        _say(study.log, Decision("budget", text, {"run": run.name}))
        return []
    fresh.create(study.provenance)
    study.train(fresh.plans())
    study.runs.extend(fresh.runs)
    confirmations = fresh.confirmations()
    print_confirmations(confirmations)
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
        try:
            answer = input(f"constraints for the next space, separated by commas [{', '.join(proposed) or 'none'}]: ")
        except EOFError as error:
            raise InputError("the input ended without an answer; use refine.accept=[...] instead") from error
        names = [name.strip() for name in answer.split(",") if name.strip()] if answer.strip() else list(proposed)
        names = [] if names == ["none"] else names
        unknown = [name for name in names if name not in candidates]
        if not unknown:
            text = f"{run.name}: answered {', '.join(names) or 'none'}"
            log.add(Decision("answer", text, {"run": run.name, "names": names}))
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
