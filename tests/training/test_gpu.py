"""Tests that need a GPU: captured steps, running out of memory, images that do not fit into memory."""

import contextlib
import copy
import dataclasses
import gc
import logging

import numpy as np
import pytest
import torch
from torch import nn

from designspace.models import AnyNet
from designspace.training import DeviceData, Interrupted, train, train_model
from designspace.training import capture as captures
from designspace.training.failures import is_out_of_memory, release_memory
from designspace.training.feed import Feed
from designspace.training.shard import ALONE
from designspace.training.state import Layout, State
from designspace.training.step import Step
from designspace.trials.recipe import Recipe

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ALL_ON = {"ema_decay": 0.9, "mixup": 0.2, "drop_path": 0.1, "drop_block": 0.1, "dropout": 0.2, "accumulate": 2}
FIELDS = [
    {},
    {"precision": "bfloat16"},
    {"precision": "float16"},
    ALL_ON,
    {**ALL_ON, "precision": "float16"},
    {"optimiser": "adamw", "lr": 0.001},
]


@pytest.fixture
def without_tf32():
    """Compute convolutions in full float32, so that results can be compared."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def make_step_and_feed(network, data, **fields):
    """Return a step on the GPU, and the feed with its batches."""
    recipe = Recipe(**{"data": "stripes", "batch_size": 16, "lr": 0.05, "label_smoothing": 0.1, **fields})
    rates = {name: getattr(recipe, name) for name in ("dropout", "drop_path", "drop_block")}
    model = AnyNet(network, seed=1, **rates).to("cuda", memory_format=torch.channels_last)
    state = State(model, recipe)
    feed = Feed(DeviceData.of(data, "cuda"), recipe, ALONE)
    return Step(state, model, recipe), feed


def all_values(step):
    """Return all values that a training changes."""
    values = copy.deepcopy(step.state.state_dict())
    values.pop("layout", None)
    return values


def assert_close(actual, expected, **tolerances):
    if isinstance(actual, torch.Tensor):
        torch.testing.assert_close(actual, expected, **tolerances)
    elif isinstance(actual, dict):
        assert actual.keys() == expected.keys()
        for key in actual:
            assert_close(actual[key], expected[key], **tolerances)
    elif isinstance(actual, list):
        for left, right in zip(actual, expected, strict=True):
            assert_close(left, right, **tolerances)
    else:
        assert actual == expected


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("layouts", ["first", "all"])
def test_capturing_restores_the_state(network, data, fields, layouts, monkeypatch):
    if layouts == "all":
        monkeypatch.setattr(captures, "OTHER_FORMAT_S", 0.0)
        monkeypatch.setattr(captures, "SEARCH_S", 0.0)
    step, feed = make_step_and_feed(network, data, **fields)
    step(*feed.example())
    generator = torch.Generator("cuda").manual_seed(4)
    before, drawn = all_values(step), (torch.cuda.get_rng_state(), generator.get_state())
    sums = step.loss.clone(), step.wrong.clone()
    searching = torch.backends.cudnn.benchmark
    stream = torch.cuda.current_stream()
    captured = captures.capture_step(step, *feed.example(), 1000, [generator])
    assert captured is not None
    assert step.state.is_tuned
    assert_close(all_values(step), before, rtol=0, atol=0)
    assert torch.equal(drawn[0], torch.cuda.get_rng_state())
    assert torch.equal(drawn[1], generator.get_state())
    assert (step.loss, step.wrong) == sums
    assert torch.backends.cudnn.benchmark == searching
    assert torch.cuda.current_stream() == stream
    captured.release()


@pytest.mark.parametrize(
    "fields", [{}, {"ema_decay": 0.9, "mixup": 0.2, "accumulate": 2}, {"momentum": 0.0, "nesterov": False}]
)
@pytest.mark.parametrize("layout", [Layout(), Layout(channels_last=False), Layout(benchmark=True)])
def test_a_captured_step_gives_the_same_numbers_as_the_step(network, data, fields, layout, without_tf32):
    plain, feed = make_step_and_feed(network, data, **fields)
    tuned, _ = make_step_and_feed(network, data, **fields)
    tuned.state.lay_out(layout)
    tuned.state.is_tuned = True
    captured = captures.capture_step(tuned, *feed.example(), 100)
    assert captured is not None
    for step in (plain, tuned):
        step.begin()
    for number, batch in enumerate(feed.epoch(torch.Generator().manual_seed(0))):
        for step, run in ((plain, plain), (tuned, captured)):
            step.state.set_learning_rate(0.05 / (1 + number))
            run(*batch)
    assert_close(all_values(tuned), all_values(plain), rtol=1e-2, atol=2e-3)
    torch.testing.assert_close(tuned.loss, plain.loss, rtol=1e-3, atol=0)
    captured.release()


def test_a_captured_float16_step_skips_overflowing_gradients(network, data):
    step, feed = make_step_and_feed(network, data, precision="float16")
    captured = captures.capture_step(step, *feed.example(), 100)
    assert captured is not None
    before = all_values(step)["model"]
    step.state.scaler._scale.fill_(2.0**60)
    captured(*feed.example())
    assert step.state.scaler.get_scale() == 2.0**59
    for name, parameter in step.state.model.named_parameters():
        assert torch.equal(parameter, before[name])
    step.state.scaler._scale.fill_(1024.0)
    captured(*feed.example())
    assert step.state.scaler.get_scale() == 1024
    assert not torch.equal(step.state.model.head.classifier.weight, before["head.classifier.weight"])
    captured.release()


def test_drops_follow_the_generator_and_change_with_each_step(network, data):
    from designspace.models.drop import set_generator

    step, feed = make_step_and_feed(
        network, data, dropout=0.5, drop_path=0.3, drop_block=0.2, lr=0.0, momentum=0.0, nesterov=False
    )
    generator = torch.Generator("cuda")
    set_generator(step.state.model, generator)
    captured = captures.capture_step(step, *feed.example(), 100, [generator])
    assert captured is not None
    images, targets = feed.example()
    losses = []
    for _ in range(2):
        generator.manual_seed(7)
        for _ in range(3):
            step.begin()
            captured(images, targets)
            losses.append(round(float(step.loss), 4))
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-3)
    assert len(set(losses[:3])) == 3
    captured.release()


@pytest.mark.parametrize("fields", FIELDS)
def test_a_training_learns_and_can_be_resumed(network, recipe, data, fields, tmp_path):
    recipe = dataclasses.replace(recipe, epochs=10, crop_padding=0, heldout_images=9, **fields)
    if "mixup" in fields:
        recipe = dataclasses.replace(recipe, mixup=0.0, dropout=0.0, drop_path=0.0, drop_block=0.0, ema_decay=0.5)
    images = DeviceData.of(data, "cuda")
    result = train(network, recipe, images, seed=1)
    assert result.final_error < 34
    calls = []
    with pytest.raises(Interrupted):
        train(
            network,
            recipe,
            images,
            seed=1,
            checkpoint=tmp_path / "c.pt",
            should_stop=lambda: calls.append(0) or len(calls) > 9,
        )
    model = AnyNet(network, seed=8)
    resumed = train_model(model, recipe, images, seed=1, checkpoint=tmp_path / "c.pt")
    assert resumed.epochs == 10
    assert not model.training
    weights = [weight for weight in model.parameters() if weight.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


class Synchronising(nn.Module):
    """A module that synchronises with the device in each step, which a capture does not allow."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2 * 10 * 9, 3)

    def forward(self, x):
        return self.layer(x.flatten(1)) * (1.0 if float(x.sum()) > -1e9 else 2.0)


