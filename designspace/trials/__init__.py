"""Trials and their results, in memory and on disk. Does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designspace.support.lazy import lazy_names

if TYPE_CHECKING:
    from designspace.trials.folder import RunFolder
    from designspace.trials.plan import Plan
    from designspace.trials.recipe import Recipe
    from designspace.trials.recipe_axes import RecipeAxes
    from designspace.trials.trial import EpochRecord, Trial, TrialFailure, TrialResult

__all__ = ["EpochRecord", "Plan", "Recipe", "RecipeAxes", "RunFolder", "Trial", "TrialFailure", "TrialResult"]

_HOMES = {
    "EpochRecord": "designspace.trials.trial",
    "Plan": "designspace.trials.plan",
    "Recipe": "designspace.trials.recipe",
    "RecipeAxes": "designspace.trials.recipe_axes",
    "RunFolder": "designspace.trials.folder",
    "Trial": "designspace.trials.trial",
    "TrialFailure": "designspace.trials.trial",
    "TrialResult": "designspace.trials.trial",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES, [])
