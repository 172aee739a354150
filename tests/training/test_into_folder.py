"""One network's training into a folder, in this process."""

import contextlib
import csv
import dataclasses
import os
import signal

import pytest
import torch
from test_events import curves

import designspace
from designspace.models.known import OWN_LICENCE
from designspace.support.errors import InputError, RunError
from designspace.training import into_folder, train
from designspace.training.failures import Interrupted
from designspace.training.into_folder import Training, images_per_epoch, steps_per_epoch, train_into, trained_images
from designspace.training.start import Start
from designspace.training.torchrun import OtherRankFailed, Ranks
from designspace.trials import claims
from designspace.trials.training_folder import Question, TrainingFolder

CPU = torch.device("cpu")
CLASSES = ("top", "middle", "bottom")


@pytest.fixture
def folder(tmp_path):
    return TrainingFolder(tmp_path / "out")


@pytest.fixture
def training(network, recipe, data):
    return Training(Start("striped", network), None, Question(network, recipe, 5, "first weights"), data, CLASSES)


def go(folder, training, **options):
    return train_into(folder, training, Ranks(), CPU, {"command": "train"}, **options)


def with_recipe(training, **changes):
    recipe = dataclasses.replace(training.question.recipe, **changes)
    return dataclasses.replace(training, question=dataclasses.replace(training.question, recipe=recipe))


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
    result = go(folder, training, on_epoch=lambda history: told.append(len(history)))
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
    go(folder, training)
    with folder.history.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    shown = curves(folder.events)
    assert shown["error/test"] == [(int(row["epoch"]), pytest.approx(float(row["test_error"]))) for row in rows]
    assert shown["images_per_s"] == [(int(row["epoch"]), pytest.approx(64 / float(row["wall_s"]))) for row in rows]
    log = folder.log.read_text()
    assert log.count("started on") == 1
    assert "epoch 4/4: loss" in log
    assert log.endswith(f"done: final error {float(rows[-1]['test_error']):.2f}%\n")


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Interrupted)])
def test_told_to_stop_it_goes_on_later_to_the_same_bits(folder, training, tmp_path, number, kind):
    """There are four steps an epoch: the signal comes in the third epoch."""
    assert steps_per_epoch(training.question.recipe, training.images) == 4
    before = signal.getsignal(number)
    with pytest.raises(kind):
        go(folder, training, on_step=at_step(10, tell(number)))
    assert signal.getsignal(number) is before
    assert len(folder.read_history()) == 2
    assert "stopped in epoch 3, before step 2 of 4" in folder.log.read_text()
    assert not (folder.path / "network.json").exists()
    told = []
    go(folder, training, on_epoch=lambda history: told.append(len(history)))
    assert told == [2, 3, 4]
    whole = TrainingFolder(tmp_path / "whole")
    go(whole, training)
    assert weights(folder.path) == weights(whole.path)
    without_times = [[dataclasses.replace(one, wall_s=0) for one in each.read_history()] for each in (folder, whole)]
    assert without_times[0] == without_times[1]
    shown = [
        {tag: curve for tag, curve in curves(each.events).items() if tag != "images_per_s"} for each in (folder, whole)
    ]
    assert shown[0] == shown[1]
    assert len(list(folder.events.iterdir())) == 2


@pytest.mark.parametrize("lost", ["history", "events", "checkpoint"])
def test_killed_at_the_worst_moment(folder, training, monkeypatch, lost):
    """Between two writes at the end of an epoch; or the checkpoint is damaged, and the training begins anew."""

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        if lost == "history":
            patched.setattr(TrainingFolder, "write_history", kill)
            go(folder, training)
        elif lost == "events":
            patched.setattr(into_folder.EventFile, "add", kill)
            go(folder, training)
        else:
            go(folder, training, on_step=at_step(10, kill))
    assert folder.checkpoint.exists()
    if lost == "checkpoint":
        folder.checkpoint.write_bytes(folder.checkpoint.read_bytes()[:-1])
    result = go(folder, training)
    assert result.epochs == 4
    assert [step for step, _ in curves(folder.events)["loss/train"]] == [1, 2, 3, 4]
    assert len(folder.read_history()) == 4


