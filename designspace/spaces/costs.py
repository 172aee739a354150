"""Measured costs of networks, such as latency, and the file costs.csv that keeps them beside a population."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from designspace.networks.quantities import Quantity
from designspace.support.checks import make_plain, text, whole
from designspace.support.csv_text import check_id, decimal_point, read_rows, rows_text
from designspace.support.errors import InputError, RunError, unknown
from designspace.support.files import write_text

COSTS_FILE = "costs.csv"
DEVICES = ("cpu", "cuda", "onnxruntime")
"""What runs the networks: torch on CPUs, torch on a GPU, or ONNX Runtime on CPUs."""
PRECISIONS = ("float32", "float16", "bfloat16")
SAME_SPEED = 1.05
"""Ratio of two times of the reference network above which the machine had different speeds: twice the noise of a
measurement on a quiet machine, and half of what disturbs one."""
UNITS = {"latency": "ms", "energy": "mJ"}
"""Measured quantity -> unit: the time from a batch's images to its logits, and the energy that takes."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a cost is measured with.

    Raises:
        InputError: a field is of another kind, or not among those allowed.
    """

    device: str = "cpu"
    """One of `DEVICES`."""
    batch: int = 1
    """Number of images."""
    precision: str = "float32"
    """One of `PRECISIONS`."""
    threads: int = 0
    """Number of threads on CPUs; 0 for a GPU."""

    def __post_init__(self) -> None:
        make_plain(self)
        for what, value, allowed in (("device", self.device, DEVICES), ("precision", self.precision, PRECISIONS)):
            if text(what, value) not in allowed:
                raise unknown(what, value, allowed)
        whole("batch", self.batch, 1)
        whole("threads", self.threads, 0)

    @property
    def label(self) -> str:
        """The setting as the end of a column's name.

        >>> Setting("cpu", 64, threads=2).label, Setting("cuda", 1, "float16").label
        ('cpu_t2_b64', 'cuda_b1_float16')
        """
        threads = f"_t{self.threads}" if self.threads else ""
        precision = f"_{self.precision}" if self.precision != "float32" else ""
        return f"{self.device}{threads}_b{self.batch}{precision}"

    def describe(self) -> str:
        """Return the setting as words.

        >>> Setting("cpu", 64, threads=2).describe()
        'cpu, 2 threads, batch 64, float32'
        """
        threads = f", {self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        return f"{self.device}{threads}, batch {self.batch}, {self.precision}"


@dataclass(frozen=True, slots=True)
class Cost:
    """A measured cost of one network: a line of costs.csv."""

    id: str
    """Id of the network."""
    quantity: str
    """A key of `UNITS`."""
    setting: Setting
    machine: str
    """Name of the processor or GPU."""
    resolution: int
    """Side of the images, in pixels."""
    median: float
    """Median of the repeats, in the unit of the quantity."""
    low: float
    """Quarter of the repeats below it."""
    high: float
    """Quarter of the repeats above it."""
    n: int
    """Number of repeats."""
    disturbed: bool
    """Whether foreign load or throttling was noticed, so that the value may be too high."""
    clock_mhz: float
    """Clock of the processor or GPU during the measurement; NaN if it is not known."""
    when: str
    """Time of the measurement, UTC, as 2026-01-31T12:00:00Z."""
    versions: str
    """Versions of the library that ran the network and of this one."""
    reference_ms: float = math.nan
    """Time of the reference network in the same session, which tells how fast the machine was; NaN if not known."""


def measured_quantity(quantity: str, setting: Setting) -> Quantity:
    """Return the quantity of a cost under a setting; its name is that of its column in tables of results.

    >>> measured_quantity("latency", Setting("cpu", 1, threads=2)).name
    'latency_cpu_t2_b1'
    """
    label = f"{quantity}, {setting.describe()}"
    return Quantity(f"{quantity}_{setting.label}", label, UNITS[quantity], "measured", "lower", "log")


def write_costs(folder: Path, costs: Iterable[Cost]) -> None:
    """Write costs.csv, whole or not at all; of equal measurements (see `same_measurement`) the last one counts.

    Raises:
        RunError: the file cannot be written.
    """
    last = {same_measurement(cost): cost for cost in costs}
    write_text(folder / COSTS_FILE, rows_text([_HEADER, *map(_row, last.values())]))


def _row(cost: Cost) -> list[object]:
    """Return a cost as a line of costs.csv."""
    setting = cost.setting
    return [
        *(cost.id, cost.quantity, setting.device, setting.batch, setting.precision, setting.threads),
        *(cost.machine, cost.resolution, *(f"{value:.6g}" for value in (cost.median, cost.low, cost.high))),
        *(cost.n, int(cost.disturbed), f"{cost.clock_mhz:.4g}", cost.when, cost.versions, f"{cost.reference_ms:.6g}"),
    ]


def same_measurement(cost: Cost) -> tuple[str, str, Setting, str, int]:
    """Return what two measurements of the same network have in common if one replaces the other."""
    return cost.id, cost.quantity, cost.setting, cost.machine, cost.resolution


def read_costs(folder: Path) -> tuple[Cost, ...]:
    """Read costs.csv of a folder; return an empty tuple if the file does not exist.

    Raises:
        RunError: the file cannot be read, or a line is not a cost; the error names the line.
    """
    path = folder / COSTS_FILE
    if not path.exists():
        return ()
    return tuple(_cost(path, line, row) for line, row in read_rows(path, _HEADER, newer=1))


_HEADER = (
    *("id", "quantity", "device", "batch", "precision", "threads", "machine", "resolution", "median", "low", "high"),
    *("n", "disturbed", "clock_mhz", "when", "versions", "reference_ms"),
)


def _cost(path: Path, line: int, row: Sequence[str]) -> Cost:
    """Return the cost in a line of costs.csv."""
    cell = {"reference_ms": "nan"} | dict(zip(_HEADER, row, strict=False))
    check_id(path, line, cell["id"])
    if cell["quantity"] not in UNITS:
        raise RunError(f"{path}, line {line}: {unknown('quantity', cell['quantity'], UNITS)}")
    try:
        setting = Setting(cell["device"], int(cell["batch"]), cell["precision"], int(cell["threads"]))
        names = ("median", "low", "high", "clock_mhz", "reference_ms")
        median, low, high, clock, reference = (float(decimal_point(cell[name])) for name in names)
        n, resolution, disturbed = (int(cell[name]) for name in ("n", "resolution", "disturbed"))
    except (InputError, ValueError) as error:
        raise RunError(f"{path}, line {line}: {error}") from error
    if not 0 < low <= median <= high < float("inf"):
        raise RunError(f"{path}, line {line}: needs 0 < low <= median <= high, not {low:g}, {median:g}, {high:g}")
    return Cost(
        *(cell["id"], cell["quantity"], setting, cell["machine"], resolution, median, low, high, n, bool(disturbed)),
        *(clock, cell["when"], cell["versions"], reference),
    )


def speeds_differ(first_ms: float, second_ms: float) -> bool:
    """Return whether a machine had different speeds, by the times of the reference network; False if one is NaN.

    >>> speeds_differ(10.0, 10.4), speeds_differ(11.0, 10.0), speeds_differ(math.nan, 10.0)
    (False, True, False)
    """
    return max(first_ms, second_ms) > SAME_SPEED * min(first_ms, second_ms)


def cost_columns(costs: Iterable[Cost], ids: Sequence[str]) -> dict[Quantity, NDArray[np.float64]]:
    """Return the medians of measured costs as columns with an entry per id, NaN where nothing was measured.

    There is a column per quantity and setting. Where several machines measured one of these, or images of several
    sizes, each has a column of its own, whose name ends with the machine or the size. Each quantity names its machine.
    """
    groups: dict[tuple[str, Setting], dict[tuple[str, int], dict[str, Cost]]] = {}
    for cost in costs:
        machines = groups.setdefault((cost.quantity, cost.setting), {})
        machines.setdefault((cost.machine, cost.resolution), {})[cost.id] = cost
    columns = {}
    for (name, setting), machines in groups.items():
        for (machine, resolution), by_id in machines.items():
            present = [by_id[id_] for id_ in ids if id_ in by_id]
            if not present:
                continue
            values = np.array([by_id[id_].median if id_ in by_id else np.nan for id_ in ids], np.float64)
            times = [cost.reference_ms for cost in present if not math.isnan(cost.reference_ms)]
            reference = statistics.median(times) if times else math.nan
            quantity = replace(measured_quantity(name, setting), machine=machine, reference_ms=reference)
            names, sizes = {machine for machine, _ in machines}, {size for _, size in machines}
            if len(names) > 1:
                quantity = _more(quantity, re.sub(r"\W+", "_", machine).strip("_").lower(), machine)
            if len(sizes) > 1:
                quantity = _more(quantity, f"{resolution}px", f"{resolution} pixels")
            columns[quantity] = values
    return columns


def _more(quantity: Quantity, suffix: str, words: str) -> Quantity:
    """Return a quantity with a longer name and label."""
    return replace(quantity, name=f"{quantity.name}_{suffix}", label=f"{quantity.label}, {words}")
