"""Train every network of a run; the same command again goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace import data
from designspace.cli import app
from designspace.cli.tables import progress_bar
from designspace.sweeps import local
from designspace.sweeps.launch import check_fit, run_local
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Fix the plan, train what is not done, and say what came of it."""
    folder = RunFolder(Path(config["run"]))
    recipe, seed = _plan(folder, config, typed)
    check_fit(folder.space().template, recipe)
    folder.write_plan(recipe, seed)
    train([folder], recipe, config)
    print(f"results are in {folder.path / 'results.csv'}")
    print(f"look at them: python -m designspace.analyze runs=[{folder.path}]")


def train(folders: Sequence[RunFolder], recipe: Recipe, config: app.Config) -> None:
    """Train what is not done in some runs, with a progress bar."""
    places = local.slots(config["launcher"]["device"], config["launcher"]["workers"])
    root = Path(config["data"]["root"] or data.default_root())
    with progress_bar() as show:
        progress = run_local(folders, recipe.epochs, places, root, show)
    if progress.failed:
        print(f"{progress.failed} trials failed; results.csv says why. Without its error.json a trial is tried again")
    if progress.skipped:
        print(f"{progress.skipped} trials were left to another launch that is at work on them")


def _plan(folder: RunFolder, config: app.Config, typed: Sequence[str]) -> tuple[Recipe, int]:
    """The recipe and seed that were typed, or those that the run already has."""
    held = folder.plan()
    if held and not any(word.lstrip("+").startswith(("recipe", "data=", "data.name", "seed")) for word in typed):
        return held
    return Recipe.from_dict({**config["recipe"], "data": config["data"]["name"]}), config["seed"]


if __name__ == "__main__":
    app.main("launch", run)
