"""From AnyNetXA to RegNetX on CIFAR-10: do the constraints of the paper make better spaces?

    python experiments/anynet_to_regnet/run.py runs/anynet_to_regnet          # trains; repeat it to resume
    python experiments/anynet_to_regnet/run.py runs/anynet_to_regnet publish  # compares; copies tables, figure here

Further words are options of `designspace.explore`, such as data=cifar10_jpeg for a copy of the images that `prepare`
has packed. Every step is a command of the library, printed as it is run.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from cifar10 import options  # noqa: E402
from commands import copy_runs, keep_report, run  # noqa: E402

SPACES = ("AnyNetXA", "AnyNetXB", "AnyNetXC", "AnyNetXD", "AnyNetXE", "RegNetX")
NETWORKS = 64
"""Number of networks per space."""


def train(root: Path, *more: str) -> None:
    """Sample and train all spaces, except what is done already; each population has a seed of its own."""
    study = (f"name={root.name}", f"run={root}", f"spaces=[{','.join(SPACES)}]", f"n={NETWORKS}")
    run("explore", *study, *options(more))


def publish(root: Path) -> None:
    """Compare all spaces, refine the first five, replay the study under rules that stop early; keep all results."""
    runs = f"runs=[{','.join(str(root / name) for name in SPACES)}]"
    analysed = run("analyze", runs, f"out={root / 'report'}")
    refined = "".join(run("refine", f"run={root / name}") for name in SPACES[:-1])
    replayed = run("replay", runs) + run("replay", runs, "stop.epochs=5")
    copy_runs(root, HERE / "runs", SPACES)
    keep_report(root, HERE, analysed + refined + replayed)


if __name__ == "__main__":
    (publish if sys.argv[2:] == ["publish"] else train)(Path(sys.argv[1]), *(w for w in sys.argv[2:] if w != "publish"))
