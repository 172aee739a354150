"""The plan of a run: a recipe, a first seed, and further seeds for its networks.

A trial is a network and a seed. Its key is its name, and that of its folder, within the run: ``<network id>`` for the
first seed of the run, ``<network id>-s<seed>`` for any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from designspace.support.checks import mapping, whole
from designspace.support.csv_text import ID
from designspace.support.errors import InputError
from designspace.trials.metric import Metric, top1_error
from designspace.trials.recipe import Recipe
from designspace.trials.recipe_axes import NO_AXES, RecipeAxes, typed
from designspace.trials.trial import differences, fingerprint_of

MAX_SEED = 2**63 - 1
"""Largest seed of a repeat."""

_KEY = re.compile(rf"{ID.pattern}(-s(0|[1-9][0-9]{{0,18}}))?")


def is_key(text: str) -> bool:
    """Return whether a text can be the key of a trial: anything else might be a path outside the run folder."""
    return _KEY.fullmatch(text) is not None


def id_of(key: str) -> str:
    """Return the id of the network of a trial.

    >>> id_of("60e881614052-s3")
    '60e881614052'
    """
    return key.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Repeats:
    """The seeds in addition to the first one with which networks of a run are trained."""

    for_all: tuple[int, ...] = ()
    """Seeds with which all networks are trained, ascending."""
    fresh: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Network id -> seeds, ascending, with which a network was trained again after it had been chosen by its error.

    They did not affect the choice, so the mean of their errors is not biased by it."""

    def __post_init__(self) -> None:
        for seed in (*self.for_all, *(seed for seeds in self.fresh.values() for seed in seeds)):
            whole("a seed of repeats", seed, 0, MAX_SEED)
        for id_ in self.fresh:
            if not ID.fullmatch(id_):
                raise InputError(f"fresh: {id_[:40]!r} is not an id, which has 12 hex digits")
        for seeds in (self.for_all, *self.fresh.values()):
            if list(seeds) != sorted(set(seeds)):
                raise InputError(f"the seeds {', '.join(map(str, seeds))} are not ascending, or one occurs twice")

    def __bool__(self) -> bool:
        """Return whether there are any repeats."""
        return bool(self.for_all or self.fresh)

    def with_more(self, other: Repeats) -> Repeats:
        """Return the union of these and other repeats."""
        ids = dict.fromkeys((*self.fresh, *other.fresh))
        fresh = {id_: _union(self.fresh.get(id_, ()), other.fresh.get(id_, ())) for id_ in ids}
        return Repeats(_union(self.for_all, other.for_all), fresh)

    def of_networks(self, ids: Sequence[str]) -> Repeats:
        """Return only the repeats of some networks."""
        known = set(ids)
        return Repeats(self.for_all, {id_: seeds for id_, seeds in self.fresh.items() if id_ in known})

    def to_text(self) -> str:
        """Return the repeats as YAML, with ids in quotes, since ``60e881614052`` alone would be a number.

        >>> print(Repeats((1, 2), {"60e881614052": (3,)}).to_text())
        all: [1, 2]
        fresh:
          "60e881614052": [3]
        <BLANKLINE>
        """
        lines = [f"all: {json.dumps(self.for_all)}", "fresh:" if self.fresh else "fresh: {}"]
        lines += [f"  {json.dumps(id_)}: {json.dumps(seeds)}" for id_, seeds in self.fresh.items()]
        return "\n".join(lines) + "\n"

    @staticmethod
    def from_fields(fields: Any) -> Repeats:
        """Return the repeats that a YAML file holds.

        Raises:
            InputError: the fields are not valid.
        """
        known = mapping("repeats", fields, ("all", "fresh"), ("all", "fresh"))
        fresh = mapping("fresh", known["fresh"])
        return Repeats(_seeds("all", known["all"]), {id_: _seeds(id_, seeds) for id_, seeds in fresh.items()})


NO_REPEATS = Repeats()


def further_seeds(seed: int, count: int) -> Repeats:
    """Return the repeats that train all networks with ``count`` consecutive seeds, the first seed included.

    Raises:
        InputError: the seed or the count is out of range.
    """
    first = whole("seed", seed, 0)
    return Repeats(tuple(range(first + 1, first + whole("seeds", count, 1, 10_000))))


