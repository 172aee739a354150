"""Sample several spaces, train their networks, compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designspace import analyze, data, launch
from designspace.cli import app
from designspace.cli.provenance import provenance
from designspace.cli.recipes import usable
from designspace.data.of_run import DataSource
from designspace.spaces import catalog
from designspace.support.errors import InputError
from designspace.support.text import counted
from designspace.sweeps.launch import Launcher, check_fit
from designspace.sweeps.preflight import check_launch, check_training
from designspace.trials.data_note import DataNote, write_note
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe


def run(config: app.Config, typed: Sequence[str]) -> None:
    """Fetch the images, sample, check everything, train what is not done, analyse."""
    name, root = config["data"]["name"], Path(config["data"]["root"] or data.default_root()).expanduser()
    if name is None:
        raise InputError("data=... must be given: the name of a data set, as data=cifar10 or data=pets")
    settings = {key: value for key, value in config["space"].items() if key != "name"}
    if not config["spaces"]:
        raise InputError("spaces is empty; give names of design spaces, as spaces=[AnyNetXA,RegNetX]")
    spaces = [catalog.space(each, **settings) for each in config["spaces"]]
    devices = config["launcher"]["gpus_per_trial"] or config["recipe"]["devices"]
    given = Recipe.from_dict({**config["recipe"], "data": name, "devices": devices})
    recipe, note = usable(given, DataSource(name, root), typed)
    for space in spaces:
        check_fit(space.template, recipe, root)
    origin = provenance("explore", typed)
    launcher = Launcher.from_dict(config["launcher"], root, origin)
    data.prepare(name, root)
    populations = {space.name: space.sample(config["n"], config["seed"]) for space in spaces}
    for population in populations.values():
        check_training(recipe, population.space.network_columns(population.columns), root)
    folders = []
    for space_name, population in populations.items():
        folder = RunFolder(Path(config["run"]) / space_name)
        folder.create(population, origin)
        write_note(folder.path, DataNote(name, str(root.resolve()) if config["data"]["root"] else None))
        folders.append(folder)
    forecast = check_launch(folders, recipe, config["seed"], launcher)
    for line in filter(None, (note, *forecast.notes)):
        print(line)
    each = f"{counted(config['n'], 'network')} from each of {counted(len(folders), 'space')}"
    print(f"{config['name']}: {each}, in {config['run']}")
    launch.train(folders, recipe, config["seed"], launcher, wait=True)
    analyze.show(folders, Path(config["run"]))


if __name__ == "__main__":
    app.main("explore", run)
