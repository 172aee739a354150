"""How scripts of several experiments draw and train networks on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designspace import data
from designspace.cli.provenance import provenance
from designspace.cli.tables import progress_bar
from designspace.spaces import catalog
from designspace.spaces.space import DesignSpace
from designspace.sweeps.launch import Launcher
from designspace.sweeps.local import RetryPolicy
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

BAND = (0.8e6, 1.2e6)
"""Range of multiply-adds of most populations."""
RECIPE = Recipe(
    train_images=1000,
    test_images=1000,
    batch_size=64,
    lr=0.2,
    weight_decay=5e-4,
    warmup_epochs=1,
    zero_init_residual=True,
    epochs=10,
)


def small(name: str, **settings: Any) -> DesignSpace:
    """Return a named space for Fashion-MNIST, by default with about a million multiply-adds."""
    images = {"in_channels": 1, "num_classes": 10, "resolution": 28, "stem": "cifar", "stem_width": 16}
    return catalog.space(name, **{**images, "flops": BAND, **settings})


@dataclass(frozen=True)
class PlannedRun:
    """Which networks to draw, and how to train them."""

    name: str
    space: DesignSpace
    n: int
    recipe: Recipe = RECIPE
    seed: int = 0
    """Seed of the trainings."""
    sampling_seed: int = 0


def train_runs(root: Path, planned: Iterable[PlannedRun], command: str) -> None:
    """Draw and train runs, except trials that are already finished; they name the command as their origin."""
    images = data.default_root()
    data.prepare("fashion_mnist", images)
    origin = {**provenance("explore", []), "command": command}
    launcher = Launcher(retry_policy=RetryPolicy(), data_root=images, about=origin)
    for each in planned:
        folder = RunFolder(root / each.name)
        folder.create(each.space.sample(each.n, each.sampling_seed), origin)
        folder.write_plan(each.recipe, each.seed)
        if not all(state.is_finished for state in folder.states(folder.ids())):
            print(each.name, flush=True)
            with progress_bar() as show:
                launcher.run_local([folder], each.recipe, show, print)
        folder.write_results()
