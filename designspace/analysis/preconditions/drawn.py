"""Check of whether networks were drawn at random: those of a given list were chosen, and no others are like them."""

from __future__ import annotations

from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results

NAME = "drawn at random"
_SIDE = "a given list"


def drawn_at_random(a: Results, b: Results) -> Precondition:
    """Check that the networks of two populations were drawn from spaces, and not chosen for a list.

    A list is all there is of its population, so a claim holds for its networks and not for others. For that claim the
    tests are conservative, because they take the list for a sample: if a space had the errors of a list of 50 networks,
    50 or 500 networks of the space were called different from the list in at most 0.5% of comparisons, not in 5%.
    """
    lists = [results for results in (a, b) if not results.is_drawn]
    if not lists:
        return Precondition(NAME, True)
    named = " and ".join(results.name for results in lists)
    are = "are given lists: their" if len(lists) > 1 else "is a given list: its"
    sentence = (
        f"{named} {are} networks were chosen, not drawn at random, so a claim holds for these networks, and not for "
        "others like them."
    )
    sides = (_SIDE if not a.is_drawn else "", _SIDE if not b.is_drawn else "")
    return Precondition(NAME, False, sentence, sides, {"lists": len(lists)})
