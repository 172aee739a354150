"""Make failed trials wait again, so that the next launch tries them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.support.text import counted
from designspace.sweeps.upkeep import retry
from designspace.trials.open import find_runs


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/retry.yaml, which says what they mean."""

    run: Path
    reason: str | None
    trial: str | None


def run(options: Options) -> None:
    """Retry, and say which trials wait now."""
    for folder in find_runs(options.run):
        waiting = retry(folder, options.reason, options.trial)
        verb = "waits" if len(waiting) == 1 else "wait"
        print(
            f"{folder.path}: {counted(len(waiting), 'trial')} {verb} again{': ' if waiting else ''}{', '.join(waiting)}"
        )
        if waiting:
            print(f"train them: {folder.resume_command()}")


if __name__ == "__main__":
    app.main("retry", run)
