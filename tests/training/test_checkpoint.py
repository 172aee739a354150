import dataclasses
import logging

import pytest
import torch

from designspace.models import AnyNet
from designspace.support.errors import InputError, RunError
from designspace.training import DeviceData, Interrupted, evaluate, train, train_model
from designspace.training.checkpoint import question_of, read, save, trained_weights
from designspace.training.loop import first_model
from designspace.training.state import State
from designspace.trials.trial import EpochRecord


def without_wall(history):
    return [dataclasses.replace(record, wall_s=0.0) for record in history]


class Stop:
    """Says yes at the given question, counted from 1."""

    def __init__(self, at):
        self.left = at

    def __call__(self):
        self.left -= 1
        return self.left == 0


def weights(model):
    """All that a module holds, as bytes."""
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("stops", [[6], [1, 13], [5, 5, 5]])
def test_resumed_is_the_same_as_uninterrupted_to_the_bit(network, recipe, data, tmp_path, stops):
    whole = AnyNet(network, seed=3)
    expected = []
    train_model(whole, recipe, data, seed=5, on_epoch=expected.append)

    path = tmp_path / "checkpoint.pt"
    for at in stops:
        with pytest.raises(Interrupted):
            train_model(AnyNet(network, seed=3), recipe, data, seed=5, checkpoint=path, should_stop=Stop(at))
    # The first weights are drawn otherwise here: what counts is in the checkpoint, if one was written.
    model = AnyNet(network, seed=4 if path.exists() else 3)
    seen = []
    result = train_model(model, recipe, data, seed=5, checkpoint=path, on_epoch=seen.append)
    assert weights(model) == weights(whole)
    assert without_wall(seen[-1]) == without_wall(expected[-1])
    assert result.final_error == expected[-1][-1].test_error
    assert result.train_s == pytest.approx(sum(record.wall_s for record in seen[-1]), abs=1e-3)


ALL_ON = {
    "ema_decay": 0.8,
    "heldout_images": 9,
    "mixup": 0.3,
    "accumulate": 2,
    "dropout": 0.2,
    "drop_path": 0.2,
    "drop_block": 0.1,
    "erasing": 0.3,
    "warmup_epochs": 1.5,
}


@pytest.mark.parametrize(
    "fields", [ALL_ON, {**ALL_ON, "precision": "bfloat16"}, {"ema_decay": 0.5, "precision": "float16"}]
)
def test_with_everything_on_resumed_is_the_same_after_every_epoch(network, recipe, data, tmp_path, fields):
    recipe = dataclasses.replace(recipe, **fields)
    whole, expected = first_model(network, recipe, 1), []
    train_model(whole, recipe, data, seed=1, checkpoint=tmp_path / "whole.pt", on_epoch=expected.append)
    path = tmp_path / "checkpoint.pt"
    for _ in range(recipe.epochs - 1):
        torch.manual_seed(0)  # nothing may come from there
        with pytest.raises(Interrupted):
            train_model(first_model(network, recipe, 1), recipe, data, seed=1, checkpoint=path, should_stop=Stop(6))
    model, seen = first_model(network, recipe, 1), []
    train_model(model, recipe, data, seed=1, checkpoint=path, on_epoch=seen.append)
    assert [len(history) for history in seen] == [3, 4]
    assert without_wall(seen[-1]) == without_wall(expected[-1])
    assert weights(model) == weights(whole)
    question = question_of(network.id, recipe, 1)
    assert {name: tensor.numpy().tobytes() for name, tensor in trained_weights(path, question, 4).items()} == weights(
        model
    )
    again = first_model(network, recipe, 1)
    train_model(again, recipe, data, seed=1, checkpoint=path)
    assert weights(again) == weights(model)


def test_an_average_and_what_it_is_of_are_both_kept(network, recipe, data, tmp_path):
    recipe = dataclasses.replace(recipe, ema_decay=0.9, epochs=2)
    path = tmp_path / "checkpoint.pt"
    result = train(network, recipe, data, checkpoint=path)
    state = torch.load(path, weights_only=True)
    assert not torch.equal(state["model"]["head.classifier.weight"], state["average"]["head.classifier.weight"])
    model = AnyNet(network)
    model.load_state_dict(trained_weights(path, question_of(network.id, recipe, 0), 2))
    assert evaluate(model, DeviceData.of(data)) == result.final_error


