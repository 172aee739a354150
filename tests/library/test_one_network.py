"""Training one network into a folder, in this process."""

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
from designspace.sweeps.in_process import train_in_process
from designspace.sweeps.local import RetryPolicy
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


def run_training(training, retry_policy=None, **options):
    training.run.record(training.trial, training.start.to_dict(training.weight_source), {"command": "train"})
    return train_in_process(training, Ranks(), CPU, retry_policy or RetryPolicy(), {}, **options)


def in_folder(training, path, **changes):
    """Return the same training, or one with changes, in another folder."""
    return dataclasses.replace(training, run=TrainingFolder(path, dataclasses.replace(training.trial, **changes)))


def with_recipe(training, **changes):
    recipe = dataclasses.replace(training.trial.recipe, **changes)
    return in_folder(training, training.run.path, recipe=recipe)


def before_step(number, action):
    """Return a callback that runs an action before a step, counted from 1."""
    steps = iter(range(1, 1000))
    return lambda: action() if next(steps) == number else None


def weights(path):
    """Return the state dict of a model folder as bytes, because the order within the file varies."""
    return {key: value.numpy().tobytes() for key, value in designspace.load(path).state_dict().items()}


def send_signal(number):
    return lambda: os.kill(os.getpid(), number)


def test_the_model_folder_equals_the_result_of_train(folder, training, network, recipe, data, tmp_path):
    epochs_seen = []
    result = run_training(training, on_epoch=lambda history: epochs_seen.append(len(history)))
    alone = train(network, recipe, data, seed=5, checkpoint=tmp_path / "alone.pt")
    assert dataclasses.replace(result, train_s=0) == dataclasses.replace(alone, train_s=0)
    state = torch.load(tmp_path / "alone.pt", weights_only=True)["model"]
    model = designspace.load(folder.path)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert epochs_seen == [1, 2, 3, 4]
    info = model.weights
    assert (info.name, info.classes, info.licence) == ("striped", CLASSES, OWN_LICENCE)
    assert info.origin == "trained from scratch on 70 training images of stripes"
    assert (info.preset.crop, info.preset.mean) == (10, (0.4, 0.4))
    assert info.about["result"]["final_error"] == result.final_error
    assert info.about["provenance"] == [{"command": "train"}]
    card = (folder.path / "README.md").read_text()
    assert f"**{result.final_error:.2f}%** (top-1)" in card
    assert "rank" not in card


def test_history_events_and_log_record_every_epoch(folder, training):
    run_training(training)
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
def test_a_stopped_training_resumes_bitwise_identically(folder, training, tmp_path, number, kind):
    """There are four steps per epoch, so the signal arrives in the third epoch."""
    assert steps_per_epoch(training.trial.recipe, training.images) == 4
    before = signal.getsignal(number)
    with pytest.raises(kind):
        run_training(training, on_step=before_step(10, send_signal(number)))
    assert signal.getsignal(number) is before
    assert len(folder.read_history()) == 2
    assert "stopped in epoch 3, before step 2 of 4" in folder.log.read_text()
    assert not (folder.path / "network.json").exists()
    epochs_seen = []
    run_training(training, on_epoch=lambda history: epochs_seen.append(len(history)))
    assert epochs_seen == [2, 3, 4]
    uninterrupted = in_folder(training, tmp_path / "uninterrupted")
    run_training(uninterrupted)
    assert weights(folder.path) == weights(uninterrupted.run.path)
    without_times = [
        [dataclasses.replace(record, wall_s=0) for record in each.run.trial_folder.read_history()]
        for each in (training, uninterrupted)
    ]
    assert without_times[0] == without_times[1]
    all_curves = [
        {tag: curve for tag, curve in curves(each.run.events).items() if tag != "images_per_s"}
        for each in (training, uninterrupted)
    ]
    assert all_curves[0] == all_curves[1]
    assert len(list(training.run.events.iterdir())) == 2


@pytest.mark.parametrize("lost", ["history", "events", "checkpoint"])
def test_a_training_killed_between_two_writes_resumes(folder, training, monkeypatch, lost):
    """It is killed between two writes at the end of an epoch; or the checkpoint is damaged, and it starts anew."""

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        if lost == "history":
            patched.setattr(TrialFolder, "write_history", kill)
            run_training(training)
        elif lost == "events":
            patched.setattr(one_network.EventFile, "add", kill)
            run_training(training)
        else:
            run_training(training, on_step=before_step(10, kill))
    assert folder.checkpoint.exists()
    if lost == "checkpoint":
        folder.checkpoint.write_bytes(folder.checkpoint.read_bytes()[:-1])
    result = run_training(training)
    assert result.epochs == 4
    assert [step for step, _ in curves(training.run.events)["loss/train"]] == [1, 2, 3, 4]
    assert len(folder.read_history()) == 4


