"""Compare spaces without training, by their networks that meet limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.analysis.edf import check_level
from designspace.analysis.screening import Screening, rank_screened
from designspace.analysis.screening_agreement import Agreement, agreement
from designspace.analysis.screening_report import write_screening
from designspace.analysis.screening_runs import trained_results
from designspace.cli import app
from designspace.cli.latency import with_all_cores
from designspace.cli.measurement import measurement_progress
from designspace.cli.options import Count, Fields, Seed
from designspace.cli.tables import print_table
from designspace.networks.quantities import COUNTED
from designspace.spaces import catalog
from designspace.spaces.constraints import Band
from designspace.spaces.custom import read_custom_space
from designspace.spaces.latency import LatencyLimit
from designspace.spaces.screening import limit_text, screen
from designspace.spaces.space import DesignSpace
from designspace.support.amounts import amount
from designspace.support.checks import whole
from designspace.support.errors import InputError, RunError, unknown
from designspace.support.files import WriteError
from designspace.trials.folder import RunFolder

if TYPE_CHECKING:  # torch
    from designspace.measurement.predicted_limit import PredictedLimit

FILE_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/screen.yaml, which describes them."""

    spaces: tuple[str, ...]
    of: str
    n: Count
    draws: Count
    seed: Seed
    level: float
    trained: tuple[Path, ...] | None
    out: Path
    limit: Fields
    space: Fields


def run(options: Options) -> None:
    """Screen each space at each resolution, and print the ranking, what is shown, and the paths of the files."""
    check_level(options.level)
    if options.of not in COUNTED:
        raise unknown("counted quantity", options.of, COUNTED)
    limits, latency = limits_of(options.limit), latency_of(options.limit)
    spaces = named_spaces(spaces_of(options))
    runs = trained_results([RunFolder(path) for path in options.trained or ()], spaces, limits)
    settings = {"n": options.n, "draws": options.draws, "seed": options.seed}
    within = {} if latency is None else measured_limits(options.out, spaces, limits, latency, options.seed)
    screened = {
        name: screen(
            space, limits, options.of, within=found.allows if (found := within.get(name)) else None, **settings
        )
        for name, space in spaces.items()
    }
    screening = rank_screened(screened, COUNTED[options.of], limits, level=options.level, seed=options.seed)
    predictions = [found.sentence(name) for name, found in within.items() if found]
    notes = [*hints(screening), *runs.notes, *predictions]
    agreed = agreement(screening, runs.results, seed=options.seed) if runs.results else None
    try:
        paths = write_screening(options.out, screening, agreed, notes, settings)
    except WriteError as error:
        raise RunError(f"{error}; choose another folder with out=...") from error
    show(screening, agreed, notes)
    print("\n".join(["", *(f"{kind}: {path}" for kind, path in paths.items())]))


def limits_of(fields: Fields) -> tuple[Band, ...]:
    """Return the limits on counted quantities that were given.

    Raises:
        InputError: a value is not an amount.
    """
    given = {name: value for name, value in fields.items() if name in COUNTED and value is not None}
    return tuple(Band(name, 0, amount(f"limit.{name}", value)) for name, value in given.items())


def hints(screening: Screening) -> list[str]:
    """Return a note on memory of microcontrollers if nothing fits in float32; empty otherwise."""
    limited = {limit.quantity for limit in screening.limits}
    if "peak_memory" in limited and screening.without_networks():
        return ["peak_memory is counted in float32; for devices that compute with 8 bits, give limit.int8_memory."]
    return []


def latency_of(fields: Fields) -> LatencyLimit | None:
    """Return the limit on latency; None if none was given.

    Raises:
        InputError: it is not a mapping of known keys and allowed values.
    """
    return None if fields["latency"] is None else with_all_cores(LatencyLimit.from_dict(fields["latency"]))


def measured_limits(
    out: Path, spaces: Mapping[str, DesignSpace], limits: Sequence[Band], latency: LatencyLimit, seed: int
) -> dict[str, PredictedLimit | None]:
    """Measure some networks of each space, into a folder, to predict which are within a limit on latency."""
    # These import torch, which other limits do not need.
    from designspace.measurement.predicted_limit import predicted_limit
    from designspace.measurement.session import ROUNDS

    found = {}
    for name, space in spaces.items():
        print(f"{name}: measuring networks to predict the latency of others")
        with measurement_progress(latency.setting, ROUNDS) as on_start:
            found[name] = predicted_limit(out, space, limits, latency, seed=seed, on_start=on_start)
    return found


def spaces_of(options: Options) -> list[DesignSpace]:
    """Return each space at each resolution, in the order in which they were given.

    Raises:
        InputError: no space or resolution was given, one does not exist, or a file does not describe a space.
    """
    if not options.spaces:
        raise InputError("spaces is empty; give names of design spaces, such as spaces=[AnyNetXB,RegNetX]")
    given = options.space["resolution"]
    sides = [whole("space.resolution", side, 1) for side in (given if isinstance(given, list) else [given])]
    if not sides:
        raise InputError("space.resolution is empty; give sides of images in pixels, such as [96,128,160]")
    settings = {key: value for key, value in options.space.items() if key not in ("name", "resolution")}
    spaces = []
    for name in options.spaces:
        if not name.endswith(FILE_ENDINGS):
            spaces += [catalog.space(name, resolution=side, **settings) for side in sides]
            continue
        required = {key: value for key, value in settings.items() if options.is_given(f"space.{key}")}
        space = read_custom_space(Path(name).expanduser(), required, {})
        own_sides = sides if options.is_given("space.resolution") else [space.template.resolution]
        spaces += [at_resolution(space, side) for side in own_sides]
    return spaces


def at_resolution(space: DesignSpace, side: int) -> DesignSpace:
    """Return a space for images of another size."""
    return dataclasses.replace(space, template=dataclasses.replace(space.template, resolution=side))


def named_spaces(spaces: Sequence[DesignSpace]) -> dict[str, DesignSpace]:
    """Return spaces by their names, with the resolution if there are several resolutions.

    Raises:
        InputError: two different spaces have the same name and resolution.
    """
    has_several = len({space.template.resolution for space in spaces}) > 1
    named: dict[str, DesignSpace] = {}
    for space in spaces:
        name = f"{space.name} at {space.template.resolution}" if has_several else space.name
        if named.setdefault(name, space) != space:
            raise InputError(f"two different spaces have the name {space.name}; give them different ones")
    return named


def show(screening: Screening, agreed: Agreement | None, notes: Sequence[str]) -> None:
    """Print the ranking, the spaces of which nothing fits, the agreement with errors, and the notes."""
    table = screening.table()
    limits = ", ".join(map(limit_text, screening.limits)) or "no limits"
    print_table(f"networks that fit ({limits})", table.header, table.rows, texts=(0, len(table.header) - 1))
    for title, lines in (
        ("", screening.without_networks()),
        ("order by errors", () if agreed is None else agreed.sentences()),
        ("notes", notes),
    ):
        if lines:
            print("\n".join([f"\n{title}".rstrip(), *(f"- {line}" for line in lines)]))


if __name__ == "__main__":
    app.main("screen", run)