def test_a_module_that_cannot_be_captured_is_trained_step_by_step(recipe, data, caplog):
    with caplog.at_level(logging.WARNING):
        result = train_model(Synchronising(), recipe, DeviceData.of(data, "cuda"))
    assert result.epochs == recipe.epochs
    assert "training without a CUDA graph, step by step" in caplog.text
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.cuda.get_sync_debug_mode() == 0


class OutOfMemory(nn.Module):
    """A module that allocates too much memory after a number of calls."""

    def __init__(self, after):
        super().__init__()
        self.layer = nn.Linear(2 * 10 * 9, 3)
        self.remaining_calls = after

    def forward(self, x):
        self.remaining_calls -= 1
        if self.remaining_calls < 0:
            torch.empty(1 << 45, device="cuda")
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("after", [0, captures.WARM_UP_STEPS])
def test_running_out_of_memory_is_recognised_and_the_next_training_works(network, recipe, data, after):
    images = DeviceData.of(data, "cuda")
    with pytest.raises(RuntimeError) as caught:
        train_model(OutOfMemory(after), recipe, images)
    assert is_out_of_memory(caught.value)
    del caught
    assert release_memory()
    assert train(network, dataclasses.replace(recipe, epochs=8, crop_padding=0), images).final_error < 34


def test_trainings_release_their_memory(network, recipe, data):
    images = DeviceData.of(data, "cuda")
    memory_in_use = []
    for _ in range(3):
        train(network, dataclasses.replace(recipe, epochs=1), images)
        gc.collect()
        memory_in_use.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert memory_in_use[2] == memory_in_use[1]


@pytest.mark.parametrize("fields", [{}, {"crop_padding": 1, "mixup": 0.2}])
def test_images_that_are_too_large_are_read_ahead_with_the_same_batches(data, fields, monkeypatch):
    recipe = Recipe(data="stripes", batch_size=16, **fields)
    resident = DeviceData.of(data, "cuda")
    monkeypatch.setattr("designspace.training.device_data._SHARE", 0.0)
    streamed = DeviceData.of(data, "cuda")
    assert (resident.train_images.device.type, streamed.train_images.device.type) == ("cuda", "cpu")
    assert streamed.device.type == "cuda"
    monkeypatch.setattr("designspace.training.feed._CHUNK_IMAGES", 32)
    for seed in range(5):
        sources = [
            Feed(images, recipe, ALONE).epoch(torch.Generator().manual_seed(seed)) for images in (resident, streamed)
        ]
        with contextlib.closing(sources[0]), contextlib.closing(sources[1]):
            for resident_batch, streamed_batch in zip(*sources, strict=True):
                assert torch.equal(resident_batch[0], streamed_batch[0])
                assert torch.equal(resident_batch[1], streamed_batch[1])


def test_a_streamed_training_learns(network, recipe, data, monkeypatch):
    monkeypatch.setattr("designspace.training.device_data._SHARE", 0.0)
    repeated_data = dataclasses.replace(
        data, train_images=np.tile(data.train_images, (8, 1, 1, 1)), train_labels=np.tile(data.train_labels, 8)
    )
    result = train(network, dataclasses.replace(recipe, crop_padding=0), repeated_data, device="cuda")
    assert result.final_error < 34
