import copy
import dataclasses

import pytest
import torch
from batches import train_batch
from torch import nn
from torch.nn import functional

from designspace.models import AnyNet, fuse
from designspace.training import evaluate, train_model
from designspace.training.device_data import DeviceData
from designspace.training.loop import _derived_seed
from designspace.training.state import Layout, State
from designspace.training.step import Step
from designspace.trials.recipe import Recipe


def plain_module(seed=0):
    """Return a float64 module without batch-norm, so that a batch's gradient is the mean of its images' gradients."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.ReLU(), nn.Linear(4 * 8 * 7, 3)).double()


def batch(count=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 2, 10, 9, generator=generator, dtype=torch.float64)
    return images, torch.randint(3, (count,), generator=generator)


def values(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("accumulate", [2, 4, 16])
@pytest.mark.parametrize("soft", [False, True])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(accumulate, soft):
    """14 images in 4 parts have unequal sizes."""
    images, targets = batch()
    if soft:
        targets = functional.one_hot(targets, 3).double() * 0.7 + 0.1
    whole, parts = plain_module(), plain_module()
    steps = []
    for module, recipe in ((whole, Recipe(batch_size=16)), (parts, Recipe(batch_size=16, accumulate=accumulate))):
        step = Step(State(module, recipe), module, recipe)
        step.begin()
        for _ in range(3):
            step(images, targets)
        steps.append(step)
    for name, value in parts.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], rtol=1e-10, atol=1e-12)
    assert steps[0].wrong == steps[1].wrong
    torch.testing.assert_close(steps[0].loss, steps[1].loss, rtol=1e-10, atol=0)


def test_begin_resets_the_sums_and_a_mixed_image_has_its_main_class():
    module, recipe = plain_module(), Recipe()
    step = Step(State(module, recipe), module, recipe)
    images, classes = batch()
    targets = 0.6 * functional.one_hot(classes, 3) + 0.4 * functional.one_hot((classes + 1) % 3, 3)
    expected = int((module(images).argmax(1) != classes).sum())
    loss = functional.cross_entropy(module(images), targets.double())
    for _ in range(2):
        step.state.set_learning_rate(0.0)
        step.begin()
        step(images, targets.double())
        assert int(step.wrong) == expected
        assert float(step.loss) == pytest.approx(float(loss.detach()))


def test_averages_equal_those_of_a_plain_loop(network, recipe, data):
    recipe = dataclasses.replace(recipe, ema_decay=0.9, epochs=2)
    model, live = AnyNet(network, seed=1), fuse(AnyNet(network, seed=1).to(memory_format=torch.channels_last))
    histories = []
    train_model(model, recipe, data, on_epoch=histories.append)

    images, averages, errors = DeviceData.of(data), None, []
    recipe = dataclasses.replace(recipe, ema_decay=0.0)
    state = State(live, recipe)
    step = Step(state, live, recipe)
    from designspace.training.optimiser import learning_rate

    averages = {name: value.double() for name, value in values(live).items()}
    for epoch in (1, 2):
        generator = torch.Generator().manual_seed(_derived_seed(0, network.id, epoch))
        order = torch.randperm(70, generator=generator)
        step.begin()
        for number in range(4):
            state.set_learning_rate(learning_rate(recipe, 4 * (epoch - 1) + number, 4))
            step(*train_batch(images, order[16 * number : 16 * number + 16], recipe, generator))
            for name, value in live.state_dict().items():
                averages[name] = 0.9 * averages[name] + 0.1 * value.double()
                if not value.is_floating_point():
                    averages[name] = value.double()
        averaged = copy.deepcopy(live)
        averaged.load_state_dict({name: value.float() for name, value in averages.items()})
        errors.append(evaluate(averaged, images))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value.double(), averages[name], rtol=1e-5, atol=1e-6, msg=name)
    assert [record.test_error for record in histories[-1]] == pytest.approx(errors)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_gives_a_similar_loss(network, recipe, data, precision):
    recipe = dataclasses.replace(recipe, crop_padding=0, flip=False, epochs=3)
    exact, lower = [], []
    train_model(AnyNet(network), recipe, data, on_epoch=exact.append)
    model = AnyNet(network)
    train_model(model, dataclasses.replace(recipe, precision=precision), data, on_epoch=lower.append)
    assert lower[-1][0].train_loss == pytest.approx(exact[-1][0].train_loss, rel=0.05)
    assert lower[-1][0].train_loss != exact[-1][0].train_loss
    assert next(model.parameters()).dtype == torch.float32


def test_a_step_with_too_large_a_loss_scale_changes_only_the_scale(network, data):
    recipe = Recipe(data="stripes", precision="float16", batch_size=16, ema_decay=0.5)
    model = AnyNet(network).train()
    state = State(model, recipe)
    step = Step(state, model, recipe)
    images = DeviceData.of(data)
    train_args = train_batch(images, torch.arange(16), recipe, torch.Generator())
    state.scaler._scale.fill_(2.0**60)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    step(*train_args)
    assert state.scaler.get_scale() == 2.0**59
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert not state.optimiser.state[parameter]["momentum_buffer"].any()
    state.scaler._scale.fill_(1024.0)
    step(*train_args)
    assert state.scaler.get_scale() == 1024
    moved = [not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters()]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize("fields", [{}, {"ema_decay": 0.5}, {"ema_decay": 0.5, "precision": "float16"}])
def test_training_continues_bit_for_bit_after_restoring_a_snapshot(network, data, fields):
    recipe = Recipe(data="stripes", batch_size=16, **fields)
    model = AnyNet(network, seed=2).to(memory_format=torch.channels_last)
    state = State(model, recipe)
    step = Step(state, model, recipe)
    train_args = train_batch(DeviceData.of(data), torch.arange(16), recipe, torch.Generator())
    step.begin()
    step(*train_args)
    snapshot, before = state.snapshot(), copy.deepcopy(state.state_dict())
    expected = []
    for failed in (False, True):
        step(*train_args)
        expected.append(copy.deepcopy(state.state_dict()))
        if failed and state.scaler is not None:
            state.scaler.scale(torch.zeros(()))  # as if the step had been interrupted between two calls
        state.lay_out(Layout(channels_last=False))
        assert all(weight.is_contiguous() for weight in model.parameters())
        state.restore(snapshot, after_failure=failed)
        state.lay_out(Layout())
        assert_same(state.state_dict(), before)
    assert_same(*expected)


def assert_same(actual, expected):
    """Assert that trees of dicts and lists have the same values, including tensors bit for bit."""
    if isinstance(actual, torch.Tensor):
        assert torch.equal(actual, expected)
    elif isinstance(actual, dict):
        assert actual.keys() == expected.keys()
        for key in actual:
            assert_same(actual[key], expected[key])
    elif isinstance(actual, list):
        for left, right in zip(actual, expected, strict=True):
            assert_same(left, right)
    else:
        assert actual == expected
