"""Several populations side by side: their names differ, and their errors are of one number of classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from designspace.analysis.edf import EDF, edf
from designspace.analysis.results import Results
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Populations:
    """Results whose errors compare, in the order given."""

    members: tuple[Results, ...]

    @staticmethod
    def of(results: Iterable[Results]) -> Populations:
        """Put results side by side.

        Raises:
            InputError: two have one name, or they have different numbers of classes.
        """
        members = tuple(results)
        names = [one.name for one in members]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two runs have the name {name!r}; give them different ones")
        chances = {one.name: one.chance_error for one in members}
        if len(set(chances.values())) > 1:
            listed = ", ".join(f"{name} {chance:g}%" for name, chance in chances.items())
            raise InputError(
                f"these runs have different numbers of classes (chance level: {listed}): compare them apart"
            )
        return Populations(members)

    def __iter__(self) -> Iterator[Results]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, name: str) -> Results:
        """Return the results of one name."""
        return {one.name: one for one in self.members}[name]

    @property
    def with_errors(self) -> Populations:
        """Those in which a trial counts."""
        return Populations(tuple(one for one in self.members if one.counted().any()))

    def edfs(self) -> dict[str, EDF]:
        """Return the EDF of each population in which a trial counts, by its name."""
        return {one.name: edf(one.errors()) for one in self.with_errors}
