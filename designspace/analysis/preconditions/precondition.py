"""A condition on which a claim about two populations rests, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Precondition:
    """Result of checking a condition of a claim, with the numbers that support it."""

    name: str
    """Name of the condition, such as ``same budget``."""
    holds: bool
    sentence: str = ""
    """Message to the reader if the condition does not hold, otherwise empty."""
    sides: tuple[str, str] = ("", "")
    """Differences between the two populations, to be shown beside their names in a claim."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """The supporting numbers by name."""

    def swapped(self) -> Precondition:
        """Return the same condition with the populations swapped."""
        return Precondition(self.name, self.holds, self.sentence, self.sides[::-1], self.evidence)