def test_what_is_over_is_not_done_again(folder, training, monkeypatch):
    first = go(folder, training)
    monkeypatch.setattr(into_folder, "begin", None)
    again = go(folder, training)
    assert dataclasses.replace(again, device=first.device) == first


def test_another_training_is_refused(folder, training):
    go(folder, with_recipe(training, epochs=1))
    before = weights(folder.path)
    with pytest.raises(InputError, match=r"holds another training \(recipe.epochs is 1 there and 4 here\)"):
        go(folder, training)
    assert weights(folder.path) == before


def test_one_waits_for_the_other(folder, training):
    """The claim is there while the training runs, and gone afterwards."""
    seen = []
    go(folder, training, on_step=lambda: seen.append(claims.current(folder.path).owner.pid))
    assert set(seen) == {os.getpid()}
    assert claims.current(folder.path) is None


def test_a_loss_that_diverges(folder, training):
    with pytest.raises(RunError, match=r"epoch \d is (nan|inf); a smaller recipe.lr than 1e\+20 may help"):
        go(folder, with_recipe(training, lr=1e20))
    assert "the training loss of epoch" in folder.log.read_text()
    assert not (folder.path / "network.json").exists()


class Pair(Ranks):
    """Rank 0 or 1 of two, of which the other has no checkpoint."""

    def gather(self, value):
        return [value, b""] if self.rank == 0 else [b"another", value]


def test_all_must_go_on_from_one_checkpoint(folder, training):
    go(folder, with_recipe(training, epochs=1))
    with pytest.raises(RunError, match=r"is not the same for rank 1 as for rank 0: put out=... where all machines see"):
        into_folder._seen_by_all(folder.checkpoint, Pair(0, 2))
    with pytest.raises(OtherRankFailed):
        into_folder._seen_by_all(folder.checkpoint, Pair(1, 2))
    assert into_folder._seen_by_all(folder.path / "none.pt", Ranks()) == folder.path / "none.pt"


def fails(error):
    def train_part(*_, **__):
        raise error

    return train_part


def test_memory_that_runs_out(folder, training, monkeypatch):
    monkeypatch.setattr(into_folder, "train_part", fails(torch.cuda.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(RunError, match=r"out of memory with 16 images at a time. recipe.accumulate=2 takes half"):
        go(folder, training)


def test_an_error_of_the_code_keeps_its_traceback(folder, training, monkeypatch):
    monkeypatch.setattr(into_folder, "train_part", fails(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        go(folder, training)
    assert "Traceback" in folder.log.read_text()
    monkeypatch.setattr(into_folder, "train_part", fails(RuntimeError("Connection closed by peer")))
    with pytest.raises(OtherRankFailed):
        go(folder, training)


def test_fine_tuning_is_told_of(folder, training, tmp_path):
    go(folder, training)
    finer = dataclasses.replace(
        training,
        start=Start("striped", training.question.network, folder.path),
        which=True,
        question=dataclasses.replace(training.question, weights="of the first"),
    )
    second = TrainingFolder(tmp_path / "second")
    go(second, with_recipe(finer, lr=1e-9, epochs=1))
    model = designspace.load(second.path)
    assert model.weights.origin == (
        "fine-tuned on 70 training images of stripes, "
        "from striped, trained from scratch on 70 training images of stripes"
    )
    torch.testing.assert_close(model.head.classifier.weight, designspace.load(folder.path).head.classifier.weight)


def test_held_out_images_are_not_trained_on(training):
    recipe = dataclasses.replace(training.question.recipe, heldout_images=10)
    assert trained_images(recipe, training.images) == 60
    assert trained_images(dataclasses.replace(recipe, train_images=40), training.images) == 30
    assert (steps_per_epoch(recipe, training.images), images_per_epoch(recipe, training.images)) == (3, 48)
    large = dataclasses.replace(recipe, batch_size=1000)
    assert (steps_per_epoch(large, training.images), images_per_epoch(large, training.images)) == (1, 60)
    with pytest.raises(InputError, match="heldout_images 70 leaves none of 70 training images"):
        trained_images(dataclasses.replace(recipe, heldout_images=70), training.images)
