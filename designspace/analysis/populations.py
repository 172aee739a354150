"""Comparable populations: their names differ, and their networks have the same number of classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from designspace.analysis.early_stops import edf_of
from designspace.analysis.edf import EDF
from designspace.analysis.results import Results
from designspace.support.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Populations:
    """Results whose errors are comparable, in the given order."""

    members: tuple[Results, ...]

    @staticmethod
    def of(results: Iterable[Results]) -> Populations:
        """Check that results are comparable, and collect them.

        Raises:
            InputError: two have the same name, or they have different metrics or numbers of classes.
        """
        members = tuple(results)
        names = [member.name for member in members]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two runs have the name {name!r}; give them different ones")
        metrics = {member.name: (member.metric.label, member.metric.direction) for member in members}
        if len(set(metrics.values())) > 1:
            listed = ", ".join(f"{name} {label}" for name, (label, _) in metrics.items())
            raise InputError(f"these runs are measured by different metrics ({listed}): compare them separately")
        chances = {member.name: member.chance_error for member in members}
        if len(set(chances.values())) > 1:
            listed = ", ".join(f"{member.name} {member.metric.short_text(member.guess)}" for member in members)
            why = (
                "have different numbers of classes" if members[0].metric.is_default else "have other values of guessing"
            )
            raise InputError(f"these runs {why} (chance level: {listed}): compare them separately")
        return Populations(members)

    def __iter__(self) -> Iterator[Results]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, name: str) -> Results:
        """Return the results with a name."""
        return {member.name: member for member in self.members}[name]

    @property
    def with_errors(self) -> Populations:
        """The populations with at least one trial that counts."""
        return Populations(tuple(member for member in self.members if member.counted().any()))

    def edfs(self) -> dict[str, EDF]:
        """Return the EDF of each population with a trial that counts, by name."""
        return {member.name: edf_of(member) for member in self.with_errors}