def test_a_done_training_is_not_repeated(training, monkeypatch):
    first = run_training(training)
    monkeypatch.setattr(one_network, "build_initial_model", None)
    assert run_training(training) == first


def test_another_training_is_rejected(folder, training):
    run_training(with_recipe(training, epochs=1))
    before = weights(folder.path)
    with pytest.raises(InputError, match=r"holds another training \(recipe.epochs is 1 there and 4 here\)"):
        run_training(training)
    assert weights(folder.path) == before


def test_a_running_training_claims_its_folder(folder, training):
    """The claim exists while the training runs, and not afterwards."""
    seen = []
    run_training(training, on_step=lambda: seen.append(claims.current(folder.path).owner.pid))
    assert set(seen) == {os.getpid()}
    assert claims.current(folder.path) is None


def test_a_diverged_loss_is_an_error(folder, training):
    with pytest.raises(RunError, match=r"epoch \d is (nan|inf); a smaller recipe.lr than 1e\+20 may help"):
        run_training(with_recipe(training, lr=1e20))
    assert "diverged: the training loss of epoch" in folder.log.read_text()
    assert TrialFolder(folder.path).state().failure.has_diverged
    assert not (folder.path / "network.json").exists()


class Pair(Ranks):
    """Rank 0 or 1 of two ranks, of which the other has no checkpoint."""

    def gather(self, value):
        return [value, b""] if self.rank == 0 else [b"another", value]


def test_all_ranks_must_resume_from_one_checkpoint(folder, training):
    run_training(with_recipe(training, epochs=1))
    with pytest.raises(
        RunError, match=r"is not the same for rank 1 as for rank 0: choose out=... in a folder that all"
    ):
        one_network._check_same_checkpoint(folder.checkpoint, Pair(0, 2))
    with pytest.raises(OtherRankFailed):
        one_network._check_same_checkpoint(folder.checkpoint, Pair(1, 2))
    assert one_network._check_same_checkpoint(folder.path / "none.pt", Ranks()) == folder.path / "none.pt"


def raise_in_training(error):
    def train_part(*_, **__):
        raise error

    return train_part


def test_running_out_of_memory_gives_advice(folder, training, monkeypatch):
    monkeypatch.setattr(one_network, "train_part", raise_in_training(torch.cuda.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(RunError, match=r"out of memory with 16 images at a time. recipe.accumulate=2 halves"):
        run_training(training)


def test_an_error_of_the_code_is_a_failed_attempt(folder, training, monkeypatch):
    monkeypatch.setattr(one_network, "train_part", raise_in_training(ZeroDivisionError("a bug")))
    for attempt in ("1", "2", "3, the last"):
        with pytest.raises(RunError, match=r"^error: ZeroDivisionError: a bug; see .*log\.txt"):
            run_training(training)
        assert f"ZeroDivisionError: a bug (attempt {attempt})" in folder.log.read_text()
    assert folder.log.read_text().count("Traceback") == 3
    with pytest.raises(
        RunError, match=r"has failed \(error: ZeroDivisionError: a bug\). To try again: .*designspace.retry"
    ):
        run_training(training)
    assert folder.state().failure.detail == "ZeroDivisionError: a bug"


def test_a_lost_connection_is_the_failure_of_another_process(folder, training, monkeypatch):
    monkeypatch.setattr(one_network, "train_part", raise_in_training(RuntimeError("Connection closed by peer")))
    with pytest.raises(RunError, match="worker died: another process of the training ended"):
        run_training(training)


def test_fine_tuning_is_recorded_in_the_origin(folder, training, tmp_path):
    run_training(training)
    finer = in_folder(training, tmp_path / "second", weights="of the first")
    start = Start("striped", training.trial.network, folder.path)
    run_training(with_recipe(dataclasses.replace(finer, start=start, weight_source=True), lr=1e-9, epochs=1))
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
        run_training(with_recipe(training, epochs=100_000), on_step=before_step(5, cancel_at_once))
    assert folder.state().status == "waiting"
    assert not folder.attempts()
    assert training.run.launches()[0].about()["ended"]


def test_a_training_that_takes_too_long_fails(folder, training):
    with pytest.raises(RunError, match="time limit: the trial took longer than trial_timeout_min allows"):
        run_training(with_recipe(training, epochs=100_000), RetryPolicy(max_retries=0, trial_timeout_s=0.1))
    assert TrialFolder(folder.path).state().failure.reason == "time limit"


def test_a_lost_process_counts_as_an_attempt(folder, training):
    folder.path.mkdir()
    claim = claims.take(folder.path)
    gone = dataclasses.replace(claim.owner, pid=2**22 + 1, token="gone")
    claim.path.write_text(json.dumps(dataclasses.asdict(gone)))
    run_training(training)
    assert [attempt.failure.reason for attempt in folder.attempts()] == ["worker died"]
    assert folder.state().status == "done"
