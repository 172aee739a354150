"""What scripts of several experiments share: they run commands of the library, and keep the tables of their runs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TABLES = (
    "space.yaml",
    "population.csv",
    "sampling.json",
    "recipe.yaml",
    "provenance.json",
    "results.csv",
    "history.csv",
)
"""Files of a run folder that an experiment keeps."""


def run(command: str, *arguments: str) -> str:
    """Print and run a command of the library; return what it prints, which is also shown."""
    words = ["-m", f"designspace.{command}", *arguments]
    print(shlex.join(["python", *words]), flush=True)
    printed = []
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            printed.append(line)
    if process.returncode:
        sys.exit(process.returncode)
    return "".join(printed)


def copy_runs(root: Path, to: Path, names: Iterable[str], files: Iterable[str] = TABLES) -> None:
    """Copy some files of the runs in a folder to another folder."""
    for name in names:
        target = to / name
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(root / name / file, target / file)


def keep_report(root: Path, to: Path, printed: str) -> None:
    """Copy the EDF of a study's report to another folder, and what commands printed, without paths of this machine."""
    (to / "figures").mkdir(exist_ok=True)
    shutil.copyfile(root / "report" / "figures" / "edf.svg", to / "figures" / "edf.svg")
    checkout = Path(__file__).parents[1]
    shown = printed.replace(str(root), f"runs/{root.name}").replace(f"{checkout}/", "")
    (to / "analysis.txt").write_text(shown)