def test_a_finished_training_is_not_repeated(network, recipe, data, tmp_path):
    path = tmp_path / "checkpoint.pt"
    result = train(network, recipe, data, checkpoint=path)
    seen = []
    again = train(network, recipe, data, checkpoint=path, on_epoch=seen.append, should_stop=Stop(1))
    assert again == result
    assert [len(history) for history in seen] == [4]


def test_the_file_is_one_that_torch_reads_and_nothing_lies_beside_it(network, recipe, data, tmp_path):
    train(network, recipe, data, checkpoint=tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    AnyNet(network).load_state_dict(state["model"])
    assert [record["epoch"] for record in state["history"]] == [1, 2, 3, 4]


def middle_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda data: data[:-1000], lambda data: b"", middle_bit, lambda data: b"{}" * 50])
def test_a_damaged_checkpoint_is_told_and_the_trial_starts_afresh(network, recipe, data, tmp_path, caplog, damage):
    recipe = dataclasses.replace(recipe, epochs=2)
    path = tmp_path / "checkpoint.pt"
    whole = AnyNet(network)
    train_model(whole, recipe, data, checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    model, seen = AnyNet(network), []
    with caplog.at_level(logging.WARNING):
        train_model(model, recipe, data, checkpoint=path, on_epoch=seen.append)
    assert "checkpoint.pt is damaged or was cut off; the trial starts afresh" in caplog.text
    assert [len(history) for history in seen] == [1, 2]
    assert weights(model) == weights(whole)


def test_a_checkpoint_of_another_format_is_not_misread(network, recipe, data, tmp_path, caplog, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    recipe = dataclasses.replace(recipe, epochs=1)
    monkeypatch.setattr("designspace.training.checkpoint.FORMAT", 0)
    train(network, recipe, data, checkpoint=path)
    monkeypatch.undo()
    with caplog.at_level(logging.WARNING):
        train(network, recipe, data, checkpoint=path)
    assert "has format 0, not 1; the trial starts afresh" in caplog.text


def test_a_checkpoint_of_another_training_is_refused(network, recipe, data, tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(network, dataclasses.replace(recipe, epochs=1), data, checkpoint=path)
    kept = path.read_bytes()
    with pytest.raises(InputError, match=r"checkpoint\.pt is a checkpoint of another training: its recipe.epochs is"):
        train(network, recipe, data, checkpoint=path)
    with pytest.raises(InputError, match="its seed is 0, not 1"):
        train(network, dataclasses.replace(recipe, epochs=1), data, checkpoint=path, seed=1)
    with pytest.raises(InputError, match=f"its network is {network.id}, not"):
        train(dataclasses.replace(network, radix=1), dataclasses.replace(recipe, epochs=1), data, checkpoint=path)
    assert path.read_bytes() == kept


def test_a_checkpoint_from_before_a_field_is_of_the_recipe_with_its_default(network, recipe, data, tmp_path):
    path = tmp_path / "checkpoint.pt"
    before = {name: value for name, value in recipe.to_dict().items() if name != "devices"}
    model = AnyNet(network)
    record = EpochRecord(1, 0.1, 1.0, 50.0, 50.0, 1.0)
    save(path, State(model, recipe).state_dict(), (record,), {"recipe": before, "seed": 0})
    assert read(path, {"recipe": recipe.to_dict(), "seed": 0})[1] == (record,)
    for other in (dataclasses.replace(recipe, devices=2), dataclasses.replace(recipe, epochs=9)):
        with pytest.raises(InputError, match=r"its recipe\.(devices|epochs) is"):
            read(path, {"recipe": other.to_dict(), "seed": 0})


def test_a_checkpoint_that_cannot_be_read_or_written(network, recipe, data, tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        train(network, recipe, data, checkpoint=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot (read|write)"):
        train(network, recipe, data, checkpoint=tmp_path / "file" / "checkpoint.pt")
