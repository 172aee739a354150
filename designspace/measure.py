"""Measure the latency of networks on this machine or a SLURM node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast, get_args

from designspace import data
from designspace.cli import app
from designspace.cli.measurement import measurement_progress, print_measurements
from designspace.cli.options import Count, OptionalCount, Seed, one_of, whole_number
from designspace.cli.recipes import LauncherOptions
from designspace.measurement.into_folder import Again, Request, measure_into
from designspace.measurement.session import MIN_VISITS
from designspace.spaces.costs import COSTS_FILE, DEVICES, PRECISIONS
from designspace.spaces.list_files import ListedNetwork, list_name, read_networks
from designspace.spaces.network_list import NetworkList
from designspace.spaces.population import Population
from designspace.support.errors import InputError
from designspace.support.text import command, counted
from designspace.sweeps.measuring import submit_measurement
from designspace.trials.folder import RunFolder

_IMAGENET = (3, 1000, 224)
"""Channels, classes and side of the images of published networks."""


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/measure.yaml, which describes them."""

    launcher: LauncherOptions
    run: Path | None
    runs: tuple[Path, ...] | None
    networks: tuple[str, ...] | None
    out: Path | None
    device: Annotated[str, one_of("device", DEVICES)]
    batch: tuple[Count, ...]
    precision: tuple[Annotated[str, one_of("precision", PRECISIONS)], ...]
    threads: tuple[Count, ...] | None
    resolution: OptionalCount
    rounds: Annotated[int, whole_number(MIN_VISITS, 10_000)]
    seed: Seed
    again: Annotated[str, one_of("value of again", get_args(Again))]
    dry_run: bool


def run(options: Options) -> None:
    """Measure the networks here or submit the measurement to SLURM, and print the costs."""
    populations, names = _networks(options)
    request = request_of(options, _resolution(options, populations))
    slurm = options.launcher.make(options, data.default_root()).slurm
    side = f"{request.resolution} x {request.resolution} pixels"
    if options.dry_run:
        where = "as a job on SLURM" if slurm else "here"
        for setting in request.settings():
            networks = counted(sum(len(population) for population in populations.values()), "network")
            print(f"{networks} would be measured {where}: {setting.describe()}, {side}")
        return
    folders = list(populations)
    if options.networks is not None:
        folders[0].create(populations[folders[0]], options.provenance())
    if slurm:
        job = submit_measurement(folders, request, slurm, options.provenance())
        files = ", ".join(str(folder.path / COSTS_FILE) for folder in folders)
        print(f"submitted as job {job}; the costs will be in {files}")
        print(f"see its state: {command('status', run=folders[0].path)}")
        print(f"stop it: {command('cancel', run=folders[0].path)}")
        return
    networks_of, outcomes = {folder.path: list(population) for folder, population in populations.items()}, []
    for setting in request.settings():
        with measurement_progress(setting, request.rounds) as on_start:
            outcomes.append(measure_into(networks_of, setting, request, on_start))
    print_measurements(list(networks_of), outcomes, names, side)


def request_of(options: Options, resolution: int) -> Request:
    """Return what is to be measured.

    Args:
        options: the options of the command.
        resolution: side of the images, in pixels, unless the options have another one.
    """
    return Request(
        device=options.device,
        batches=options.batch,
        precisions=options.precision,
        threads=options.threads,
        resolution=options.resolution or resolution,
        rounds=options.rounds,
        seed=options.seed,
        again=cast(Again, options.again),
    )


def _networks(options: Options) -> tuple[dict[RunFolder, Population], dict[str, str]]:
    """Return the run folders with their networks, and names of listed networks by their ids.

    Raises:
        InputError: there are none, or the networks of a list are for images of different kinds or an unknown size.
    """
    if sum(each is not None for each in (options.run, options.runs, options.networks)) != 1:
        raise InputError(
            "give run=<run folder>, or runs=[<run folder>,...] to measure several together, or networks=... such as "
            "networks=[regnetx_400mf,resnest50]"
        )
    if options.networks is None:
        if options.out is not None:
            raise InputError("out=... is for networks=...; the costs of run=... are written into its folder")
        paths = options.runs or ((options.run,) if options.run else ())
        if not paths:
            raise InputError("runs is empty; give run folders, such as runs=[runs/a,runs/b]")
        return {folder: folder.population() for folder in map(RunFolder, dict.fromkeys(paths))}, {}
    items = options.networks
    listed = read_networks(items)
    names = {each.network.id: each.place for each in reversed(listed)}
    networks = tuple({each.network.id: each.network for each in listed}.values())
    resolution = options.resolution or _usual_side(listed)
    population = NetworkList(list_name(items)[:100], networks, resolution, ", ".join(items)).population()
    return {RunFolder(options.out or Path(f"runs/{population.space.name}")): population}, names


def _resolution(options: Options, populations: Mapping[RunFolder, Population]) -> int:
    """Return the side of the images that the networks are counted for, or that of the options.

    Raises:
        InputError: the networks are for images of different channels or sizes.
    """
    templates = {folder: population.space.template for folder, population in populations.items()}
    sides = {folder: options.resolution or template.resolution for folder, template in templates.items()}
    images = {
        folder: f"{counted(template.in_channels, 'channel')} of {sides[folder]} pixels"
        for folder, template in templates.items()
    }
    if len(set(images.values())) > 1:
        listed = "; ".join(f"{folder.path}: {text}" for folder, text in images.items())
        raise InputError(f"networks for different images cannot be measured together ({listed})")
    return next(iter(sides.values()))


def _usual_side(listed: Sequence[ListedNetwork]) -> int:
    """Return the side of ImageNet's images.

    Raises:
        InputError: the networks are for other images.
    """
    first = listed[0]
    channels, classes, side = _IMAGENET
    if (first.network.in_channels, first.network.num_classes) != (channels, classes):
        raise InputError(
            f"{first.place} is for images of {counted(first.network.in_channels, 'channel')} in "
            f"{counted(first.network.num_classes, 'class')}, whose size is not known; give resolution=<side in pixels>"
        )
    return side


if __name__ == "__main__":
    app.main("measure", run)
