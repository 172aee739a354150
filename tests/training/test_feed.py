import dataclasses
import threading

import numpy as np
import pytest
import torch

from designspace.data import ImageData
from designspace.support.errors import InputError
from designspace.training import DeviceData, train
from designspace.training.feed import Feed
from designspace.training.shard import ALONE, Shard
from designspace.training.streaming import _ahead, rows
from designspace.trials.recipe import Recipe


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name == "reads images"]


def make_feed(data, shard=ALONE, **fields):
    return Feed(DeviceData.of(data), Recipe(data="stripes", **{"batch_size": 16, **fields}), shard)


def numbered_images(count=60, classes=3):
    """Return images whose pixels are their index, so that they can be recognised."""
    images = np.zeros((count, 1, 4, 4), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(count) % classes
    return ImageData("stripes", images, labels, images[:6], labels[:6], classes, mean=(0.0,), std=(1 / 255,))


def test_batches_follow_the_random_order():
    batches = list(make_feed(numbered_images(), flip=False).epoch(torch.Generator().manual_seed(3)))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    assert torch.cat([images[:, 0, 0, 0] for images, _ in batches]).tolist() == order[:48].tolist()
    assert torch.cat([labels for _, labels in batches]).tolist() == (order[:48] % 3).tolist()


def test_several_devices_get_the_parts_of_one_batch(data):
    fields = {"crop_padding": 2, "batch_size": 18}
    whole = list(make_feed(data, **fields).epoch(torch.Generator().manual_seed(1)))
    parts = [
        list(make_feed(data, Shard(rank, 3), **fields).epoch(torch.Generator().manual_seed(1))) for rank in range(3)
    ]
    assert len(whole) == 3
    for number, (images, labels) in enumerate(whole):
        assert torch.equal(images, torch.cat([part[number][0] for part in parts]))
        assert torch.equal(labels, torch.cat([part[number][1] for part in parts]))


def test_devices_mix_their_parts_with_the_same_weight():
    parts = [
        list(make_feed(numbered_images(), Shard(rank, 2), mixup=0.5).epoch(torch.Generator().manual_seed(1)))
        for rank in range(2)
    ]
    for (_, left), (_, right) in zip(*parts, strict=True):
        weights = [{round(float(value), 5) for value in targets.flatten()} - {0.0, 1.0} for targets in (left, right)]
        assert weights[0] == weights[1]


def test_heldout_images_are_fixed_keep_class_shares_and_are_not_trained_on():
    feed = make_feed(numbered_images(), heldout_images=12, flip=False)
    heldout = feed.heldout.tolist()
    assert len(set(heldout)) == 12
    assert [sum(number % 3 == label for number in heldout) for label in range(3)] == [4, 4, 4]
    assert make_feed(numbered_images(), heldout_images=12, batch_size=24).heldout.tolist() == heldout
    assert set(make_feed(numbered_images(), heldout_images=30).heldout.tolist()) > set(heldout)
    assert (feed.steps, feed.images) == (3, 48)
    for seed in range(3):
        seen = torch.cat([images[:, 0, 0, 0] for images, _ in feed.epoch(torch.Generator().manual_seed(seed))])
        assert sorted(seen.tolist()) == sorted(set(range(60)) - set(heldout))


def test_heldout_errors_are_measured_with_the_state_of_each_epoch(network, recipe, data):
    """The test set consists of the held-out images, so both errors must be equal."""
    recipe = dataclasses.replace(recipe, heldout_images=21, epochs=3, ema_decay=0.5)
    heldout = make_feed(data, heldout_images=21).heldout.numpy()
    data = dataclasses.replace(data, test_images=data.train_images[heldout], test_labels=data.train_labels[heldout])
    histories = []
    result = train(network, recipe, data, on_epoch=histories.append)
    assert [record.heldout_error for record in histories[-1]] == [record.test_error for record in histories[-1]]
    assert result.heldout_error == result.final_error
    plain = train(network, dataclasses.replace(recipe, heldout_images=0), data)
    assert plain.heldout_error is None


@pytest.mark.parametrize("count", [60, 100])
def test_holding_out_all_images_is_refused(count):
    with pytest.raises(InputError, match=f"stripes: heldout_images must be below .* training images, 60, not {count}"):
        make_feed(numbered_images(), heldout_images=count)


def test_a_batch_of_all_images_must_be_divisible_by_the_devices():
    with pytest.raises(InputError, match="stripes: a batch of all 51 images cannot be shared by 2 devices"):
        make_feed(numbered_images(), Shard(0, 2), batch_size=64, heldout_images=9)


def test_an_example_is_like_the_batches_and_uses_no_random_state(data):
    feed = make_feed(data, mixup=0.2)
    generator = torch.Generator().manual_seed(5)
    before = torch.get_rng_state(), generator.get_state()
    example = feed.example()
    assert torch.equal(before[0], torch.get_rng_state())
    for tensor, real in zip(example, next(feed.epoch(generator)), strict=True):
        assert (tensor.shape, tensor.dtype, tensor.stride()) == (real.shape, real.dtype, real.stride())


def test_rows_read_ahead_equal_indexed_rows():
    images = torch.arange(1000, dtype=torch.uint8).view(-1, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    picks = [torch.randperm(1000, generator=generator)[:count] for count in (100, 100, 7, 1, 100, 33)]
    expected = list(rows(images, picks, torch.device("cpu")))
    read_ahead = list(_ahead(images, picks, torch.device("cpu")))
    assert all(torch.equal(actual, row) for actual, row in zip(read_ahead, expected, strict=True))
    assert list(_ahead(images, [], torch.device("cpu"))) == []
    assert not reader_threads()


def test_closing_ends_the_reading_thread_and_its_errors_are_raised():
    images = torch.zeros(10, 1, 1, 1, dtype=torch.uint8)
    source = _ahead(images, [torch.arange(5)] * 50, torch.device("cpu"))
    next(source)
    assert len(reader_threads()) == 1
    source.close()
    assert not reader_threads()
    with pytest.raises(IndexError, match="out of range"):
        list(_ahead(images, [torch.arange(5), torch.tensor([11])], torch.device("cpu")))
    assert not reader_threads()


def test_mapped_arrays_are_not_copied_and_give_the_same_numbers(network, recipe, data, tmp_path):
    fields = {}
    for name in ("train_images", "test_images"):
        np.save(tmp_path / f"{name}.npy", getattr(data, name))
        fields[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    mapped = dataclasses.replace(data, **fields)
    images = DeviceData.of(mapped)
    assert images.train_images.data_ptr() == fields["train_images"].__array_interface__["data"][0]
    copied = DeviceData.of(data)
    assert copied.train_images.data_ptr() != data.train_images.__array_interface__["data"][0]
    histories = [[], []]
    for history, device_data in zip(histories, (images, copied), strict=True):
        train(network, dataclasses.replace(recipe, epochs=2), device_data, on_epoch=history.append)
    for mapped_record, copied_record in zip(histories[0][-1], histories[1][-1], strict=True):
        assert dataclasses.replace(mapped_record, wall_s=0) == dataclasses.replace(copied_record, wall_s=0)
