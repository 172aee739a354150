"""Were two populations trained alike? Another recipe changes errors, whatever the spaces."""

from __future__ import annotations

from typing import Any

from designspace.analysis.columns import distinct_values, recipe_values
from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results

NAME = "same training"
_NAMED = 3
"""Fields of the recipe that a claim names."""
_BLANK = {"train_images": "all", "test_images": "all"}
"""What a blank means in fields where it is not ``none``."""


def same_training(a: Results, b: Results) -> Precondition:
    """Check that data, images, epochs and every other field of the recipe are the same, where both are known.

    Epochs are those that the done trials completed, too, for tables without a recipe.
    """
    ours, theirs = _known(a), _known(b)
    differ = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    if not differ:
        return Precondition(NAME, True)
    listed = "; ".join(f"{name} {_in_words(name, ours)} against {_in_words(name, theirs)}" for name in differ)
    sides = (_side(differ, ours), _side(differ, theirs))
    sentence = f"{a.name} and {b.name} were not trained alike ({listed}), so their errors differ for that too."
    return Precondition(NAME, False, sentence, sides, {"fields": len(differ)})


def _known(results: Results) -> dict[str, tuple[Any, ...]]:
    """Return the values of each field of the recipe that is known, and the epochs of the done trials."""
    table = results.table
    known = {**results.training, **recipe_values(table)}
    done = table.loc[table["status"] == "done", "epochs"]
    if "epochs" not in known and len(done) and (done > 0).all():
        known["epochs"] = distinct_values(done)
    blank = [name for name in ("lr", "epochs") if known.get(name) == (None,)]  # of another program, which does not say
    return {name: values for name, values in known.items() if name not in blank}


def _in_words(name: str, known: dict[str, tuple[Any, ...]]) -> str:
    """Return the values of a field as text."""
    words = [
        f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        for value in known[name]
    ]
    words = [_BLANK.get(name, "none") if word == "None" else word for word in words]
    return ", ".join(words) if len(words) < 4 else f"{words[0]} to {words[-1]}"


def _side(differ: list[str], known: dict[str, tuple[Any, ...]]) -> str:
    """Return what stands beside one name."""
    named = [f"{name} {_in_words(name, known)}" for name in differ[:_NAMED]]
    more = len(differ) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
