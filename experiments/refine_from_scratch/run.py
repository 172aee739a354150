"""Where does `refine` go from AnyNetXA by itself, and is that as good as what the authors chose?

    python experiments/refine_from_scratch/run.py runs/refine_from_scratch          # trains; repeat it to resume
    python experiments/refine_from_scratch/run.py runs/refine_from_scratch publish  # compares, and copies tables here

The images and the recipe are those of `experiments/paper_figures`, whose spaces it is compared with.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from commands import copy_runs, run  # noqa: E402

IMAGES = ("data=fashion_mnist", "space.stem_width=16", "space.flops=[0.8e6,1.2e6]")
RECIPE = (
    *("recipe=quick", "recipe.epochs=10", "recipe.train_images=1000", "recipe.test_images=1000"),
    *("recipe.batch_size=64", "recipe.lr=0.2", "recipe.weight_decay=5e-4", "recipe.warmup_epochs=1"),
    "recipe.zero_init_residual=true",
)
ROUNDS = ("n=64", "refine.rounds=4", "refine.n=32", "budget.trials=400")
BY_THE_AUTHORS = ("AnyNetXE", "RegNetX")
"""Spaces of `experiments/paper_figures`."""


def train(root: Path) -> None:
    """Refine AnyNetXA in rounds, each confirmed on fresh networks, within the budget."""
    run("explore", f"name={root.name}", f"run={root}", "spaces=[AnyNetXA]", *ROUNDS, *IMAGES, *RECIPE)


def publish(root: Path) -> None:
    """Compare the spaces of all rounds with those that the authors chose; copy tables, decisions and figure here."""
    spaces = sorted(path.parent.name for path in root.glob("*/results.csv"))
    fresh = sorted(str(path.parent.relative_to(root)) for path in root.glob("confirmations/*/*/results.csv"))
    theirs = [HERE.parent / "paper_figures" / "runs" / name for name in BY_THE_AUTHORS]
    runs = ",".join(str(path) for path in [*(root / name for name in spaces), *theirs])
    analysed = run("analyze", f"runs=[{runs}]", f"out={root / 'report'}")
    copy_runs(root, HERE / "runs", [*spaces, *fresh])
    shutil.copyfile(root / "decisions.jsonl", HERE / "runs" / "decisions.jsonl")
    (HERE / "figures").mkdir(exist_ok=True)
    shutil.copyfile(root / "report" / "figures" / "edf.svg", HERE / "figures" / "edf.svg")
    (HERE / "analysis.txt").write_text(analysed.replace(str(root), f"runs/{root.name}"))


if __name__ == "__main__":
    (publish if sys.argv[2:] == ["publish"] else train)(Path(sys.argv[1]))
