"""One network's training into a folder, in this process."""

import contextlib
import csv
import dataclasses
import json
import os
import signal

import pytest
import torch
from event_files import curves

import designspace
from designspace.library import one_network
from designspace.library.one_network import OneTraining, images_per_epoch, steps_per_epoch, trained_images
from designspace.library.start import Start
from designspace.models.info import OWN_LICENCE
from designspace.support.errors import InputError, RunError
from designspace.sweeps.here import train_here
from designspace.sweeps.local import Effort
from designspace.training import train
from designspace.training.failures import Interrupted
from designspace.training.ranks import OtherRankFailed, Ranks
from designspace.trials import claims
from designspace.trials.training_folder import TrainingFolder
from designspace.trials.trial import Trial
from designspace.trials.trial_folder import TrialFolder

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CLASSES = ("top", "middle", "bottom")


@pytest.fixture
def training(tmp_path, network, recipe, data):
    folder = TrainingFolder(tmp_path / "out", Trial(network, recipe, 5))
    return OneTraining(folder, Start("striped", network), None, data, CLASSES)


@pytest.fixture
def folder(training):
    return training.run.trial_folder


def go(training, effort=None, **options):
    training.run.ask(training.trial, training.start.to_dict(training.which), {"command": "train"})
    return train_here(training, Ranks(), CPU, effort or Effort(), {}, **options)


def elsewhere(training, path, **changes):
    """The same training, or one that differs, in another folder."""
    return dataclasses.replace(training, run=TrainingFolder(path, dataclasses.replace(training.trial, **changes)))


def with_recipe(training, **changes):
    recipe = dataclasses.replace(training.trial.recipe, **changes)
    return elsewhere(training, training.run.path, recipe=recipe)


def at_step(number, action):
    """A callback that does something before a step, counted from 1."""
    steps = iter(range(1, 1000))
    return lambda: action() if next(steps) == number else None


def weights(path):
    """The state dict of a model folder, as bytes: the order within the file is another each time."""
    return {key: value.numpy().tobytes() for key, value in designspace.load(path).state_dict().items()}


def tell(number):
    return lambda: os.kill(os.getpid(), number)


def test_the_folder_is_a_model_that_train_would_have_trained(folder, training, network, recipe, data, tmp_path):
    told = []
    result = go(training, on_epoch=lambda history: told.append(len(history)))
    alone = train(network, recipe, data, seed=5, checkpoint=tmp_path / "alone.pt")
    assert dataclasses.replace(result, train_s=0) == dataclasses.replace(alone, train_s=0)
    state = torch.load(tmp_path / "alone.pt", weights_only=True)["model"]
    model = designspace.load(folder.path)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert told == [1, 2, 3, 4]
    known = model.weights
    assert (known.name, known.classes, known.licence) == ("striped", CLASSES, OWN_LICENCE)
    assert known.origin == "trained from scratch on 70 training images of stripes"
    assert (known.preset.crop, known.preset.mean) == (10, (0.4, 0.4))
    assert known.about["result"]["final_error"] == result.final_error
    assert known.about["provenance"] == [{"command": "train"}]
    card = (folder.path / "README.md").read_text()
    assert f"**{result.final_error:.2f}%** (top-1)" in card
    assert "rank" not in card


