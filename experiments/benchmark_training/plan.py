"""Fix the recipe of a run without training it: ``python plan.py RUN data=... recipe=...``, as launch takes them."""

from __future__ import annotations

import sys
from pathlib import Path

from designspace.cli.app import compose
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

if __name__ == "__main__":
    path, *words = sys.argv[1:]
    config = compose("launch", [f"run={path}", "data=fashion_mnist", *words])
    recipe = Recipe.from_dict({**config["recipe"], "data": config["data"]["name"]})
    RunFolder(Path(path)).write_plan(recipe, config["seed"])
