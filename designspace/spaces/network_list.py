"""Lists of networks that were chosen instead of drawn from a space: the other source of a population."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import yaml

from designspace.networks import blocks
from designspace.networks.columns import NetworkColumns
from designspace.networks.complexity import check_listed_layers, complexity
from designspace.networks.counting import count
from designspace.networks.layers import Column
from designspace.networks.network import Network
from designspace.spaces.parameters import Columns
from designspace.spaces.population import COMPLEXITY_COLUMNS, SPACE_FILE, Population
from designspace.spaces.space import DesignSpace, check_space_name
from designspace.spaces.space_checks import MAX_COST
from designspace.spaces.template import Template
from designspace.support.checks import mapping, text
from designspace.support.errors import InputError, RunError
from designspace.support.imported import is_import_name

FAMILY = "given"
"""Value of ``family`` in the space.yaml of a list."""
NETWORKS_FILE = "networks.jsonl"
"""File with the networks of a list, one canonical JSON per line."""
_IMAGE_FACTS = ("in_channels", "num_classes", "resolution")


@dataclass(frozen=True)
class NetworkList:
    """Networks that were chosen, with the same images in mind; they may differ in everything else.

    The population of a list holds its networks in their order. Nothing is drawn, so the networks are no sample of
    anything else: a claim about them is a claim about these networks.

    Raises:
        InputError: there is no network, a network occurs twice, or they differ in channels or classes.
    """

    name: str
    networks: tuple[Network, ...]
    resolution: int = 224
    """Side of the square images for which complexity is counted, in pixels."""
    origin: str = field(default="", compare=False)
    """Where the networks were read from, as text."""
    is_drawn: ClassVar[bool] = False
    """Whether the networks were drawn at random."""

    def __post_init__(self) -> None:
        check_space_name(self.name)
        if not isinstance(self.networks, tuple) or not self.networks:
            raise InputError(f"{self.name}: the list has no network")
        facts = {(network.in_channels, network.num_classes) for network in self.networks}
        if len(facts) > 1:
            listed = ", ".join(f"{channels} channels and {classes} classes" for channels, classes in sorted(facts))
            raise InputError(f"{self.name}: the networks are for different images: {listed}")
        if len(set(self.ids)) < len(self.ids):
            repeated = next(id_ for id_ in self.ids if self.ids.count(id_) > 1)
            raise InputError(f"{self.name}: the network {repeated} occurs twice")
        _ = self.template  # checks the facts

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the networks, in their order."""
        return tuple(network.id for network in self.networks)

    @functools.cached_property
    def _networks_by_id(self) -> Mapping[str, Network]:
        return dict(zip(self.ids, self.networks, strict=True))

    @functools.cached_property
    def template(self) -> Template:
        """The images of all networks, as a template; its other fields say nothing of them."""
        first = self.networks[0]
        return Template(in_channels=first.in_channels, num_classes=first.num_classes, resolution=self.resolution)

    @property
    def num_stages(self) -> int:
        """Number of stages of the network with the most."""
        return max(len(network.stages) for network in self.networks)

    @property
    def imported_names(self) -> tuple[str, ...]:
        """Names of the user's own classes of which the networks consist, such as ``mine:Block``."""
        return tuple(dict.fromkeys(name for network in self.networks for name in network.imported_names))

    def part(self, indices: Sequence[int]) -> NetworkList:
        """Return the list of some of the networks, which is the source of a part of the population.

        Raises:
            InputError: there are none, or a network occurs twice.
        """
        return dataclasses.replace(self, networks=tuple(self.networks[index] for index in indices))

    def network(self, row: Mapping[str, Any]) -> Network:
        """Return the network of one row of the population, which its id determines.

        Raises:
            RunError: the list has no such network.
        """
        if row["id"] not in self._networks_by_id:
            raise RunError(f"{self.name}: {NETWORKS_FILE} does not have the network {row['id']}; it was changed")
        return self._networks_by_id[row["id"]]

    def column_names(self) -> list[str]:
        """Return the names of the columns that describe the networks, in the order of population.csv."""
        return list(self.columns)

    def text_columns(self) -> set[str]:
        """Return the names of the columns whose entries are texts."""
        return {name for name, column in self.columns.items() if column.dtype.kind == "U"}

    @functools.cached_property
    def columns(self) -> Columns:
        """What the networks consist of, as columns.

        A stage that a network does not have is 0 in the columns of stages, and a parameter that its block does not
        have is 0, or empty if it is a text.
        """
        stages = range(self.num_stages)
        columns: Columns = {
            f"{letter}{i + 1}": np.array(
                [getattr(network.stages[i], name) if i < len(network.stages) else 0 for network in self.networks]
            )
            for letter, name in zip("dwbg", ("depth", "width", "bottleneck_ratio", "group_width"), strict=True)
            for i in stages
        }
        of_stages = {name for network in self.networks for stage in network.stages for name, _ in stage.parameters}
        for name in sorted(of_stages):
            for i in stages:
                columns[f"{name}{i + 1}"] = _own_column([_of_stage(network, i, name) for network in self.networks])
        columns["radix"] = np.array([network.radix for network in self.networks])
        columns["stem_width"] = np.array([network.stem.width for network in self.networks])
        for name in sorted({name for network in self.networks for name, _ in network.parameters}):
            columns[name] = _own_column([_of_network(network, name) for network in self.networks])
        columns["stem"] = np.array([network.stem.kind for network in self.networks])
        columns["block"] = np.array([network.block for network in self.networks])
        return columns

    def population(self) -> Population:
        """Return all networks with their costs.

        Raises:
            InputError: a custom class cannot be imported or built, or a cost does not fit into 64 bits.
        """
        checked_blocks: set[str] = set()
        costs: list[tuple[int, ...]] = []
        for network in self.networks:
            costs.append(complexity(network, self.resolution))
            if max(costs[-1]) > MAX_COST:
                raise InputError(
                    f"{self.name}: {network} costs {max(costs[-1]):.0e} multiply-adds or weights, but at most "
                    f"{MAX_COST:.0e} can be counted"
                )
            lists_layers = is_import_name(network.block) and not blocks.get(network.block).is_traced
            if lists_layers and network.block not in checked_blocks:
                check_listed_layers(network, self.resolution)
                checked_blocks.add(network.block)
        counted = (np.array(column, np.int64) for column in zip(*costs, strict=True))
        columns = {**self.columns, **dict(zip(COMPLEXITY_COLUMNS, counted, strict=True))}
        return Population(self, 0, self.ids, columns, len(self.ids), {})

    def quantity(self, name: str, columns: Columns) -> Column:
        """Count a quantity (`designspace.networks.quantities.COUNTED`) of all networks as int64. Shape (n,).

        Raises:
            InputError: the quantity is unknown, or a custom class cannot be imported or built.
        """
        counted = (count(NetworkColumns.of(network), self.resolution, [name])[name] for network in self.networks)
        return np.array([int(column[0]) for column in counted], np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return a description by plain values (space.yaml) without the networks, which have a file of their own."""
        facts = {name: getattr(self.template, name) for name in _IMAGE_FACTS}
        return {"name": self.name, "family": FAMILY, "origin": self.origin, "template": facts}

    def files(self) -> dict[str, str]:
        """Return the files that describe the list: name -> text."""
        lines = "".join(f"{network.to_json()}\n" for network in self.networks)
        return {SPACE_FILE: yaml.safe_dump(self.to_dict(), sort_keys=False), NETWORKS_FILE: lines}

    @staticmethod
    def from_files(fields: Any, lines: str) -> NetworkList:
        """Return the list that `files` described.

        Args:
            fields: the parsed space.yaml.
            lines: the text of networks.jsonl.

        Raises:
            InputError: a key is missing, a line is not a network, or the two contradict each other.
        """
        keys = ("name", "family", "origin", "template")
        values = mapping("a list of networks", fields, keys, keys)
        facts = mapping("template", values["template"], _IMAGE_FACTS, _IMAGE_FACTS)
        networks = []
        for line, content in enumerate(lines.splitlines(), start=1):
            try:
                networks.append(Network.from_json(content))
            except InputError as error:
                raise InputError(f"{NETWORKS_FILE}, line {line}: {error}") from error
        origin = text("origin", values["origin"], _MAX_ORIGIN)
        result = NetworkList(values["name"], tuple(networks), facts["resolution"], origin)
        if result.to_dict()["template"] != dict(facts):
            raise InputError(f"{NETWORKS_FILE} has networks for other images than template: {dict(facts)}")
        return result


NetworkSource: TypeAlias = DesignSpace | NetworkList
"""Where the networks of a population come from."""
_MAX_ORIGIN = 100_000


def columns_of(population: Population) -> Iterator[NetworkColumns]:
    """Yield the networks of a population as columns: those of a space together, those of a list one by one."""
    if isinstance(population.space, DesignSpace):
        yield population.space.network_columns(population.columns)
    else:
        yield from map(NetworkColumns.of, population)


def _of_stage(network: Network, index: int, name: str) -> Any:
    """Return an own parameter of a stage; None if the network has no such stage or its block no such parameter."""
    if index >= len(network.stages):
        return None
    stage = network.stages[index]
    return dict(stage.parameters).get(name, _default(network, name, once=False))


def _of_network(network: Network, name: str) -> Any:
    """Return an own parameter that a network has once; None if its block, stem or head has no such parameter."""
    return dict(network.parameters).get(name, _default(network, name, once=True))


def _default(network: Network, name: str, *, once: bool) -> Any:
    """Return the default of a parameter of a built-in block; None for another one, since nothing is imported here."""
    kind = blocks.BLOCKS.get(network.block)
    parameters = kind.parameters if kind else ()
    return next((each.default for each in parameters if each.name == name and each.once == once), None)


def _own_column(values: list[Any]) -> Column:
    """Return the values of an own parameter as a column of numbers, or of texts if any of them is a text."""
    if any(isinstance(value, str) for value in values):
        return np.array(["" if value is None else str(value) for value in values])
    return np.array([0 if value is None else value for value in values])
