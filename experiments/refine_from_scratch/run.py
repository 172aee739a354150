"""Where does `refine` go from AnyNetXA by itself, and is that as good as what the authors of the paper chose?

    python experiments/refine_from_scratch/run.py runs/refine_from_scratch           # trains; repeat it to resume
    python experiments/refine_from_scratch/run.py runs/refine_from_scratch publish   # compares; copies results here

Images, budget and recipe are those of `experiments/anynet_to_regnet`, whose spaces it is compared with. Further words
are options of `designspace.explore`, such as data=cifar10_jpeg for a copy of the images that `prepare` has packed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from cifar10 import options  # noqa: E402
from commands import copy_runs, keep_report, run  # noqa: E402

ROUNDS = ("n=64", "refine.rounds=4", "refine.n=40", "budget.trials=500")
BY_THE_AUTHORS = [HERE.parent / "anynet_to_regnet" / "runs" / name for name in ("AnyNetXE", "RegNetX")]
"""Runs of the last two spaces of the authors."""


def train(root: Path, *more: str) -> None:
    """Refine AnyNetXA in rounds, each confirmed on fresh networks, within the budget."""
    run("explore", f"name={root.name}", f"run={root}", "spaces=[AnyNetXA]", *ROUNDS, *options(more))


def publish(root: Path) -> None:
    """Compare the spaces of all rounds with those of the authors; copy tables, decisions and figure here."""
    spaces = sorted(path.parent.name for path in root.glob("*/results.csv"))
    fresh = sorted(str(path.parent.relative_to(root)) for path in root.glob("confirmations/*/*/results.csv"))
    runs = ",".join(str(path) for path in [*(root / name for name in spaces), *BY_THE_AUTHORS])
    analysed = run("analyze", f"runs=[{runs}]", f"out={root / 'report'}")
    copy_runs(root, HERE / "runs", [*spaces, *fresh])
    shutil.copyfile(root / "decisions.jsonl", HERE / "runs" / "decisions.jsonl")
    keep_report(root, HERE, analysed)


if __name__ == "__main__":
    (publish if sys.argv[2:] == ["publish"] else train)(Path(sys.argv[1]), *(w for w in sys.argv[2:] if w != "publish"))
