import dataclasses
import logging

import pytest
import torch

from designspace.models import AnyNet
from designspace.support.errors import InputError, RunError
from designspace.training import DeviceData, Interrupted, evaluate, train, train_model
from designspace.training.checkpoint import fingerprint_of, read, save, trained_weights
from designspace.training.loop import initial_model
from designspace.training.state import State
from designspace.trials.trial import EpochRecord


def without_times(history):
    return [dataclasses.replace(record, wall_s=0.0) for record in history]


class StopAtCall:
    """Returns true at the given call, counted from 1."""

    def __init__(self, call):
        self.remaining = call

    def __call__(self):
        self.remaining -= 1
        return self.remaining == 0


def bytes_of_tensors(model):
    """Return all tensors of a module as bytes."""
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("stops", [[6], [1, 13], [5, 5, 5]])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(network, recipe, data, tmp_path, stops):
    uninterrupted = AnyNet(network, seed=3)
    expected = []
    train_model(uninterrupted, recipe, data, seed=5, on_epoch=expected.append)

    path = tmp_path / "checkpoint.pt"
    for call in stops:
        with pytest.raises(Interrupted):
            train_model(AnyNet(network, seed=3), recipe, data, seed=5, checkpoint=path, should_stop=StopAtCall(call))
    # Other initial weights: those of the checkpoint must be used, if one was written.
    model = AnyNet(network, seed=4 if path.exists() else 3)
    histories = []
    result = train_model(model, recipe, data, seed=5, checkpoint=path, on_epoch=histories.append)
    assert bytes_of_tensors(model) == bytes_of_tensors(uninterrupted)
    assert without_times(histories[-1]) == without_times(expected[-1])
    assert result.final_error == expected[-1][-1].test_error
    assert result.train_s == pytest.approx(sum(record.wall_s for record in histories[-1]), abs=1e-3)


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
    "fields",
    [
        ALL_ON,
        {**ALL_ON, "precision": "bfloat16"},
        {"ema_decay": 0.5, "precision": "float16"},
        {**ALL_ON, "optimiser": "adamw", "lr": 0.01},
        {"optimiser": "adamw", "lr": 0.01, "precision": "float16"},
    ],
)
def test_a_training_with_all_features_can_be_resumed_after_every_epoch(network, recipe, data, tmp_path, fields):
    recipe = dataclasses.replace(recipe, **fields)
    uninterrupted, expected = initial_model(network, recipe, 1), []
    train_model(uninterrupted, recipe, data, seed=1, checkpoint=tmp_path / "whole.pt", on_epoch=expected.append)
    path = tmp_path / "checkpoint.pt"
    for _ in range(recipe.epochs - 1):
        torch.manual_seed(0)  # the global random state must not matter
        with pytest.raises(Interrupted):
            train_model(
                initial_model(network, recipe, 1), recipe, data, seed=1, checkpoint=path, should_stop=StopAtCall(6)
            )
    model, histories = initial_model(network, recipe, 1), []
    train_model(model, recipe, data, seed=1, checkpoint=path, on_epoch=histories.append)
    assert [len(history) for history in histories] == [3, 4]
    assert without_times(histories[-1]) == without_times(expected[-1])
    assert bytes_of_tensors(model) == bytes_of_tensors(uninterrupted)
    fingerprint = fingerprint_of(network.id, recipe, 1)
    assert {
        name: tensor.numpy().tobytes() for name, tensor in trained_weights(path, fingerprint, 4).items()
    } == bytes_of_tensors(model)
    again = initial_model(network, recipe, 1)
    train_model(again, recipe, data, seed=1, checkpoint=path)
    assert bytes_of_tensors(again) == bytes_of_tensors(model)


def test_checkpoints_hold_both_weights_and_their_average(network, recipe, data, tmp_path):
    recipe = dataclasses.replace(recipe, ema_decay=0.9, epochs=2)
    path = tmp_path / "checkpoint.pt"
    result = train(network, recipe, data, checkpoint=path)
    state = torch.load(path, weights_only=True)
    assert not torch.equal(state["model"]["head.classifier.weight"], state["average"]["head.classifier.weight"])
    model = AnyNet(network)
    model.load_state_dict(trained_weights(path, fingerprint_of(network.id, recipe, 0), 2))
    assert evaluate(model, DeviceData.of(data)) == result.final_error


def test_a_finished_training_is_not_repeated(network, recipe, data, tmp_path):
    path = tmp_path / "checkpoint.pt"
    result = train(network, recipe, data, checkpoint=path)
    histories = []
    again = train(network, recipe, data, checkpoint=path, on_epoch=histories.append, should_stop=StopAtCall(1))
    assert again == result
    assert [len(history) for history in histories] == [4]


def test_torch_can_read_the_checkpoint_and_no_other_files_remain(network, recipe, data, tmp_path):
    train(network, recipe, data, checkpoint=tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    AnyNet(network).load_state_dict(state["model"])
    assert [record["epoch"] for record in state["history"]] == [1, 2, 3, 4]


def flip_middle_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1000], lambda data: b"", flip_middle_bit, lambda data: b"{}" * 50]
)
def test_a_damaged_checkpoint_is_logged_and_the_trial_starts_afresh(network, recipe, data, tmp_path, caplog, damage):
    recipe = dataclasses.replace(recipe, epochs=2)
    path = tmp_path / "checkpoint.pt"
    uninterrupted = AnyNet(network)
    train_model(uninterrupted, recipe, data, checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    model, histories = AnyNet(network), []
    with caplog.at_level(logging.WARNING):
        train_model(model, recipe, data, checkpoint=path, on_epoch=histories.append)
    assert "checkpoint.pt is damaged or was cut off; the trial starts afresh" in caplog.text
    assert [len(history) for history in histories] == [1, 2]
    assert bytes_of_tensors(model) == bytes_of_tensors(uninterrupted)


def test_a_checkpoint_of_another_format_is_not_used(network, recipe, data, tmp_path, caplog, monkeypatch):
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
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"checkpoint\.pt is a checkpoint of another training: its recipe.epochs is"):
        train(network, recipe, data, checkpoint=path)
    with pytest.raises(InputError, match="its seed is 0, not 1"):
        train(network, dataclasses.replace(recipe, epochs=1), data, checkpoint=path, seed=1)
    with pytest.raises(InputError, match=f"its network is {network.id}, not"):
        train(dataclasses.replace(network, radix=1), dataclasses.replace(recipe, epochs=1), data, checkpoint=path)
    assert path.read_bytes() == content


def test_a_checkpoint_without_a_newer_recipe_field_has_its_default(network, recipe, data, tmp_path):
    path = tmp_path / "checkpoint.pt"
    before = {name: value for name, value in recipe.to_dict().items() if name != "devices"}
    model = AnyNet(network)
    record = EpochRecord(1, 0.1, 1.0, 50.0, 50.0, 1.0)
    save(path, State(model, recipe).state_dict(), (record,), {"recipe": before, "seed": 0})
    assert read(path, {"recipe": recipe.to_dict(), "seed": 0})[1] == (record,)
    for other in (dataclasses.replace(recipe, devices=2), dataclasses.replace(recipe, epochs=9)):
        with pytest.raises(InputError, match=r"its recipe\.(devices|epochs) is"):
            read(path, {"recipe": other.to_dict(), "seed": 0})


def test_an_unreadable_or_unwritable_checkpoint_is_an_error(network, recipe, data, tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        train(network, recipe, data, checkpoint=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot (read|write)"):
        train(network, recipe, data, checkpoint=tmp_path / "file" / "checkpoint.pt")
