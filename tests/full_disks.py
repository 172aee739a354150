"""A disk that is full, on any machine and without root: a limit on the size of files."""

import contextlib
import resource
import signal


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