@dataclass(frozen=True, slots=True)
class Plan:
    """How the networks of a run are trained."""

    recipe: Recipe
    """The recipe of all trials. Fields that are drawn for each network have their greatest value (see `recipe_of`)."""
    seed: int
    """The first seed."""
    repeats: Repeats = NO_REPEATS
    axes: RecipeAxes = NO_AXES
    """The fields of the recipe that are drawn for each network."""
    metric: Metric | None = None
    """What the networks are measured by; None for the default metric, and before a launch has determined it."""

    def __post_init__(self) -> None:
        self.axes.check(self.recipe)
        if self.seed in self.repeats.for_all or any(self.seed in seeds for seeds in self.repeats.fresh.values()):
            raise InputError(f"the seed {self.seed} is the run's first one, so it cannot be a repeat")

    def metric_for(self, num_classes: int) -> Metric:
        """Return what the networks are measured by, given their number of classes."""
        return self.metric or top1_error(num_classes)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds with which all networks are trained, the first one first."""
        return (self.seed, *self.repeats.for_all)

    def key(self, id_: str, seed: int) -> str:
        """Return the key of the trial of a network with a seed."""
        return id_ if seed == self.seed else f"{id_}-s{seed}"

    def seed_of(self, key: str) -> int:
        """Return the seed of a trial."""
        return int(key.partition("-s")[2] or self.seed)

    def recipe_of(self, key: str) -> Recipe:
        """Return the recipe of a trial; all trials of a network have the same one."""
        return self.axes.draw(self.recipe, self.seed, id_of(key)) if self.axes else self.recipe

    def fingerprint(self, key: str) -> str:
        """Return the fingerprint of a trial, which identifies its network, recipe and seed (see `fingerprint_of`)."""
        return fingerprint_of(id_of(key), self.recipe_of(key), self.seed_of(key))

    def recipe_fields(self) -> dict[str, Any]:
        """Return the fields of the recipe, with the descriptions of axes for those that are drawn."""
        return self.axes.fields(self.recipe)

    def keys(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the keys of all trials of a population: all networks with the first seed, then with the next one.

        This order makes an unfinished run a complete run with fewer seeds.
        """
        if not self.repeats:
            return tuple(ids)
        fresh: dict[int, set[str]] = {}
        for id_, seeds in self.repeats.fresh.items():
            for seed in seeds:
                fresh.setdefault(seed, set()).add(id_)
        keys = list(ids)
        for seed in sorted({*self.repeats.for_all, *fresh}):
            chosen = None if seed in self.repeats.for_all else fresh[seed]
            keys += [f"{id_}-s{seed}" for id_ in ids if chosen is None or id_ in chosen]
        return tuple(keys)

    def fresh_keys(self) -> frozenset[str]:
        """Return the keys of the trials that train chosen networks again with fresh seeds."""
        return frozenset(self.key(id_, seed) for id_, seeds in self.repeats.fresh.items() for seed in seeds)

    def choosing_seeds(self, id_: str) -> tuple[int, ...]:
        """Return the seeds whose errors decide which networks to train again: those of all networks, unless fresh."""
        fresh = self.repeats.fresh.get(id_, ())
        return tuple(seed for seed in self.seeds if seed not in fresh)

    def differences(self, recipe: Recipe, seed: int, axes: RecipeAxes = NO_AXES) -> str:
        """Return a message that lists in which fields another recipe and seed differ; empty if there are none."""
        ours = {"recipe": self.recipe_fields(), "seed": self.seed}
        pairs = differences(ours, {"recipe": axes.fields(recipe), "seed": seed})
        listed = "; ".join(
            f"{name} is {typed(there)} there and {typed(here)} here" for name, (there, here) in pairs.items()
        )
        if not pairs:
            return ""
        if list(pairs) == ["seed"]:
            return (
                f"is already being trained with another seed ({listed}). Leave seed out to resume; seeds=2 trains the "
                "networks with the next seed too. Or sample the same networks into another folder with run=..."
            )
        if list(pairs) == ["recipe.data"]:
            return (
                f"is already being trained on {self.recipe.data} ({listed}). Leave data out to resume, or sample for "
                f"{recipe.data} into another folder with run=..."
            )
        return (
            f"is already being trained with another recipe ({listed}). Leave the recipe out to resume with it, or "
            "sample into another folder with run=..."
        )


def _union(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Return the union of seeds, ascending."""
    return tuple(sorted({*first, *second}))


def _seeds(name: str, value: Any) -> tuple[int, ...]:
    """Return seeds from a list in a file."""
    if not isinstance(value, list):
        raise InputError(f"{name[:40]} must be a list of seeds")
    return tuple(value)
