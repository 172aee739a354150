"""A condition on which a claim about two populations rests, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Precondition:
    """Whether a condition of a claim holds, and the numbers that say so."""

    name: str
    """The condition, as ``same budget``."""
    holds: bool
    sentence: str = ""
    """What a reader must know where it does not hold; an empty text where it does."""
    sides: tuple[str, str] = ("", "")
    """What tells the first population from the second, to stand beside their names in a claim."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """The numbers behind it, by their names."""

    def turned(self) -> Precondition:
        """Return the same condition with the populations in the other order."""
        return Precondition(self.name, self.holds, self.sentence, self.sides[::-1], self.evidence)
