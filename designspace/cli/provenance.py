"""Where a result comes from: versions, commit, machine, command line."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

DISTRIBUTION = "network-design-spaces"


def provenance(command: str, typed: Sequence[str]) -> dict[str, str]:
    """What a later reader needs to know of this run of a command."""
    return {
        "command": shlex.join(["python", "-m", f"designspace.{command}", *typed]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "designspace": version_of(DISTRIBUTION),
        "python": platform.python_version(),
        "numpy": version_of("numpy"),
        "torch": version_of("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def version_of(distribution: str) -> str:
    """The installed version, read without importing the package."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit of the checkout that the code runs from, with a mark if it was changed since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "not a checkout"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
