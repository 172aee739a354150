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
