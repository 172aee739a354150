"""The loss and the metric of a recipe before a launch: whether they fit the labels, and what the metric is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from designspace.data.images import ImageData
from designspace.support.errors import InputError
from designspace.support.imported import is_import_name
from designspace.sweeps.import_check import worker_environment
from designspace.trials.metric import DEFAULT_METRIC, METRICS, Labels, Metric, check_built_in
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe

_CHECK = "designspace.training.objective"


def is_usual(recipe: Recipe) -> bool:
    """Return whether a recipe has the default loss and metric, which fit every data set of classes."""
    return recipe.metric == DEFAULT_METRIC and recipe.loss == "cross_entropy"


def settle_metric(recipe: Recipe, images: ImageData) -> Metric | None:
    """Return what a recipe measures networks by on the images that it uses; None for the default metric.

    Raises:
        InputError: the loss or the metric does not fit the labels, cannot be imported, or does not return one number.
    """
    labels = Labels(images.num_classes, images.train_labels, images.test_labels)
    check_built_in(recipe.loss, recipe.metric, labels.target, images.num_classes, images.name)
    own = None
    if is_import_name(recipe.loss) or is_import_name(recipe.metric):
        own = _own_metric(recipe, labels)
    if recipe.metric == DEFAULT_METRIC:
        return None
    return own or METRICS[recipe.metric].of(labels)


def check_same_metric(path: Path, plan: Plan, metric: Metric | None) -> None:
    """Raise if a run that has a plan is measured by another metric than the one that was settled now.

    Raises:
        InputError: the user's own metric describes itself differently than at the first launch.
    """
    if plan.metric is not None and plan.metric != metric:
        raise InputError(
            f"{path} is measured by {plan.metric.to_dict()}, but {plan.recipe.metric} is now "
            f"{metric.to_dict() if metric else None}; restore the metric, or sample into another folder with run=..."
        )


def _own_metric(recipe: Recipe, labels: Labels) -> Metric | None:
    """Check a user's own loss and metric in a process that finds modules as workers do, and return the metric."""
    environment = worker_environment(filter(is_import_name, (recipe.loss, recipe.metric)))
    size = labels.test.shape[1:] if labels.target == "dense" else ()
    outputs = {"target": labels.target, "num_classes": labels.num_classes, "size": size}
    question = json.dumps({"loss": recipe.loss, "metric": recipe.metric, "outputs": outputs})
    process = subprocess.run(
        [sys.executable, "-m", _CHECK, question], env=environment, capture_output=True, text=True, errors="replace"
    )
    lines = process.stdout.splitlines()
    if process.returncode or not lines:
        reason = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise InputError(f"recipe.loss={recipe.loss} and recipe.metric={recipe.metric} cannot be checked: {reason[0]}")
    answer = json.loads(lines[-1])  # the user's modules may have printed, too
    if "error" in answer:
        raise InputError(answer["error"])
    return None if answer["metric"] is None else Metric.from_dict(answer["metric"])
