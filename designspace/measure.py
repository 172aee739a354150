"""Measure the latency of networks on this machine or a SLURM node."""

from __future__ import annotations

from collections.abc import Sequence
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
    folder, population, names = _networks(options)
    request = request_of(options, population.space.template.resolution)
    slurm = options.launcher.make(options, data.default_root()).slurm
    side = f"{request.resolution} x {request.resolution} pixels"
    if options.dry_run:
        where = "as a job on SLURM" if slurm else "here"
        for setting in request.settings():
            print(f"{counted(len(population), 'network')} would be measured {where}: {setting.describe()}, {side}")
        return
    if options.run is None:
        folder.create(population, options.provenance())
    if slurm:
        job = submit_measurement(folder, request, slurm, options.provenance())
        print(f"submitted as job {job}; the costs will be in {folder.path / COSTS_FILE}")
        print(f"see its state: {command('status', run=folder.path)}")
        print(f"stop it: {command('cancel', run=folder.path)}")
        return
    networks, outcomes = list(population), []
    for setting in request.settings():
        with measurement_progress(setting, request.rounds) as on_start:
            outcomes.append(measure_into(folder.path, networks, setting, request, on_start))
    print_measurements(folder.path, outcomes, names, side)


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


def _networks(options: Options) -> tuple[RunFolder, Population, dict[str, str]]:
    """Return the run folder, the networks, and names of listed networks by their ids.

    Raises:
        InputError: there are none, or the networks of a list are for images of different kinds or an unknown size.
    """
    if (options.run is None) == (options.networks is None):
        raise InputError("give run=<run folder>, or networks=... such as networks=[regnetx_400mf,resnest50]")
    if options.run is not None:
        if options.out is not None:
            raise InputError("out=... is for networks=...; the costs of run=... are written into its folder")
        folder = RunFolder(options.run)
        return folder, folder.population(), {}
    items = options.networks or ()
    listed = read_networks(items)
    names = {each.network.id: each.place for each in reversed(listed)}
    networks = tuple({each.network.id: each.network for each in listed}.values())
    resolution = options.resolution or _usual_side(listed)
    population = NetworkList(list_name(items)[:100], networks, resolution, ", ".join(items)).population()
    return RunFolder(options.out or Path(f"runs/{population.space.name}")), population, names


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
