"""Provenance of results: versions, commit, machine, command line."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

DISTRIBUTION = "network-design-spaces"


def provenance(command: str, arguments: Sequence[str]) -> dict[str, str]:
    """Return the provenance of the results of a command: its arguments, the time, versions and the platform."""
    return {
        "command": shlex.join(["python", "-m", f"designspace.{command}", *arguments]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "designspace": version_of(DISTRIBUTION),
        "python": platform.python_version(),
        "numpy": version_of("numpy"),
        "torch": version_of("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def version_of(distribution: str) -> str:
    """Return the installed version of a package without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit of the checkout that contains this code, marked if there are uncommitted changes."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "not a checkout"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
