"""Check, in a process of its own, that workers can import and build what is the user's own.

A launch starts it with the environment of a worker, so that nothing of the user's runs in the launching process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from designspace.networks.complexity import complexity
from designspace.networks.network import Network
from designspace.spaces.constraints import QUANTITIES
from designspace.spaces.population import Population
from designspace.support import user_code
from designspace.support.errors import InputError
from designspace.support.imported import import_object
from designspace.sweeps import snapshot
from designspace.trials.recipe import Recipe


def import_problem(recipe: Recipe, populations: Sequence[Population]) -> str:
    """Return why workers cannot import or build what is the user's own; an empty text if they can.

    Of each population, the first and the last network are built, of a list one for each combination of the user's
    classes, and their costs compared with those of the population: the user may have changed a block since then.
    """
    names = sorted({*recipe.imported_names, *(name for each in populations for name in each.space.imported_names)})
    if not names:
        return ""
    request = {"recipe": recipe.to_dict(), "networks": [_described(each) for each in populations]}
    process = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(request),
        env=worker_environment(names),
        capture_output=True,
        text=True,
        errors="replace",
    )
    if process.returncode == 0:
        return ""
    lines = process.stderr.strip().splitlines()
    return lines[-1] if lines else f"a process that imports {', '.join(names)} ended with code {process.returncode}"


def worker_environment(names: Iterable[str]) -> dict[str, str]:
    """Return variables for a process that imports the user's objects of some names as workers do.

    A launch copies their files to where workers look; until then they are in the user's folders.
    """
    folders = {str(folder) for name in names if (folder := user_code.folder_of(name))}
    environment = {**os.environ, **snapshot.environment(snapshot.PACKAGE.parent)}
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], *sorted(folders)])
    return environment


def _described(population: Population) -> list[dict[str, Any]]:
    """Return the networks of a population to build: their JSON and their costs. Empty if they are all built in."""
    if not population.space.imported_names:
        return []
    ends = {0, len(population) - 1}
    if not population.space.is_drawn:  # the last network of each combination of classes
        ends = set({network.imported_names: index for index, network in enumerate(population)}.values())
    return [
        {
            "network": population[index].to_json(),
            "resolution": population.space.template.resolution,
            "costs": {name: int(population.columns[name][index]) for name in QUANTITIES},
        }
        for index in sorted(ends)
    ]


def check(request: dict[str, Any]) -> None:
    """Import the objects and build the networks of a request.

    Raises:
        InputError: one of them cannot be imported or built, is not callable, or has other costs than it had.
    """
    recipe = Recipe.from_dict(request["recipe"])
    for option, name in recipe.imported_options.items():
        if not callable(import_object(option, name)):
            raise InputError(f"{option}: {name} is not a function or class")
    for fields in (fields for networks in request["networks"] for fields in networks):
        from designspace.training.loop import initial_model

        network = Network.from_json(fields["network"])
        initial_model(network, recipe, 0)
        costs = complexity(network, fields["resolution"])._asdict()
        for name, expected in fields["costs"].items():
            if costs[name] != expected:
                raise InputError(
                    f"{', '.join(network.imported_names)}: network {network.id} has {costs[name]:,} {name}, but it had "
                    f"{expected:,} when it was sampled; the file was changed since then. Undo that, or sample again"
                )


if __name__ == "__main__":
    try:
        check(json.load(sys.stdin))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
