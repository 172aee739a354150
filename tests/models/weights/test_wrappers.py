import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from designspace.models import create_model
from designspace.support.errors import InputError, RunError


@pytest.fixture(scope="module")
def model():
    return create_model("regnetx_200mf", seed=3)


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def loads(tmp_path, content, model, **options):
    """Whether a checkpoint gives the weights of the model."""
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    found = create_model("regnetx_200mf", pretrained=path, **options).state_dict()
    return all(torch.equal(value, model.state_dict()[key]) for key, value in found.items())


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "backbone.", "encoder.", "net."),
        *("model.backbone.", "module.model._orig_mod.", "my_own.network."),
    ],
)
def test_prefixes_of_all_keys_are_taken_off(tmp_path, model, prefix):
    assert loads(tmp_path, prefixed(model.state_dict(), prefix), model)


@pytest.mark.parametrize(
    "nest",
    [
        *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "my_weights"),
        *("model_ema", "state_dict_ema", "ema_state_dict"),
    ],
)
def test_weights_are_found_in_a_checkpoint(tmp_path, model, nest):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).state_dict()
    assert loads(tmp_path, {nest: model.state_dict(), "epoch": 3, "optimizer": optimiser}, model)
    if nest != "my_weights":
        assert loads(tmp_path, {nest: {"state_dict": prefixed(model.state_dict(), "module.")}}, model)


def test_the_weights_come_before_their_average(tmp_path, model):
    average = {key: value + 1 for key, value in model.state_dict().items()}
    assert loads(tmp_path, {"model_ema": average, "model": model.state_dict()}, model)


def test_torchs_averaged_model(tmp_path, model):
    assert loads(tmp_path, AveragedModel(model).state_dict(), model)


def test_parts_that_were_compiled_or_sharded(tmp_path, model):
    state = {key.replace("stages.1.", "stages.1._orig_mod."): value for key, value in model.state_dict().items()}
    state = {key.replace("stem.", "_fsdp_wrapped_module.stem."): value for key, value in state.items()}
    assert loads(tmp_path, {"state_dict": prefixed(state, "model.")}, model)


def test_what_stands_beside_the_network_is_left_out_and_named(tmp_path, model, caplog):
    beside = {"criterion.weight": torch.ones(10), "neck.conv.weight": torch.ones(1)}
    assert loads(tmp_path, {"state_dict": {**prefixed(model.state_dict(), "model.net."), **beside}}, model)
    assert "only keys with the prefix 'model.net.' are used; left out: criterion.weight, neck.conv.wei" in caplog.text
    counters = {"total_ops": torch.zeros(1), "stem.conv.total_params": torch.zeros(1, dtype=torch.int64)}
    assert loads(tmp_path, {**model.state_dict(), **counters}, model)


def test_two_copies_of_a_network(tmp_path, model):
    state = model.state_dict()
    copy = {key: value.clone() for key, value in state.items()}
    assert loads(tmp_path, {**prefixed(state, "model."), **prefixed(copy, "compiled._orig_mod.")}, model)
    other = {key: value + 1 for key, value in state.items()}
    with pytest.raises(InputError, match="2 times, with the prefixes 'student.' and 'teacher.'; save only one"):
        loads(tmp_path, {**prefixed(state, "student."), **prefixed(other, "teacher.")}, model)
    with pytest.raises(InputError, match="2 times, with the prefixes none and 'ema.'"):
        loads(tmp_path, {**state, **prefixed(other, "ema.")}, model)
    with pytest.raises(RunError, match="it contains no tensors, only student, teacher"):
        loads(tmp_path, {"student": state, "teacher": other}, model)


def test_a_missing_key_behind_a_prefix_is_named_without_the_others(tmp_path, model):
    state = prefixed(model.state_dict(), "backbone.")
    del state["backbone.stages.0.0.transform.conv1.conv.weight"]
    with pytest.raises(InputError, match=r"missing: stages\.0\.0\.transform\.conv1\.conv\.weight$"):
        loads(tmp_path, state, model)


def test_a_checkpoint_without_end_is_refused(tmp_path, model):
    endless = {"epoch": 3}
    endless["model"] = endless
    with pytest.raises(RunError, match="it contains no tensors, only epoch, model"):
        loads(tmp_path, endless, model)


def test_weights_of_a_model_that_gives_features(tmp_path, model):
    headless = {key: value for key, value in model.state_dict().items() if "classifier" not in key}
    assert loads(tmp_path, headless, model, num_classes=0)
    assert loads(tmp_path, model.state_dict(), model, num_classes=0)
    with pytest.raises(InputError, match=r"missing: head\.classifier\.weight, head\.classifier\.bias$"):
        loads(tmp_path, headless, model)
