"""A process that was suspended while another one took over and finished its trial changes none of the trial's files."""

import dataclasses
import functools
import os
from pathlib import Path

import pytest

from designspace.support.errors import RunError
from designspace.support.files import guarded, write_folder, write_json, write_text
from designspace.training import DeviceData, Interrupted, train, train_on_devices
from designspace.training.into_folder import train_into
from designspace.trials import claims
from designspace.trials.claims import ClaimLost
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult
from designspace.trials.trial_folder import TrialFolder

RESULT = TrialResult(12.5, 12.25, 4, 3.5, "cpu")
RECORD = EpochRecord(1, 0.1, 2.0, 70.0, 65.0, 1.0)


@pytest.fixture
def folder(tmp_path):
    return TrialFolder(tmp_path / "trial")


def take_over(folder):
    """Act as another process that takes the trial over, finishes it and releases it."""
    other = claims.take(folder.path, claims.current(folder.path).key)
    for name in ("checkpoint.pt", "history.jsonl", "log.txt", "attempts.json", "trial.json"):
        (folder.path / name).write_text(f"the other's {name}")
    (folder.path / "result.json").write_text("the other's result")
    other.release()


def contents(folder):
    return {path.name: path.read_text() for path in folder.path.iterdir()}


@pytest.mark.parametrize(
    "write",
    [
        lambda folder, trial: folder.write_trial(trial),
        lambda folder, trial: folder.write_history((RECORD,)),
        lambda folder, trial: folder.write_result(RESULT),
        lambda folder, trial: folder.write_failure(TrialFailure("error", "no")),
        lambda folder, trial: folder.add_attempt(Attempt(TrialFailure("error", "no"), "here", 0.0)),
        lambda folder, trial: folder.add_to_log("epoch 1"),
        lambda folder, trial: folder.clear_failure(),
        lambda folder, trial: folder.copy_from(folder),
        lambda folder, trial: write_text(folder.checkpoint, "old"),
        lambda folder, trial: write_folder(folder.path, {"checkpoint.pt": b"old"}),
    ],
)
def test_no_file_of_a_lost_trial_is_written(folder, network, recipe, write):
    with folder.claimed() as claim:
        take_over(folder)
        before = contents(folder)
        with pytest.raises(ClaimLost, match="another process has taken over"):
            write(folder, Trial(network, recipe))
        assert contents(folder) == before
        assert not claim.is_ours()


def test_no_file_is_written_if_the_trial_is_lost_during_a_checkpoint(folder, network, recipe, data, monkeypatch):
    fsync, checkpoint_writes = os.fsync, []

    def stand_still(handle):
        fsync(handle)
        if "checkpoint.pt" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            checkpoint_writes.append(handle)
            if len(checkpoint_writes) == 2:  # after the second epoch
                take_over(folder)

    monkeypatch.setattr("designspace.support.files.os.fsync", stand_still)
    trial, histories = Trial(network, recipe), []
    trainer = functools.partial(train, network, recipe, DeviceData.of(data, "cpu"))
    with folder.claimed(), pytest.raises(ClaimLost):
        train_into(folder, trial, trainer, histories.append, lambda: False)
    assert [len(history) for history in histories] == [1]
    assert set(contents(folder)) == {
        *("checkpoint.pt", "history.jsonl", "log.txt", "attempts.json", "trial.json", "result.json")
    }
    assert all(text.startswith("the other's") for text in contents(folder).values())


def test_a_lost_trial_on_two_devices_is_interrupted(folder, network, recipe, data):
    recipe = dataclasses.replace(recipe, devices=2)
    with folder.claimed():
        take_over(folder)
        with pytest.raises(Interrupted, match="was terminated"):
            train_on_devices(network, recipe, data, checkpoint=folder.checkpoint)
    assert all(text.startswith("the other's") for text in contents(folder).values())


def test_losing_a_claim_leaves_the_claims_of_others_intact(folder):
    with folder.claimed():
        take_over(folder)
        third = claims.take(folder.path)
    assert third.is_ours()


def test_writing_after_losing_a_folder_is_an_error(tmp_path):
    def write_late():
        with claims.exclusive(tmp_path):
            claims.take(tmp_path, claims.current(tmp_path).key)
            write_json(tmp_path / "a.json", {})

    with pytest.raises(RunError, match="another process has taken over"):
        write_late()
    assert not (tmp_path / "a.json").exists()


def test_only_files_below_the_folder_are_guarded(tmp_path):
    def refuse():
        raise ClaimLost

    (tmp_path / "link").symlink_to(tmp_path / "a")
    with guarded(tmp_path / "a", refuse):
        write_text(tmp_path / "b" / "file", "free")
        for path in ("a/file", "a/b/file", "link/file"):
            with pytest.raises(ClaimLost):
                write_text(tmp_path / path, "guarded")
    write_text(tmp_path / "a" / "file", "free")
