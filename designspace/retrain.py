"""Train the best networks of a run again with fresh seeds; rank them."""

from __future__ import annotations

from designspace.sweeps import head_start

if __name__ == "__main__":
    head_start.begin_early()  # torch takes twice as long as the imports below and the checks

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from designspace import launch
from designspace.analysis.retraining import retraining
from designspace.cli import app
from designspace.cli.options import whole_number
from designspace.cli.recipes import LauncherOptions, TrainingSetup, existing_setup
from designspace.cli.tables import print_table
from designspace.support.errors import InputError
from designspace.support.text import command, counted
from designspace.sweeps.preflight import check_launch
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.retraining import with_fresh_seeds
from designspace.trials.state import TrialState


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/retrain.yaml, which describes them."""

    launcher: LauncherOptions
    run: Path
    top: Annotated[int, whole_number(1, 10_000)]
    seeds: Annotated[int, whole_number(1, 1000)]
    wait: bool
    dry_run: bool


def run(options: Options) -> None:
    """Choose networks and seeds, check everything, train the trials that are not done, and print the new ranking."""
    folder = RunFolder(options.run)
    num_classes = folder.space().template.num_classes
    setup = existing_setup(folder)
    states = folder.states(folder.trial_keys(setup.plan))
    if not any(state.result for state in states):
        raise InputError(
            f"no trial of {folder.path} is done, so there is no best network to train again; first run: "
            f"{command('launch', run=folder.path)}"
        )
    plan = with_fresh_seeds(setup.plan, states, options.top, options.seeds, num_classes)
    for line in _choice_notes(folder, setup.plan, plan, states, options.top):
        print(line)
    launcher = options.launcher.make(options, setup.root)
    trials = plan.fresh_keys()
    with head_start.importing_torch(options.launcher.is_local and not options.dry_run):
        forecast = check_launch({folder: plan}, launcher, trials)
        for note in forecast.notes:
            print(note)
        if options.dry_run:
            launch.print_dry_run(folder, TrainingSetup(plan, setup.root), launcher, forecast, trials)
            return
        if forecast.waiting:
            launch.train({folder: plan}, launcher, wait=options.wait, only=trials)
    show(folder, num_classes)


def show(folder: RunFolder, num_classes: int) -> None:
    """Print the new ranking of the networks that were trained again, with an explanation of the columns."""
    plan = folder.plan()
    assert plan is not None
    try:
        ranking = retraining(plan, folder.states(folder.trial_keys(plan)), num_classes)
    except InputError as error:  # array tasks on SLURM were just submitted, or all trials failed
        print(f"{error}; to see their status: {command('status', run=folder.path)}")
        return
    table = ranking.table()
    print_table(f"\n{table.title}", table.header, table.rows, texts=(1, table.header.index(ranking.interval_name)))
    print()
    for sentence in ranking.sentences():
        print(sentence)
    print(f"export the best one with its weights: {command('export', run=folder.path, to='best')}")


def _choice_notes(folder: RunFolder, previous: Plan, plan: Plan, states: Sequence[TrialState], top: int) -> list[str]:
    """Return notes and a summary of the networks and seeds that were chosen."""
    earlier = previous.fresh_keys()
    unfinished = sum(not state.is_finished for state in states if state.key not in earlier)
    lines = []
    if unfinished:
        lines.append(
            f"warning: {counted(unfinished, 'trial')} of {folder.path} "
            f"{'has' if unfinished == 1 else 'have'} not finished and may include the best networks; to finish the run "
            f"first: {command('launch', run=folder.path)}"
        )
    fresh = plan.repeats.fresh
    if len(fresh) < top:
        available = f"{counted(len(fresh), 'network')} of the run {'has' if len(fresh) == 1 else 'have'} a result"
        lines.append(f"note: only {available}")
    if len(fresh) > top:
        lines.append(f"note: {len(fresh)} networks were already chosen to be trained again, and all of them are kept")
    seeds = sorted({seed for own in fresh.values() for seed in own})
    lines.append(
        f"{folder.name}: {counted(len(fresh), 'network')} with the fresh seeds {', '.join(map(str, seeds))}, "
        f"{counted(len(plan.fresh_keys()), 'trial')} in all"
    )
    return lines


if __name__ == "__main__":
    app.main("retrain", run)
