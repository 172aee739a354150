"""Disks that are full or read-only, on any machine and without root."""

import contextlib
import os
import resource
import signal
import subprocess


@contextlib.contextmanager
def no_file_larger_than(size):
    """Let no file of this process grow beyond so many bytes; that of pytest's own output must not be among them."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def limit_files_to(size):
    """Return a function for a new process to call: no file of it and of its children can grow beyond so many bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextlib.contextmanager
def read_only(folder, seen):
    """Make a folder read-only; yields where to see it so, and what the system then says of writing to it.

    Permissions do not bind root, for whom the folder is mounted read-only at the new path ``seen``.
    """
    if os.geteuid() != 0:
        paths = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        modes = [path.stat().st_mode for path in paths]
        for path in paths:
            path.chmod(0o555)
        try:
            yield folder, "Permission denied"
        finally:
            for path, mode in zip(paths, modes, strict=True):
                path.chmod(mode)
        return
    seen.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(seen)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(seen)], check=True)
        yield seen, "Read-only file system"
    finally:
        subprocess.run(["umount", str(seen)], check=True)
