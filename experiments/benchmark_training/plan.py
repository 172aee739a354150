"""Write the plan of a run without training it: ``python plan.py RUN data=... recipe=...``, with arguments of launch."""

from __future__ import annotations

import sys
from pathlib import Path

from designspace.cli.app import compose
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

if __name__ == "__main__":
    path, *overrides = sys.argv[1:]
    config = compose("launch", [f"run={path}", "data=fashion_mnist", *overrides])
    recipe = Recipe.from_dict({**config["recipe"], "data": config["data"]["name"]})
    RunFolder(Path(path)).write_plan(recipe, config["seed"])
