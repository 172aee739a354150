"""Train the populations behind the gallery, which shows the figures of both papers at a scale for a laptop.

    python experiments/paper_figures/run.py runs/paper_figures          # hours on two cores; repeat it to resume
    python experiments/paper_figures/run.py runs/paper_figures publish  # copies the tables beside this file

Unless stated otherwise, networks train for 10 epochs on 1,000 images of Fashion-MNIST and are tested on 1,000 images.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from designspace.analysis import Results, plot_edf
from designspace.analysis.figures import svg_text
from designspace.spaces.axes import choice
from designspace.spaces.constraints import Order
from designspace.support.files import write_text
from designspace.trials.folder import RunFolder

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from commands import copy_runs  # noqa: E402
from training import BAND, RECIPE, PlannedRun, small, train_runs  # noqa: E402


def study() -> Iterator[PlannedRun]:
    """Yield all runs, the most important first; all populations are drawn with seed 0."""
    three = ("AnyNetXA", "AnyNetXE", "RegNetX")
    for letter in "AEBCD":
        yield PlannedRun(f"AnyNetX{letter}", small(f"AnyNetX{letter}"), 48)
        if letter == "E":
            yield PlannedRun("RegNetX", small("RegNetX"), 48)

    # "Designing Network Design Spaces", figure 7: the constraints that the paper rejects.
    for parent, parameter in (("C", "width"), ("D", "depth")):
        for name, order in (("equal", "shared"), ("falling", "non_increasing")):
            space = small(f"AnyNetX{parent}").refine(Order(parameter, order))
            yield PlannedRun(f"AnyNetX{parent}-{parameter}-{name}", space, 24)

    # Figure 9, middle: RegNetX with w_m = 2, and with w_0 = w_a.
    regnet = small("RegNetX")
    for name, change in (("wm2", {"w_m": choice([2.0])}), ("wa-is-w0", {"w_a": None})):
        axes = dataclasses.replace(regnet.axes, **change)  # type: ignore[type-var]
        yield PlannedRun(f"RegNetX-{name}", dataclasses.replace(regnet, axes=axes), 24)

    # Figures 14 and 16: inverted and depthwise bottlenecks, squeeze-and-excitation.
    yield PlannedRun("RegNetX-inverted", small("RegNetX", bottleneck_ratio=[0.25, 0.5, 1]), 24)
    yield PlannedRun("RegNetX-depthwise", small("RegNetX", bottleneck_ratio=[0.25, 0.5, 1], group_width=[1]), 24)
    yield PlannedRun("RegNetY", small("RegNetY"), 24)

    # "On Network Design Spaces": three stages, up to four million multiply-adds (with a stem of stride 2).
    for name in ("Vanilla", "ResNet", "ResNeXt-A", "ResNeXt-B"):
        yield PlannedRun(name, small(name, flops=(1e6, 4e6), stem="imagenet"), 32)

    # Figure 10: other blocks, five stages, twice the budget.
    for name in three:
        for block in ("R", "V", "VR"):
            yield PlannedRun(f"{name}-{block}", small(name, block=block), 16)
        yield PlannedRun(f"{name}-5stages", small(name, stages=5), 16)
        yield PlannedRun(f"{name}-2MF", small(name, flops=(1.6e6, 2.4e6)), 16)
    # Figures 11 and 13: regimes, and the constrained RegNetX.
    yield PlannedRun("RegNetX-0.5MF", small("RegNetX", flops=(0.4e6, 0.6e6)), 16)
    yield PlannedRun("RegNetX-4MF", small("RegNetX", flops=(3.2e6, 4.8e6)), 12)
    for regime, band, n in (("1MF", BAND, 16), ("2MF", (1.6e6, 2.4e6), 16), ("4MF", (3.2e6, 4.8e6), 12)):
        yield PlannedRun(f"RegNetXConstrained-{regime}", small("RegNetXConstrained", flops=band), n)
    # The same networks for 50 epochs, also for paired comparisons.
    for name in three:
        yield PlannedRun(f"{name}-50epochs", small(name), 8, dataclasses.replace(RECIPE, epochs=50))

    # 1905.13214, figures 13 and 14: the same networks trained with other seeds.
    for seed in range(1, 16):
        yield PlannedRun(f"RegNetX-seed{seed}", small("RegNetX"), 24 if seed < 3 else 3, seed=seed)
    # 1905.13214, figure 12: learning rate and weight decay.
    for setting in range(12):
        lr, decay = 0.02 * 3 ** (setting % 4), 5e-5 * 10 ** (setting // 4)
        recipe = dataclasses.replace(RECIPE, lr=round(lr, 4), weight_decay=decay)
        yield PlannedRun(
            f"ResNet-lr{recipe.lr:g}-wd{decay:g}", small("ResNet", flops=(1e6, 4e6), stem="imagenet"), 6, recipe
        )


def train(root: Path) -> None:
    """Sample and train all runs, except trials that are already finished."""
    train_runs(root, study(), "python experiments/paper_figures/run.py")


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
