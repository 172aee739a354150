"""Seeds that make the populations of several spaces independent.

A stream of random words depends on the seed and the name of a column, but not on the space
(`designspace.spaces.streams`). So two similar spaces give nearly the same networks with the same seed: of 500 networks
of AnyNetXA and AnyNetYA at 360 to 400 million multiply-adds, 495 have the same stages. `independent_seed` derives a
different seed for each space.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from designspace.spaces.axes import choice
from designspace.spaces.population import SPACE_FILE
from designspace.spaces.population_files import read_seed, read_space
from designspace.spaces.siblings import sibling_populations
from designspace.spaces.space import DesignSpace
from designspace.spaces.template import Template
from designspace.support.checks import whole
from designspace.support.errors import RunError


def independent_seed(space: DesignSpace, seed: int) -> int:
    """Return the seed of a space's population in a comparison, from the seed of the whole comparison.

    Equal spaces get equal seeds, on any machine and in later versions; spaces that differ in anything, including the
    name, get different ones. ``space.sample(n, independent_seed(space, seed))`` draws the population.

    Returns:
        A whole number from 0 to 2**63 - 1.

    Raises:
        InputError: the seed is not a whole number >= 0.
    """
    text = f"{description_digest(space)}/{whole('seed', seed, 0)}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def drawn_with_same_seed(folder: Path, space: DesignSpace, seed: int) -> Path | None:
    """Return a run folder beside this one whose population was drawn from another space with the same seed.

    Returns:
        The first such folder by name; None if there is none. Folders that cannot be read are skipped.
    """
    for other in sibling_populations(folder):
        with contextlib.suppress(RunError, OSError):
            other_space = read_space(other / SPACE_FILE)
            if other_space.is_drawn and read_seed(other) == seed and other_space != space:
                return other
    return None


def description_digest(space: DesignSpace) -> str:
    """Return the SHA-256 of a space's description, in hex digits.

    Defaults are left out so that a field added in a later version does not change any digest.
    """
    description = space.to_dict()
    if space.radix == choice([0]):
        del description["radix"]
    description["template"] = _without(description["template"], dataclasses.asdict(Template()))
    canonical = json.dumps(_canonical(description), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _without(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that differ from their defaults, also in nested mappings."""
    return {
        key: _without(value, defaults[key]) if isinstance(value, dict) else value
        for key, value in fields.items()
        if _canonical(value) != _canonical(defaults[key])
    }


def _canonical(value: Any) -> Any:
    """Return plain values with all whole numbers as int, because 1 and 1.0 describe equal spaces."""
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
