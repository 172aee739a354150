"""Train the best networks of a run again with fresh seeds; rank them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from designspace import launch
from designspace.analysis.retraining import retraining
from designspace.cli import app
from designspace.cli.options import whole_number
from designspace.cli.recipes import Chosen, LauncherOptions, plan_of
from designspace.cli.tables import print_table
from designspace.support.errors import InputError
from designspace.support.text import command, counted
from designspace.sweeps.preflight import check_launch
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.retraining import with_fresh_seeds
from designspace.trials.trial_folder import TrialState


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/retrain.yaml, which says what they mean."""

    launcher: LauncherOptions
    run: Path
    top: Annotated[int, whole_number(1, 10_000)]
    seeds: Annotated[int, whole_number(1, 1000)]
    wait: bool
    dry_run: bool


def run(options: Options) -> None:
    """Choose networks and seeds, check everything, train what is not done, and print the new order."""
    folder = RunFolder(options.run)
    num_classes = folder.space().template.num_classes
    before = plan_of(folder)
    states = folder.states(folder.trial_keys(before.plan))
    if not any(state.result for state in states):
        raise InputError(
            f"no trial of {folder.path} is done, so there is no best network to train again; first: "
            f"{command('launch', run=folder.path)}"
        )
    plan = with_fresh_seeds(before.plan, states, options.top, options.seeds, num_classes)
    for line in _about_choice(folder, before.plan, plan, states, options.top):
        print(line)
    launcher = options.launcher.make(options, before.root)
    trials = plan.fresh_keys()
    forecast = check_launch({folder: plan}, launcher, trials)
    for note in forecast.notes:
        print(note)
    if options.dry_run:
        launch.show_plan(folder, Chosen(plan, before.root), launcher, forecast, trials)
        return
    if forecast.waiting:
        launch.train({folder: plan}, launcher, wait=options.wait, only=trials)
    show(folder, num_classes)


def show(folder: RunFolder, num_classes: int) -> None:
    """Print the networks that were trained again in their new order, and which figure is which."""
    plan = folder.plan()
    assert plan is not None
    try:
        found = retraining(plan, folder.states(folder.trial_keys(plan)), num_classes)
    except InputError as error:  # tasks on SLURM have just been submitted, or all trials failed
        print(f"{error}; to see where they stand: {command('status', run=folder.path)}")
        return
    table = found.table()
    print_table(f"\n{table.title}", table.header, table.rows, texts=(1, table.header.index(found.interval_name)))
    print()
    for sentence in found.sentences():
        print(sentence)
    print(f"the first one, with its weights: {command('export', run=folder.path, to='best')}")


def _about_choice(folder: RunFolder, before: Plan, plan: Plan, states: Sequence[TrialState], top: int) -> list[str]:
    """Return what to say of the networks and seeds that were chosen."""
    earlier = before.fresh_keys()
    unfinished = sum(not state.is_finished for state in states if state.key not in earlier)
    lines = []
    if unfinished:
        lines.append(
            f"warning: {counted(unfinished, 'trial')} of {folder.path} "
            f"{'has' if unfinished == 1 else 'have'} not finished, and the best networks may be among them; to finish "
            f"the run first: {command('launch', run=folder.path)}"
        )
    fresh = plan.repeats.fresh
    if len(fresh) < top:
        known = f"{counted(len(fresh), 'network')} of the run {'has' if len(fresh) == 1 else 'have'} a result"
        lines.append(f"note: only {known}")
    if len(fresh) > top:
        lines.append(f"note: {len(fresh)} networks are being trained again already, and all of them stay")
    seeds = sorted({seed for own in fresh.values() for seed in own})
    lines.append(
        f"{folder.name}: {counted(len(fresh), 'network')} with the fresh seeds {', '.join(map(str, seeds))}, "
        f"{counted(len(plan.fresh_keys()), 'trial')} in all"
    )
    return lines


if __name__ == "__main__":
    app.main("retrain", run)
