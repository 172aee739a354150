"""Claims: who is at work on a trial, as a file that only one process can create.

A claim is kept alive by touching it. It counts as abandoned when it was not touched for `LEASE_S` seconds, or at once
when its process is known to be gone; then another process may take it over.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

LEASE_S = 60.0
BEAT_S = 5.0
"""How often an owner touches its claim."""


def take(path: Path) -> bool:
    """Try to become the owner; True if this process now is. Creation with O_EXCL decides, also on NFS."""
    if path.exists() and not is_live(path):
        _remove_abandoned(path)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "token": os.urandom(16).hex()}, file)
    return True


def beat(path: Path) -> None:
    """Say that the owner is still at work."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)


def release(path: Path) -> None:
    """Give the claim up."""
    path.unlink(missing_ok=True)


def is_live(path: Path) -> bool:
    """Whether somebody is at work behind this claim."""
    try:
        touched = path.stat().st_mtime
        owner = json.loads(path.read_text(encoding="utf-8") or "{}")
    except FileNotFoundError:
        return False
    except ValueError:
        owner = {}
    if time.time() - touched > LEASE_S:
        return False
    gone = owner.get("host") == socket.gethostname() and not Path(f"/proc/{owner.get('pid')}").exists()
    return not (gone and Path("/proc/self").exists())


def _remove_abandoned(path: Path) -> None:
    """Move an abandoned claim out of the way; if another process renewed it meanwhile, put it back."""
    aside = path.with_name(f".{path.name}.{os.urandom(16).hex()}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if is_live(aside):
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
