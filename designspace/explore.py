"""Sample several spaces, train their networks, compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace import analyze, data, launch
from designspace.cli import app
from designspace.cli.provenance import provenance
from designspace.spaces import catalog
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.sweeps.launch import Launcher, check_fit
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Fetch the images, sample, train what is not done, analyse."""
    devices = config["launcher"]["gpus_per_trial"] or config["recipe"]["devices"]
    recipe = Recipe.from_dict({**config["recipe"], "data": config["data"]["name"], "devices": devices})
    settings = {key: value for key, value in config["space"].items() if key != "name"}
    if not config["spaces"]:
        raise InputError("spaces is empty; give names of design spaces, as spaces=[AnyNetXA,RegNetX]")
    spaces = [catalog.space(name, **settings) for name in config["spaces"]]
    root = Path(config["data"]["root"] or data.default_root())
    for space in spaces:
        check_fit(space.template, recipe, root)
    origin = provenance("explore", typed)
    launcher = Launcher.from_dict(config["launcher"], root, origin)
    data.prepare(config["data"]["name"], root)
    folders = []
    for space in spaces:
        folder = RunFolder(Path(config["run"]) / space.name)
        folder.create(space.sample(config["n"], config["seed"]), origin)
        folder.write_plan(recipe, config["seed"])
        folders.append(folder)
    each = f"{counted(config['n'], 'network')} from each of {counted(len(folders), 'space')}"
    print(f"{config['name']}: {each}, in {config['run']}")
    launch.train(folders, recipe, launcher, wait=True)
    analyze.show(folders, Path(config["run"]))


if __name__ == "__main__":
    app.main("explore", run)
