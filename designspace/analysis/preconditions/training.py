"""Check of whether two populations were trained in the same way: another recipe changes errors in any space."""

from __future__ import annotations

from typing import Any

import numpy as np

from designspace.analysis.columns import distinct_values, recipe_values
from designspace.analysis.preconditions.precondition import Precondition
from designspace.analysis.results import Results

NAME = "same training"
P = 0.001
"""Significance level of the test of a drawn field."""
_NAMED = 3
"""Maximum number of fields of the recipe that a claim names."""
_BLANK = {"train_images": "all", "test_images": "all"}
"""Meaning of a blank in fields where it is not ``none``."""


def same_training(a: Results, b: Results) -> Precondition:
    """Check that data, images, epochs and every other field of the recipe are the same, if both are known.

    For tables without a recipe, epochs are those that the done trials completed. A field that was drawn for each
    network is the same if it was drawn from the same axis, unless the networks were then selected by it: unless a
    Kolmogorov-Smirnov test of its values has p < 0.001.
    """
    known_a, known_b = _known(a), _known(b)
    for results, known in ((a, known_a), (b, known_b)):
        axes = {name: axis for name, axis in results.drawn.items() if name in known}
        known |= {name: (axis.describe(),) for name, axis in axes.items() if not _is_selected(a, b, name)}
    differing = [name for name in known_a if name in known_b and known_a[name] != known_b[name]]
    if not differing:
        return Precondition(NAME, True)
    listed = "; ".join(f"{name} {_as_text(name, known_a)} against {_as_text(name, known_b)}" for name in differing)
    sides = (_side(differing, known_a), _side(differing, known_b))
    sentence = (
        f"{a.name} and {b.name} were not trained alike ({listed}), which may explain a difference in their "
        f"{a.metric.plural}."
    )
    return Precondition(NAME, False, sentence, sides, {"fields": len(differing)})


def _is_selected(a: Results, b: Results, name: str) -> bool:
    """Return whether the values of a field that both drew from the same axis differ more than by chance."""
    from designspace.analysis.difference import ks_test

    axis = a.drawn.get(name)
    if axis is None or axis != b.drawn.get(name) or not axis.is_number:
        return False
    values = [results.table.drop_duplicates("id")[name].to_numpy(np.float64) for results in (a, b)]
    return ks_test(*values).p < P


def _known(results: Results) -> dict[str, tuple[Any, ...]]:
    """Return the values of each field of the recipe that is known, and the epochs of the done trials."""
    table = results.table
    known = {**results.training, **recipe_values(table)}
    done = table.loc[table["status"] == "done", "epochs"]
    if "epochs" not in known and len(done) and (done > 0).all():
        known["epochs"] = distinct_values(done)
    # Imported results may not include these fields.
    blank = [name for name in ("lr", "epochs") if known.get(name) == (None,)]
    return {name: values for name, values in known.items() if name not in blank}


def _as_text(name: str, known: dict[str, tuple[Any, ...]]) -> str:
    """Return the values of a field as text."""
    words = [
        f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        for value in known[name]
    ]
    words = [_BLANK.get(name, "none") if word == "None" else word for word in words]
    return ", ".join(words) if len(words) < 4 else f"{words[0]} to {words[-1]}"


def _side(differing: list[str], known: dict[str, tuple[Any, ...]]) -> str:
    """Return the text beside the name of a population."""
    named = [f"{name} {_as_text(name, known)}" for name in differing[:_NAMED]]
    more = len(differing) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
