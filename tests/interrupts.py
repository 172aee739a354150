"""Processes that can be interrupted."""

import signal
import subprocess


def start_interruptible(command, **options):
    """Start a process that Ctrl-C ends, also where a shell started the tests in the background, which ignore it."""
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)
