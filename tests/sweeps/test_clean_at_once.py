"""Deleting leftovers while other commands start: files that were listed may be needed again when they are deleted."""

import os
import threading

import pytest
from sweep_runs import RECIPE, make_run

from designspace.sweeps import snapshot
from designspace.sweeps.launch import origin
from designspace.sweeps.upkeep import KINDS, delete, leftovers, retry
from designspace.trials import claims
from designspace.trials.trial import Trial, TrialFailure


@pytest.fixture
def run(tmp_path):
    """A run with a failed trial and its checkpoint, and with the code and log of a launch that has ended."""
    run = make_run(tmp_path / "run", n=2)
    folder, trial = run.trial(run.ids()[0]), Trial(run.population()[0], RECIPE, 0)
    folder.write_trial(trial)
    folder.checkpoint.write_bytes(bytes(1000))
    folder.write_failure(TrialFailure("error", "no", epochs=1))
    snapshot.snapshot(run.code)
    run.new_launch({**origin(), "ended": True})
    return run


def test_the_checkpoint_of_a_retried_trial_is_kept(run):
    listed = leftovers(run)
    assert len(listed["failed"]) == 1
    retry(run)
    assert delete(listed, ["failed"]) == (0, 0)
    assert run.trial(run.ids()[0]).checkpoint.exists()


def test_files_of_a_claimed_trial_are_kept(run):
    listed = leftovers(run)
    retry(run)
    with run.trial(run.ids()[0]).claimed() as claim:
        delete(listed, list(KINDS))
        assert claim.is_ours()
    assert run.trial(run.ids()[0]).checkpoint.exists()


def test_the_code_of_a_new_launch_is_kept(run):
    listed = leftovers(run)
    assert listed["launches"]
    launch = run.new_launch({**origin(), "launcher": "local"})
    assert delete(listed, ["launches"]) == (0, 0)
    assert launch.exists()
    assert list(run.code.iterdir())


def test_deleting_waits_for_a_starting_launch(run):
    listed = leftovers(run)
    with run.launching():
        deleting = threading.Thread(target=delete, args=(listed, ["launches"]))
        deleting.start()
        snapshot.snapshot(run.code)
        deleting.join(0.5)
        assert deleting.is_alive()
        run.new_launch({**origin(), "launcher": "local"})
    deleting.join(10)
    assert not deleting.is_alive()
    assert list(run.code.iterdir())
    assert len(run.launches()) == 2


def test_all_leftovers_are_deleted_if_no_process_is_active(run):
    count, size = delete(leftovers(run), list(KINDS))
    assert count > 100
    assert size > 100_000
    assert not run.code.exists()
    assert run.launches() == []
    assert leftovers(run).files == {kind: [] for kind in KINDS}
    assert delete(leftovers(run), list(KINDS)) == (0, 0)


def test_files_that_cannot_be_deleted_are_skipped(run, monkeypatch, caplog):
    unlink = os.unlink

    def fail(name, **options):
        if name == "checkpoint.pt":
            raise OSError(5, "Input/output error", name)
        unlink(name, **options)

    monkeypatch.setattr("designspace.support.removal.os.unlink", fail)
    delete(leftovers(run), list(KINDS))
    assert "checkpoint.pt cannot be deleted" in caplog.text
    assert not run.code.exists()


def test_claims_on_finished_trials_are_deleted(run):
    folder = run.trial(run.ids()[0])
    claim = claims.take(folder.path)
    claim.path.write_text(claim.path.read_text().replace(claims._machine(), "another machine"))
    listed = leftovers(run)
    assert [path for path, _ in listed["claims"]] == [claim.path]
    assert delete(listed, ["claims"])[0] == 1
    assert claims.current(folder.path) is None
