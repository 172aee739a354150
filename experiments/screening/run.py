"""Does the order of spaces by screening agree with the order by the errors of trained networks?

    python experiments/screening/run.py runs/screening          # trains the populations; repeat it to resume
    python experiments/screening/run.py runs/screening publish  # screens, compares, and copies tables and figures here

All networks meet the same limits: 60,000 parameters and 40,000 activations, on Fashion-MNIST.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from designspace.analysis import plot_edf
from designspace.analysis.figures import svg_text
from designspace.analysis.screening import rank_screened
from designspace.analysis.screening_agreement import agreement
from designspace.analysis.screening_report import write_screening
from designspace.analysis.screening_runs import trained_results
from designspace.networks.quantities import COUNTED
from designspace.spaces import catalog
from designspace.spaces.constraints import Band
from designspace.spaces.screening import screen
from designspace.spaces.seeds import independent_seed
from designspace.spaces.space import DesignSpace
from designspace.support.files import write_text
from designspace.trials.folder import RunFolder

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from commands import copy_runs  # noqa: E402
from training import PlannedRun, train_runs  # noqa: E402

NETWORKS = 20
"""Number of trained networks per space."""
LIMITS = (Band("params", 0, 60e3), Band("activations", 0, 40e3))
IMAGES = {"in_channels": 1, "num_classes": 10, "resolution": 28, "stem": "cifar", "stem_width": 8}


def named(name: str, label: str, **settings: Any) -> DesignSpace:
    """Return a catalog space for Fashion-MNIST under a name of its own."""
    return dataclasses.replace(catalog.space(name, **{**IMAGES, **settings}), name=label)


SPACES = (
    *(named(name, name) for name in ("AnyNetXA", "AnyNetXE", "RegNetX", "RegNetY")),
    named("MBConv", "MBConv", head_width=0),
    # A stem of stride 2 makes all maps smaller, as a lower resolution would, so larger networks fit.
    *(named(name, f"{name}-stride2", stem="imagenet") for name in ("AnyNetXA", "AnyNetXE", "RegNetX")),
)
NAMED = {space.name: space for space in SPACES}


def train(root: Path) -> None:
    """Sample and train the networks that fit, except trials that are already finished."""
    limited = [space.refine(*LIMITS) for space in SPACES]
    planned = [PlannedRun(space.name, space, NETWORKS, sampling_seed=independent_seed(space, 0)) for space in limited]
    train_runs(root, planned, "python experiments/screening/run.py")


def publish(root: Path) -> None:
    """Copy the tables of all runs beside this file, screen the spaces, and write what the two orders say."""
    for space in SPACES:
        RunFolder(root / space.name).write_results()
    copy_runs(root, HERE / "runs", NAMED)
    trained = trained_results([RunFolder(HERE / "runs" / name) for name in NAMED], NAMED, LIMITS)
    screened = {name: screen(space, LIMITS, n=200) for name, space in NAMED.items()}
    screening = rank_screened(screened, COUNTED["flops"], LIMITS)
    agreed = agreement(screening, trained.results)
    write_screening(HERE / "figures", screening, agreed, trained.notes, {"n": 200, "draws": 10_000, "seed": 0})
    write_text(HERE / "figures" / "errors.svg", svg_text(plot_edf(trained.results)))
    print("\n".join(agreed.sentences()))


if __name__ == "__main__":
    (publish if sys.argv[2:] == ["publish"] else train)(Path(sys.argv[1]))
