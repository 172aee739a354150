import os
import shutil
import subprocess
import sys
import time

import pytest
from sweep_runs import RECIPE, make_run

from designspace.support.errors import InputError
from designspace.sweeps.launch import origin
from designspace.sweeps.status import run_status, trial_status
from designspace.sweeps.upkeep import KINDS, cancel, delete, leftovers, retry
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult


@pytest.fixture
def run(tmp_path):
    """A run with two done trials, two failed ones, one that was started and one that was not."""
    run = make_run(tmp_path / "run", n=6)
    for i, id_ in enumerate(run.ids()[:5]):
        folder, trial = run.trial(id_), Trial(run.population()[i], RECIPE, 0)
        folder.write_trial(trial)
        folder.checkpoint.write_bytes(bytes(1000 * (i + 1)))
        if i < 2:
            folder.write_result(TrialResult(40.0 - i, 40.0 - i, 2, 1.0, "cpu"))
        elif i < 4:
            failure = TrialFailure("error" if i == 2 else "worker died", "no", epochs=1)
            folder.add_attempt(Attempt(failure, "here", 0.0))
            folder.write_failure(failure)
        else:
            folder.write_history((EpochRecord(1, 0.1, 2.0, 70.0, 65.0, 1.0),))
            folder.add_to_log("started")
    return run


def test_retried_trials_wait_again(run):
    ids = run.ids()
    assert retry(run, reason="worker died") == [ids[3]]
    assert run.trial(ids[3]).attempts() == ()
    assert run_status(run).counts == {"done": 2, "failed": 1, "running": 0, "waiting": 3}
    assert retry(run, trial=ids[0]) == []  # it has not failed
    assert retry(run) == [ids[2]]
    assert run.trial(ids[2]).checkpoint.exists()  # it resumes from it
    with pytest.raises(InputError, match="unknown reason 'crash'; choose from: diverged, out of memory"):
        retry(run, reason="crash")
    with pytest.raises(InputError, match="has no trial 'abc'"):
        retry(run, trial="abc")


def test_leftovers_are_listed_and_only_the_chosen_kinds_are_deleted(run):
    ids = run.ids()
    partial = run.trial(ids[0]).path / ".result.json.abc.tmp"
    partial.write_bytes(bytes(7))
    os.utime(partial, (0, 0))
    (run.trial(ids[0]).path / ".result.json.def.tmp").write_bytes(bytes(8))  # a process may still be writing it
    finished = subprocess.run([sys.executable, "-c", _take(run.trial(ids[5]).path)], check=True)
    assert finished.returncode == 0
    claim = claims.take(run.trial(ids[4]).path)
    launch = run.new_launch({**origin(), "launcher": "local"})
    before = {path for path in run.path.rglob("*") if path.is_file()}
    listed = leftovers(run, keep_best=1)
    assert {path for path in run.path.rglob("*") if path.is_file()} == before
    sizes = {kind: [size for _, size in listed[kind]] for kind in KINDS}
    assert sizes["temporary"] == [7]
    assert [path.parent.name for path, _ in listed["claims"]] == [ids[5]]
    assert sizes["failed"] == [3000, 4000]
    assert sizes["checkpoints"] == [1000]  # the better of the two done trials keeps its weights
    assert sizes["launches"] == []  # a trial is running
    with pytest.raises(InputError, match="unknown kind 'everything'; choose from: temporary, claims"):
        delete(listed, ["temporary", "everything"])
    assert {path for path in run.path.rglob("*") if path.is_file()} == before
    assert delete(listed, ["checkpoints", "temporary"]) == (2, 1007)
    assert not run.trial(ids[0]).checkpoint.exists()
    assert run.trial(ids[1]).checkpoint.exists()
    claim.release()
    assert leftovers(run)["launches"] == []  # its process is this one, so it is not known to have ended
    launch.update(ended=True)
    assert leftovers(run)["launches"] == [(launch.path / "launch.json", (launch.path / "launch.json").stat().st_size)]
    delete(leftovers(run), ["launches"])
    assert run.launches() == []


def _take(folder):
    """Return code that creates a folder and claims it."""
    code = "import pathlib; from designspace.trials import claims; "
    return f"{code}p = pathlib.Path({str(folder)!r}); p.mkdir(); claims.take(p)"


def test_old_files_that_may_belong_to_another_machine_are_not_deleted(run):
    folder = run.trial(run.ids()[4])
    claim = claims.take(folder.path)
    claim.path.write_text(claim.path.read_text().replace(claims._machine(), "another machine"))
    (folder.path / ".checkpoint.pt.abc.tmp").touch()
    for path in folder.path.iterdir():
        os.utime(path, (0, 0))
    run.new_launch({**origin(), "ended": True})
    listed = leftovers(run)
    assert [listed[kind] for kind in ("claims", "temporary", "launches")] == [[], [], []]


def test_a_copy_of_a_run_does_not_include_its_launches(run, tmp_path):
    run.new_launch({**origin(), "launcher": "local"})
    (
        run.launches_path / "20260101T000000Z-abcdef"
    ).mkdir()  # of a process that was killed before it could record the launch
    assert len(run.launches()) == 1
    copy = RunFolder(shutil.copytree(run.path, tmp_path / "copy"))
    assert copy.launches() == []
    assert cancel(copy) == []
    assert not run.launches()[0].is_cancelled


def test_status_of_each_trial(run):
    ids = run.ids()
    claim = claims.take(run.trial(ids[4]).path)
    states = run.states(ids)
    statuses = [trial_status(run, state) for state in states]
    assert [(t.status, t.epochs, t.error, t.attempts) for t in statuses] == [
        ("done", 2, 40.0, 0),
        ("done", 2, 39.0, 0),
        ("failed", 0, None, 1),
        ("failed", 0, None, 1),
        ("running", 1, 65.0, 0),
        ("waiting", 0, None, 0),
    ]
    assert statuses[2].detail == "error: no"
    assert statuses[4].where == f"{claim.owner.host}, process {os.getpid()}"
    assert statuses[4].log == run.trial(ids[4]).log
    assert statuses[5].log is None
    assert run_status(run).best_id == ids[1]


def test_a_local_launch_is_cancelled_from_anywhere(tmp_path, data_root):
    run = make_run(tmp_path / "run", n=4, epochs=50)
    assert cancel(run) == []
    command_line = [
        sys.executable,
        "-m",
        "designspace.launch",
        f"run={run.path}",
        f"data.root={data_root}",
        "launcher.workers=1",
    ]
    launched = subprocess.Popen(command_line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not run_status(run).counts["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    cancelled = cancel(run)
    assert len(cancelled) == 1
    assert f"process {launched.pid}" in cancelled[0]
    _, errors = launched.communicate(timeout=600)
    assert launched.returncode == 1
    assert "designspace.launch: cancelled by" in errors
    assert run_status(run).counts["running"] == 0
    assert cancel(run) == []
