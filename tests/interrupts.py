"""Processes that Ctrl-C can interrupt."""

import signal
import subprocess


def start_interruptible(command, **options):
    """Start a process that Ctrl-C ends, even if the tests run in the background of a shell and ignore SIGINT."""
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)
