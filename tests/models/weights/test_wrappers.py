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


def gives_weights_of(tmp_path, content, model, **options):
    """Return whether a checkpoint gives the weights of the model."""
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    state_dict = create_model("regnetx_200mf", pretrained=path, **options).state_dict()
    return all(torch.equal(value, model.state_dict()[key]) for key, value in state_dict.items())


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "backbone.", "encoder.", "net."),
        *("model.backbone.", "module.model._orig_mod.", "my_own.network."),
    ],
)
def test_prefixes_of_all_keys_are_removed(tmp_path, model, prefix):
    assert gives_weights_of(tmp_path, prefixed(model.state_dict(), prefix), model)


@pytest.mark.parametrize(
    "nest",
    [
        *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "my_weights"),
        *("model_ema", "state_dict_ema", "ema_state_dict"),
    ],
)
def test_weights_are_found_in_a_checkpoint(tmp_path, model, nest):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).state_dict()
    assert gives_weights_of(tmp_path, {nest: model.state_dict(), "epoch": 3, "optimizer": optimiser}, model)
    if nest != "my_weights":
        assert gives_weights_of(tmp_path, {nest: {"state_dict": prefixed(model.state_dict(), "module.")}}, model)


def test_weights_are_preferred_to_their_average(tmp_path, model):
    average = {key: value + 1 for key, value in model.state_dict().items()}
    assert gives_weights_of(tmp_path, {"model_ema": average, "model": model.state_dict()}, model)


def test_averaged_model_of_torch_is_read(tmp_path, model):
    assert gives_weights_of(tmp_path, AveragedModel(model).state_dict(), model)


def test_names_of_compiled_or_sharded_parts_are_removed(tmp_path, model):
    state = {key.replace("stages.1.", "stages.1._orig_mod."): value for key, value in model.state_dict().items()}
    state = {key.replace("stem.", "_fsdp_wrapped_module.stem."): value for key, value in state.items()}
    assert gives_weights_of(tmp_path, {"state_dict": prefixed(state, "model.")}, model)


def test_other_keys_are_left_out_and_logged(tmp_path, model, caplog):
    other_tensors = {"criterion.weight": torch.ones(10), "neck.conv.weight": torch.ones(1)}
    assert gives_weights_of(
        tmp_path, {"state_dict": {**prefixed(model.state_dict(), "model.net."), **other_tensors}}, model
    )
    assert "only keys with the prefix 'model.net.' are used; left out: criterion.weight, neck.conv.wei" in caplog.text
    counters = {"total_ops": torch.zeros(1), "stem.conv.total_params": torch.zeros(1, dtype=torch.int64)}
    assert gives_weights_of(tmp_path, {**model.state_dict(), **counters}, model)


def test_different_copies_of_a_network_are_an_error(tmp_path, model):
    state = model.state_dict()
    copy = {key: value.clone() for key, value in state.items()}
    assert gives_weights_of(tmp_path, {**prefixed(state, "model."), **prefixed(copy, "compiled._orig_mod.")}, model)
    other = {key: value + 1 for key, value in state.items()}
    with pytest.raises(InputError, match="2 times, with the prefixes 'student.' and 'teacher.'; save only one"):
        gives_weights_of(tmp_path, {**prefixed(state, "student."), **prefixed(other, "teacher.")}, model)
    with pytest.raises(InputError, match="2 times, with the prefixes none and 'ema.'"):
        gives_weights_of(tmp_path, {**state, **prefixed(other, "ema.")}, model)
    with pytest.raises(RunError, match="it contains no tensors, only student, teacher"):
        gives_weights_of(tmp_path, {"student": state, "teacher": other}, model)


def test_a_missing_key_with_a_prefix_is_listed_alone(tmp_path, model):
    state = prefixed(model.state_dict(), "backbone.")
    del state["backbone.stages.0.0.transform.conv1.conv.weight"]
    with pytest.raises(InputError, match=r"missing: stages\.0\.0\.transform\.conv1\.conv\.weight$"):
        gives_weights_of(tmp_path, state, model)


def test_an_endlessly_nested_checkpoint_is_rejected(tmp_path, model):
    endless = {"epoch": 3}
    endless["model"] = endless
    with pytest.raises(RunError, match="it contains no tensors, only epoch, model"):
        gives_weights_of(tmp_path, endless, model)


def test_weights_without_classifier_are_read(tmp_path, model):
    headless = {key: value for key, value in model.state_dict().items() if "classifier" not in key}
    assert gives_weights_of(tmp_path, headless, model, num_classes=0)
    assert gives_weights_of(tmp_path, model.state_dict(), model, num_classes=0)
    with pytest.raises(InputError, match=r"missing: head\.classifier\.weight, head\.classifier\.bias$"):
        gives_weights_of(tmp_path, headless, model)
