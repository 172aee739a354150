"""Reset failed trials to waiting, so that the next launch trains them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.support.text import counted
from designspace.sweeps.upkeep import retry
from designspace.trials.open import find_runs


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/retry.yaml, which describes them."""

    run: Path
    reason: str | None
    trial: str | None


def run(options: Options) -> None:
    """Reset failed trials, and print which trials are waiting now."""
    for folder in find_runs(options.run):
        waiting = retry(folder, options.reason, options.trial)
        verb = "is" if len(waiting) == 1 else "are"
        keys = f": {', '.join(waiting)}" if waiting else ""
        print(f"{folder.path}: {counted(len(waiting), 'trial')} {verb} waiting again{keys}")
        if waiting:
            print(f"train them: {folder.resume_command()}")


if __name__ == "__main__":
    app.main("retry", run)
