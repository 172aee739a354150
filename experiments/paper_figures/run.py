"""Train the populations behind the gallery, which shows the figures of both papers at a scale for a laptop.

    python experiments/paper_figures/run.py runs/paper_figures          # hours on two cores; repeat it to resume
    python experiments/paper_figures/run.py runs/paper_figures publish  # copies the tables beside this file

Unless stated otherwise, networks train for 10 epochs on 1,000 images of Fashion-MNIST and are tested on 1,000 images.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from designspace import data
from designspace.analysis import Results, plot_edf
from designspace.analysis.figures import svg_text
from designspace.cli.provenance import provenance
from designspace.cli.tables import progress_bar
from designspace.spaces import catalog
from designspace.spaces.axes import choice
from designspace.spaces.constraints import Order
from designspace.spaces.space import DesignSpace
from designspace.support.files import write_text
from designspace.sweeps.launch import Launcher
from designspace.sweeps.local import RetryPolicy
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from commands import copy_runs  # noqa: E402

IMAGES = {"in_channels": 1, "num_classes": 10, "resolution": 28, "stem": "cifar", "stem_width": 16}
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


@dataclass(frozen=True)
class Run:
    """One population and how to train it."""

    name: str
    space: DesignSpace
    n: int
    recipe: Recipe = RECIPE
    seed: int = field(default=0)
    """Seed of the training; all populations are drawn with seed 0."""


def small(name: str, **settings: Any) -> DesignSpace:
    """Return a named space for Fashion-MNIST, by default with about a million multiply-adds."""
    return catalog.space(name, **{**IMAGES, "flops": BAND, **settings})


def study() -> Iterator[Run]:
    """Yield all runs, the most important first."""
    three = ("AnyNetXA", "AnyNetXE", "RegNetX")
    for letter in "AEBCD":
        yield Run(f"AnyNetX{letter}", small(f"AnyNetX{letter}"), 48)
        if letter == "E":
            yield Run("RegNetX", small("RegNetX"), 48)

    # "Designing Network Design Spaces", figure 7: the constraints that the paper rejects.
    for parent, parameter in (("C", "width"), ("D", "depth")):
        for name, order in (("equal", "shared"), ("falling", "non_increasing")):
            space = small(f"AnyNetX{parent}").refine(Order(parameter, order))
            yield Run(f"AnyNetX{parent}-{parameter}-{name}", space, 24)

    # Figure 9, middle: RegNetX with w_m = 2, and with w_0 = w_a.
    regnet = small("RegNetX")
    for name, change in (("wm2", {"w_m": choice([2.0])}), ("wa-is-w0", {"w_a": None})):
        axes = dataclasses.replace(regnet.axes, **change)  # type: ignore[type-var]
        yield Run(f"RegNetX-{name}", dataclasses.replace(regnet, axes=axes), 24)

    # Figures 14 and 16: inverted and depthwise bottlenecks, squeeze-and-excitation.
    yield Run("RegNetX-inverted", small("RegNetX", bottleneck_ratio=[0.25, 0.5, 1]), 24)
    yield Run("RegNetX-depthwise", small("RegNetX", bottleneck_ratio=[0.25, 0.5, 1], group_width=[1]), 24)
    yield Run("RegNetY", small("RegNetY"), 24)

    # "On Network Design Spaces": three stages, up to four million multiply-adds (with a stem of stride 2).
    for name in ("Vanilla", "ResNet", "ResNeXt-A", "ResNeXt-B"):
        yield Run(name, small(name, flops=(1e6, 4e6), stem="imagenet"), 32)

    # Figure 10: other blocks, five stages, twice the budget.
    for name in three:
        for block in ("R", "V", "VR"):
            yield Run(f"{name}-{block}", small(name, block=block), 16)
        yield Run(f"{name}-5stages", small(name, stages=5), 16)
        yield Run(f"{name}-2MF", small(name, flops=(1.6e6, 2.4e6)), 16)
    # Figures 11 and 13: regimes, and the constrained RegNetX.
    yield Run("RegNetX-0.5MF", small("RegNetX", flops=(0.4e6, 0.6e6)), 16)
    yield Run("RegNetX-4MF", small("RegNetX", flops=(3.2e6, 4.8e6)), 12)
    for regime, band, n in (("1MF", BAND, 16), ("2MF", (1.6e6, 2.4e6), 16), ("4MF", (3.2e6, 4.8e6), 12)):
        yield Run(f"RegNetXConstrained-{regime}", small("RegNetXConstrained", flops=band), n)
    # The same networks for 50 epochs, also for paired comparisons.
    for name in three:
        yield Run(f"{name}-50epochs", small(name), 8, dataclasses.replace(RECIPE, epochs=50))

    # 1905.13214, figures 13 and 14: the same networks trained with other seeds.
    for seed in range(1, 16):
        yield Run(f"RegNetX-seed{seed}", small("RegNetX"), 24 if seed < 3 else 3, seed=seed)
    # 1905.13214, figure 12: learning rate and weight decay.
    for setting in range(12):
        lr, decay = 0.02 * 3 ** (setting % 4), 5e-5 * 10 ** (setting // 4)
        recipe = dataclasses.replace(RECIPE, lr=round(lr, 4), weight_decay=decay)
        yield Run(f"ResNet-lr{recipe.lr:g}-wd{decay:g}", small("ResNet", flops=(1e6, 4e6), stem="imagenet"), 6, recipe)


def train(root: Path) -> None:
    """Sample and train all runs, except trials that are already finished."""
    images = data.default_root()
    data.prepare("fashion_mnist", images)
    origin = {**provenance("explore", []), "command": "python experiments/paper_figures/run.py"}
    launcher = Launcher(retry_policy=RetryPolicy(), data_root=images, about=origin)
    for run in study():
        folder = RunFolder(root / run.name)
        folder.create(run.space.sample(run.n, 0), origin)
        folder.write_plan(run.recipe, run.seed)
        if not all(state.is_finished for state in folder.states(folder.ids())):
            print(run.name, flush=True)
            with progress_bar() as show:
                launcher.run_local([folder], run.recipe, show, print)
        folder.write_results()


def publish(root: Path) -> None:
    """Copy the tables of all runs beside this file, where the notebooks read them."""
    folders = [folder for path in sorted(root.iterdir()) if (folder := RunFolder(path)).exists()]
    for folder in folders:
        folder.write_results()
    copy_runs(root, HERE / "runs", [folder.path.name for folder in folders])
    runs = [Results.read(HERE / "runs" / name) for name in ("AnyNetXA", "RegNetX")]
    write_text(HERE / "figures" / "edf.svg", svg_text(plot_edf(runs)))


if __name__ == "__main__":
    (publish if sys.argv[2:] == ["publish"] else train)(Path(sys.argv[1]))