def test_what_is_written_of_the_epochs(folder, training):
    go(training)
    with folder.history_table.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    shown = curves(training.run.events)
    assert shown["error/test"] == [(int(row["epoch"]), pytest.approx(float(row["test_error"]))) for row in rows]
    assert shown["images_per_s"] == [(int(row["epoch"]), pytest.approx(64 / float(row["wall_s"]))) for row in rows]
    log = folder.log.read_text()
    assert log.count("started on") == 1
    assert "epoch 4/4: loss" in log
    assert log.endswith(f"done: final error {float(rows[-1]['test_error']):.2f}%\n")


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Interrupted)])
def test_told_to_stop_it_goes_on_later_to_the_same_bits(folder, training, tmp_path, number, kind):
    """There are four steps an epoch: the signal comes in the third epoch."""
    assert steps_per_epoch(training.trial.recipe, training.images) == 4
    before = signal.getsignal(number)
    with pytest.raises(kind):
        go(training, on_step=at_step(10, tell(number)))
    assert signal.getsignal(number) is before
    assert len(folder.read_history()) == 2
    assert "stopped in epoch 3, before step 2 of 4" in folder.log.read_text()
    assert not (folder.path / "network.json").exists()
    told = []
    go(training, on_epoch=lambda history: told.append(len(history)))
    assert told == [2, 3, 4]
    whole = elsewhere(training, tmp_path / "whole")
    go(whole)
    assert weights(folder.path) == weights(whole.run.path)
    without_times = [
        [dataclasses.replace(one, wall_s=0) for one in each.run.trial_folder.read_history()]
        for each in (training, whole)
    ]
    assert without_times[0] == without_times[1]
    shown = [
        {tag: curve for tag, curve in curves(each.run.events).items() if tag != "images_per_s"}
        for each in (training, whole)
    ]
    assert shown[0] == shown[1]
    assert len(list(training.run.events.iterdir())) == 2


@pytest.mark.parametrize("lost", ["history", "events", "checkpoint"])
def test_killed_at_the_worst_moment(folder, training, monkeypatch, lost):
    """Between two writes at the end of an epoch; or the checkpoint is damaged, and the training begins anew."""

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        if lost == "history":
            patched.setattr(TrialFolder, "write_history", kill)
            go(training)
        elif lost == "events":
            patched.setattr(one_network.EventFile, "add", kill)
            go(training)
        else:
            go(training, on_step=at_step(10, kill))
    assert folder.checkpoint.exists()
    if lost == "checkpoint":
        folder.checkpoint.write_bytes(folder.checkpoint.read_bytes()[:-1])
    result = go(training)
    assert result.epochs == 4
    assert [step for step, _ in curves(training.run.events)["loss/train"]] == [1, 2, 3, 4]
    assert len(folder.read_history()) == 4


def test_what_is_over_is_not_done_again(training, monkeypatch):
    first = go(training)
    monkeypatch.setattr(one_network, "begin", None)
    assert go(training) == first


def test_another_training_is_refused(folder, training):
    go(with_recipe(training, epochs=1))
    before = weights(folder.path)
    with pytest.raises(InputError, match=r"holds another training \(recipe.epochs is 1 there and 4 here\)"):
        go(training)
    assert weights(folder.path) == before


def test_one_waits_for_the_other(folder, training):
    """The claim is there while the training runs, and gone afterwards."""
    seen = []
    go(training, on_step=lambda: seen.append(claims.current(folder.path).owner.pid))
    assert set(seen) == {os.getpid()}
    assert claims.current(folder.path) is None


def test_a_loss_that_diverges(folder, training):
    with pytest.raises(RunError, match=r"epoch \d is (nan|inf); a smaller recipe.lr than 1e\+20 may help"):
        go(with_recipe(training, lr=1e20))
    assert "diverged: the training loss of epoch" in folder.log.read_text()
    assert TrialFolder(folder.path).state().failure.has_diverged
    assert not (folder.path / "network.json").exists()


class Pair(Ranks):
    """Rank 0 or 1 of two, of which the other has no checkpoint."""

    def gather(self, value):
        return [value, b""] if self.rank == 0 else [b"another", value]


def test_all_must_go_on_from_one_checkpoint(folder, training):
    go(with_recipe(training, epochs=1))
    with pytest.raises(RunError, match=r"is not the same for rank 1 as for rank 0: put out=... where all machines see"):
        one_network._seen_by_all(folder.checkpoint, Pair(0, 2))
    with pytest.raises(OtherRankFailed):
        one_network._seen_by_all(folder.checkpoint, Pair(1, 2))
    assert one_network._seen_by_all(folder.path / "none.pt", Ranks()) == folder.path / "none.pt"


