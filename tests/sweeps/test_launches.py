"""Launches as separate processes: in parallel, terminated, killed."""

import signal
import subprocess
import sys
import time

import pytest
from sweep_runs import CPU, curves, launch, make_run, numbers, plan_faults, starts

from designspace.sweeps.status import run_status
from designspace.trials.folder import RunFolder

LONG = {"epochs": 6, "train_images": 512}


@pytest.fixture(scope="module")
def undisturbed(once, data_root):
    return RunFolder(once("undisturbed_long", lambda path: launch(make_run(path, n=4, **LONG), data_root)))


def start(run, root):
    """Start a launch with one worker."""
    command_line = [
        sys.executable,
        "-m",
        "designspace.launch",
        f"run={run.path}",
        f"data.root={root}",
        "launcher.workers=1",
    ]
    return subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, what):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)


def test_two_launches_never_train_a_trial_twice(undisturbed, tmp_path, data_root):
    run = make_run(tmp_path / "run", n=4, **LONG)
    both = [start(run, data_root), start(run, data_root)]
    outputs = [process.communicate(timeout=900)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert numbers(run) == numbers(undisturbed)
    assert curves(run) == curves(undisturbed)
    assert starts(run) == dict.fromkeys(run.ids(), 1)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_terminated_launch_resumes(sent, undisturbed, tmp_path, data_root, monkeypatch):
    run = make_run(tmp_path / "run", n=2, trainer="faulty:held", **LONG)
    plan_faults(tmp_path / "held", {}, monkeypatch)
    gate = tmp_path / "held" / "hold"
    gate.write_text("2")
    process = start(run, data_root)
    first = run.trial(run.ids()[0])
    wait_for(lambda: len(first.read_history()) >= 2, "epochs")
    process.send_signal(sent)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == (130 if sent == signal.SIGTERM else -sent), output
    wait_for(lambda: run_status(run).counts["running"] == 0, "end of the worker")  # it notices that its pool has exited
    assert list(first.path.glob("claim*")) == []
    done = len(first.read_history())
    gate.unlink()
    assert launch(run, data_root, CPU[:1]).failed == 0
    assert numbers(run) == numbers(undisturbed)[:2]
    expected = curves(undisturbed)
    assert curves(run) == {id_: expected[id_] for id_ in run.ids()}
    log = first.log.read_text()
    assert log.count(f"epoch {done}/6:") == 2  # read from the checkpoint, not trained again
    assert log.count("epoch 1/6:") == 1
