"""Small runs for the tests of sweeps: creating, launching and reading them."""

import dataclasses
import json
from pathlib import Path

import patterns

from designspace.spaces import catalog
from designspace.sweeps.launch import run_local
from designspace.sweeps.process import Slot
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

SPACE = catalog.space(
    "AnyNetXA",
    stem="cifar",
    stem_width=8,
    in_channels=3,
    num_classes=len(patterns.CLASSES),
    resolution=patterns.SIZE,
    flops=(2e5, 6e5),
)
RECIPE = Recipe(data=patterns.NAME, epochs=2, batch_size=64, train_images=256, test_images=200, crop_padding=2)
CPU = [Slot("cpu"), Slot("cpu")]


def make_run(path, n=4, recipe=RECIPE, space=SPACE, **changes):
    """Create a run folder with a population and a plan."""
    run = RunFolder(path)
    run.create(space.sample(n), {})
    run.write_plan(dataclasses.replace(recipe, **changes), 0)
    return run


def launch(run, root, slots=CPU, retry_policy=None):
    """Train what is not done, here."""
    about = {"data_root": str(root)}
    return run_local([run], run.plan().recipe.epochs, slots, root, lambda progress: lambda: None, retry_policy, about)


def numbers(run):
    """Return the results that must not depend on how the trials were run: all columns but time and memory."""
    results = run.gather()
    skipped = {results.header.index("train_s"), results.header.index("memory_bytes")}
    return [[value for i, value in enumerate(row) if i not in skipped] for row in results.rows]


def curves(run):
    """Return the history of every trial without its times."""
    return {
        id_: [dataclasses.replace(record, wall_s=0.0) for record in run.trial(id_).read_history()] for id_ in run.ids()
    }


def starts(run):
    """Return how often each trial was started, counted in its log."""
    return {id_: run.trial(id_).log.read_text().count(" started on ") for id_ in run.ids()}


def plan_faults(folder: Path, faults, monkeypatch):
    """Set when the trainers of `faulty` fail: trial id -> {kind, times, epoch}."""
    folder.mkdir(exist_ok=True)
    (folder / "faults.json").write_text(json.dumps(faults))
    monkeypatch.setenv("FAULTS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
