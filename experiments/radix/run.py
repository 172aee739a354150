"""X against Y against split attention (radix 1, 2, 4) at equal multiply-adds, activations and measured time.

    python experiments/radix/run.py runs/radix          # samples, trains, measures, finds the best; repeat it to resume
    python experiments/radix/run.py runs/radix publish  # compares, and copies tables, figure and best network here

Every step is a command of the library, printed as it is run.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from designspace.analysis import Results

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from commands import TABLES, copy_runs, run  # noqa: E402

NETWORKS = 32
"""Number of networks per space."""
SPACES = {
    "X": ("space=RegNetX",),
    "Y": ("space=RegNetY",),
    "radix1": ("space=RegNetX", "space.radix=1"),
    "radix2": ("space=RegNetX", "space.radix=2"),
    "radix4": ("space=RegNetX", "space.radix=4"),
}
IMAGES = ("data=fashion_mnist", "space.stem_width=8", "space.flops=[0.5e6,2e6]", "space.regime=auto")
RECIPE = (
    *(
        "recipe=quick",
        "recipe.epochs=10",
        "recipe.train_images=1000",
        "recipe.test_images=1000",
        "recipe.batch_size=64",
    ),
    *("recipe.lr=0.2", "recipe.weight_decay=5e-4", "recipe.warmup_epochs=1", "recipe.zero_init_residual=true"),
)
SPLIT_ATTENTION = ("radix1", "radix2", "radix4")
LONG_RECIPE = ("data=fashion_mnist", "recipe=fashion", "recipe.epochs=8")
"""For the best network: all 60,000 images."""
FILES = (*(name for name in TABLES if name != "history.csv"), "repeats.yaml", "costs.csv")
MODEL = ("README.md", "config.json", "network.json", "weights.safetensors")


def train(root: Path) -> None:
    """Sample, train and measure all spaces, except what is done already."""
    run("prepare", "data=fashion_mnist")
    for seed, (name, space) in enumerate(SPACES.items()):
        # Seeds differ, so that the populations are independent.
        run("sample", *space, *IMAGES, f"n={NETWORKS}", f"seed={seed}", f"run={root / name}")
        run("launch", f"run={root / name}", *RECIPE)
    run("measure", f"runs=[{runs_in(root)}]", "threads=1")
    for name in SPACES:
        run("retrain", f"run={root / name}", "top=5", "seeds=3")
    best = min((root / name for name in SPLIT_ATTENTION), key=best_mean)
    run("train", f"run={best}", *LONG_RECIPE, f"out={root / 'best'}")


def best_mean(run: Path) -> float:
    """Return the mean error of the best network of a run over seeds that did not choose it, in percent."""
    return float(Results.read(run).best(1)["mean_error"].iloc[0])


def runs_in(root: Path) -> str:
    """Return the run folders as an item of the command line."""
    return ",".join(str(root / name) for name in SPACES)


def publish(root: Path) -> None:
    """Compare all spaces at equal costs, and copy their tables and the figure beside this file."""
    run("analyze", f"runs=[{runs_in(root)}]", "match=[flops,activations,latency]", f"out={root / 'report'}")
    copy_runs(root, HERE / "runs", SPACES, FILES)
    (HERE / "figures").mkdir(exist_ok=True)
    for path in (root / "report" / "figures").glob("matched.*"):
        shutil.copyfile(path, HERE / "figures" / path.name)
    (HERE / "best").mkdir(exist_ok=True)
    for name in MODEL:
        shutil.copyfile(root / "best" / name, HERE / "best" / name)


if __name__ == "__main__":
    (publish if sys.argv[2:] == ["publish"] else train)(Path(sys.argv[1]))