def fails(error):
    def train_part(*_, **__):
        raise error

    return train_part


def test_memory_that_runs_out(folder, training, monkeypatch):
    monkeypatch.setattr(one_network, "train_part", fails(torch.cuda.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(RunError, match=r"out of memory with 16 images at a time. recipe.accumulate=2 halves"):
        go(training)


def test_an_error_of_the_code_is_an_attempt_that_failed(folder, training, monkeypatch):
    monkeypatch.setattr(one_network, "train_part", fails(ZeroDivisionError("a bug")))
    for attempt in ("1", "2", "3, the last"):
        with pytest.raises(RunError, match=r"^error: ZeroDivisionError: a bug; more is in .*log\.txt"):
            go(training)
        assert f"ZeroDivisionError: a bug (try {attempt})" in folder.log.read_text()
    assert folder.log.read_text().count("Traceback") == 3
    with pytest.raises(
        RunError, match=r"has failed \(error: ZeroDivisionError: a bug\). To try again: .*designspace.retry"
    ):
        go(training)
    assert folder.state().failure.detail == "ZeroDivisionError: a bug"


def test_a_lost_connection_is_another_process_s_failure(folder, training, monkeypatch):
    monkeypatch.setattr(one_network, "train_part", fails(RuntimeError("Connection closed by peer")))
    with pytest.raises(RunError, match="worker died: another process of the training ended"):
        go(training)


def test_fine_tuning_is_told_of(folder, training, tmp_path):
    go(training)
    finer = elsewhere(training, tmp_path / "second", weights="of the first")
    start = Start("striped", training.trial.network, folder.path)
    go(with_recipe(dataclasses.replace(finer, start=start, which=True), lr=1e-9, epochs=1))
    model = designspace.load(tmp_path / "second")
    assert model.weights.origin == (
        "fine-tuned on 70 training images of stripes, "
        "from striped, trained from scratch on 70 training images of stripes"
    )
    torch.testing.assert_close(model.head.classifier.weight, designspace.load(folder.path).head.classifier.weight)


def test_held_out_images_are_not_trained_on(training):
    recipe = dataclasses.replace(training.trial.recipe, heldout_images=10)
    assert trained_images(recipe, training.images) == 60
    assert trained_images(dataclasses.replace(recipe, train_images=40), training.images) == 30
    assert (steps_per_epoch(recipe, training.images), images_per_epoch(recipe, training.images)) == (3, 48)
    large = dataclasses.replace(recipe, batch_size=1000)
    assert (steps_per_epoch(large, training.images), images_per_epoch(large, training.images)) == (1, 60)
    with pytest.raises(InputError, match="heldout_images 70 leaves none of 70 training images"):
        trained_images(dataclasses.replace(recipe, heldout_images=70), training.images)


def test_a_cancelled_training_stops(folder, training):
    def cancel_at_once():
        training.run.launches()[0].cancel("somebody")

    with pytest.raises(RunError, match="cancelled by somebody; the same command resumes"):
        go(with_recipe(training, epochs=100_000), on_step=at_step(5, cancel_at_once))
    assert folder.state().status == "waiting"
    assert not folder.attempts()
    assert training.run.launches()[0].about()["ended"]


def test_a_training_that_takes_too_long_fails(folder, training):
    with pytest.raises(RunError, match="time limit: the trial took longer than trial_timeout_min allows"):
        go(with_recipe(training, epochs=100_000), Effort(max_retries=0, trial_timeout_s=0.1))
    assert TrialFolder(folder.path).state().failure.reason == "time limit"


def test_a_process_that_was_lost_counts_as_an_attempt(folder, training):
    folder.path.mkdir()
    claim = claims.take(folder.path)
    gone = dataclasses.replace(claim.owner, pid=2**22 + 1, token="gone")
    claim.path.write_text(json.dumps(dataclasses.asdict(gone)))
    go(training)
    assert [attempt.failure.reason for attempt in folder.attempts()] == ["worker died"]
    assert folder.state().status == "done"
