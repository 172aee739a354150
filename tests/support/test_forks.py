"""Tests of computations in forks of a process."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial

import pytest

from designspace.support import forks
from designspace.support.errors import InputError
from designspace.support.forks import in_forks


@pytest.fixture(autouse=True)
def two_cores_and_one_thread(monkeypatch):
    """Ignore the threads that other tests may have left in this process."""
    monkeypatch.setattr(forks, "available_cores", lambda: 2)
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def test_results_are_in_order_and_computed_elsewhere():
    captured = object()  # which could not be pickled as an argument
    results = in_forks([lambda number=number: (number, id(captured), os.getpid()) for number in range(5)])
    assert [(number, identity) for number, identity, _ in results] == [(number, id(captured)) for number in range(5)]
    assert os.getpid() not in {process for *_, process in results}


def test_a_single_task_or_core_or_another_thread_needs_no_fork(monkeypatch):
    here = [os.getpid()] * 2
    assert in_forks([]) == []
    assert in_forks([os.getpid]) == here[:1]
    with monkeypatch.context() as changed:
        changed.setattr(threading, "active_count", lambda: 2)
        assert in_forks([os.getpid] * 2) == here
    assert here[0] not in in_forks([os.getpid] * 2)
    monkeypatch.setattr(forks, "available_cores", lambda: 1)
    assert in_forks([os.getpid] * 2) == here


def test_the_first_exception_is_raised():
    def refuse(number):
        raise InputError(f"{number} is too few")

    with pytest.raises(InputError, match="^3 is too few$"):
        in_forks([os.getpid, partial(refuse, 3), partial(refuse, 4)])


def test_what_killed_forks_did_not_compute_is_computed_here():
    parent = os.getpid()

    def die_elsewhere():
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return "computed"

    assert in_forks([os.getpid, die_elsewhere]) == [parent, "computed"]


def test_ctrl_c_ends_the_forks_at_once_and_silently():
    code = (
        "import signal, sys, time; from designspace.support.forks import in_forks\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: in_forks([lambda: (print('started', flush=True), time.sleep(600))] * 2)\n"
        "except KeyboardInterrupt: sys.exit('stopped')"
    )
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "started\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "stopped\n"
