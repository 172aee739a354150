"""The networks of other programs' jobs: their stages, and which of this project's networks they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from designspace.analysis.peers.job import Job
from designspace.analysis.peers.rows import digest
from designspace.networks.complexity import complexity
from designspace.networks.network import Network, Stage
from designspace.support.errors import InputError, RunError

BLOCKS = {
    "res_bottleneck_block": "bottleneck",
    "res_bottleneck_linear_block": "bottleneck_linear",
    "res_basic_block": "basic",
    "vanilla_block": "vanilla",
    "double_plain_block": "vanilla",
}
"""Blocks by the names of pycls and NDS."""
_PLAIN = ("basic", "vanilla")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that a job may have trained, with the resolution of its images."""

    network: Network
    resolution: int


@dataclass(frozen=True, slots=True)
class JobNetwork:
    """The description of a job's network."""

    stages: Sequence[Stage] = ()
    candidates: Sequence[Candidate] = ()
    """The networks that it may be; empty if this project does not support it."""
    regnet: Mapping[str, float] = field(default_factory=dict)
    """The parameters of a RegNet, as columns."""

    def identified(self, params: float) -> Candidate | None:
        """Return the first candidate with a number of weights, or the first one of all if the number is NaN."""
        for candidate in self.candidates:
            if math.isnan(params) or complexity(candidate.network, candidate.resolution).params == params:
                return candidate
        return None

    def cells(self, recorded: Mapping[str, float], description: Any) -> dict[str, Any]:
        """Return id, complexity, parameters of a RegNet and stages, as columns.

        Args:
            recorded: the complexity in the job (see `recorded_complexity`).
            description: a value whose digest is the id of a network that is not identified.
        """
        if candidate := self.identified(recorded["params"]):
            known = {name: value for name, value in recorded.items() if not math.isnan(value)}
            computed = complexity(candidate.network, candidate.resolution)._asdict()
            cells = {"id": candidate.network.id, **computed, **known}
        else:
            cells = {"id": digest(description), **recorded}
        return {**cells, **self.regnet, **_stage_cells(self.stages)}


@dataclass(frozen=True, slots=True)
class StageLists:
    """Stages as lists with one entry per stage, as both programs write them."""

    depths: list[int]
    widths: list[int]
    strides: list[int]
    """Empty if all are 2."""
    multipliers: list[float]
    """pycls's bottleneck multipliers; empty for blocks without a bottleneck."""
    groups: list[int]
    """Group widths, or numbers of groups; empty for blocks without groups."""

    def without_first(self) -> StageLists:
        """Return the lists without their first entries."""
        return StageLists(self.depths[1:], self.widths[1:], self.strides[1:], self.multipliers[1:], self.groups[1:])

    def stages(self, job: Job, key: str, block: str, count_groups: bool = False) -> list[Stage]:
        """Return the stages; with ``count_groups``, ``groups`` holds numbers of groups.

        Raises:
            RunError: the lists, which are below ``key`` of the job, do not describe stages.
        """
        strides = self.strides or [2] * len(self.depths)
        is_plain = block in _PLAIN or not self.multipliers or not self.groups
        required = (self.widths, strides, *(() if is_plain else (self.multipliers, self.groups)))
        if not self.depths or any(len(values) != len(self.depths) for values in required):
            lists = (self.depths, self.widths, self.strides, self.multipliers, self.groups)
            lengths = ", ".join(str(len(values)) for values in lists)
            raise RunError(f"{job.location}: the lists of {key} do not make stages (they have {lengths} entries)")
        stages = []
        for index, (depth, width, stride) in enumerate(zip(self.depths, self.widths, strides, strict=True)):
            try:
                if is_plain:
                    stages.append(Stage(depth, width, stride, 1, width))
                    continue
                ratio, group_width = bottleneck_ratio(self.multipliers[index]), self.groups[index]
                if count_groups:
                    group_width = Stage(depth, width, stride, ratio).inner_width // self.groups[index]
                stages.append(Stage(depth, width, stride, ratio, group_width))
            except (InputError, ZeroDivisionError, OverflowError, ValueError) as error:
                raise RunError(f"{job.location}: stage {index + 1} of {key} is invalid ({error})") from error
        return stages


def recorded_complexity(job: Job, prefix: str = "") -> dict[str, float]:
    """Return the complexity in a job, as columns; NaN if unknown. Its keys begin with ``prefix``."""
    keys = {"flops": "flops", "params": "params", "activations": "acts"}
    return {column: job.number(f"{prefix}{key}") for column, key in keys.items()}


def bottleneck_ratio(multiplier: float) -> float:
    """Return the paper's bottleneck ratio b from pycls's multiplier, which is 1 / b."""
    ratio = 1 / multiplier
    return round(ratio) if abs(ratio - round(ratio)) < 1e-6 else ratio


def _stage_cells(stages: Sequence[Stage]) -> dict[str, float]:
    """Return stages as columns."""
    cells: dict[str, float] = {}
    for number, stage in enumerate(stages, start=1):
        values = (stage.depth, stage.width, stage.bottleneck_ratio, stage.group_width)
        cells |= {f"{letter}{number}": value for letter, value in zip("dwbg", values, strict=True)}
    return cells
