"""Simulated full and read-only disks, on any machine and without root."""

import contextlib
import os
import resource
import signal
import subprocess


@contextlib.contextmanager
def no_file_larger_than(size):
    """Limit the files that this process writes to ``size`` bytes; pytest's own output must go elsewhere."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def limit_files_to(size):
    """Return a ``preexec_fn`` that limits the files of a new process and of its children to ``size`` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextlib.contextmanager
def read_only(folder, mount_point):
    """Make a folder read-only; yield its read-only path and the system's error message for writing to it.

    Since root ignores permissions, root gets the folder mounted read-only at the new path ``mount_point``.
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
    mount_point.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(mount_point)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(mount_point)], check=True)
        yield mount_point, "Read-only file system"
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)
