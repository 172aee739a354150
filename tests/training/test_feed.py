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


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "reads images"]


def feed(data, shard=ALONE, **fields):
    return Feed(DeviceData.of(data), Recipe(data="stripes", **{"batch_size": 16, **fields}), shard)


def numbered(count=60, classes=3):
    """Images that tell their number, so that one sees which ones come."""
    images = np.zeros((count, 1, 4, 4), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(count) % classes
    return ImageData("stripes", images, labels, images[:6], labels[:6], classes, mean=(0.0,), std=(1 / 255,))


def test_batches_are_those_of_the_order_drawn_first():
    found = list(feed(numbered(), flip=False).epoch(torch.Generator().manual_seed(3)))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    assert torch.cat([images[:, 0, 0, 0] for images, _ in found]).tolist() == order[:48].tolist()
    assert torch.cat([labels for _, labels in found]).tolist() == (order[:48] % 3).tolist()


def test_several_devices_see_the_parts_of_one_batch(data):
    fields = {"crop_padding": 2, "batch_size": 18}
    whole = list(feed(data, **fields).epoch(torch.Generator().manual_seed(1)))
    parts = [list(feed(data, Shard(rank, 3), **fields).epoch(torch.Generator().manual_seed(1))) for rank in range(3)]
    assert len(whole) == 3
    for number, (images, labels) in enumerate(whole):
        assert torch.equal(images, torch.cat([part[number][0] for part in parts]))
        assert torch.equal(labels, torch.cat([part[number][1] for part in parts]))


def test_mixed_batches_of_several_devices_have_one_weight():
    parts = [
        list(feed(numbered(), Shard(rank, 2), mixup=0.5).epoch(torch.Generator().manual_seed(1))) for rank in range(2)
    ]
    for (_, left), (_, right) in zip(*parts, strict=True):
        weights = [{round(float(value), 5) for value in targets.flatten()} - {0.0, 1.0} for targets in (left, right)]
        assert weights[0] == weights[1]


def test_heldout_images_are_fixed_of_all_classes_and_never_trained_on():
    found = feed(numbered(), heldout_images=12, flip=False)
    held = found.heldout.tolist()
    assert len(set(held)) == 12
    assert [sum(number % 3 == label for number in held) for label in range(3)] == [4, 4, 4]
    assert feed(numbered(), heldout_images=12, batch_size=24).heldout.tolist() == held
    assert set(feed(numbered(), heldout_images=30).heldout.tolist()) > set(held)
    assert (found.steps, found.images) == (3, 48)
    for seed in range(3):
        seen = torch.cat([images[:, 0, 0, 0] for images, _ in found.epoch(torch.Generator().manual_seed(seed))])
        assert sorted(seen.tolist()) == sorted(set(range(60)) - set(held))


def test_heldout_errors_are_measured_with_the_state_of_each_epoch(network, recipe, data):
    """The test set is made of the images held out, so both errors must be one."""
    recipe = dataclasses.replace(recipe, heldout_images=21, epochs=3, ema_decay=0.5)
    held = feed(data, heldout_images=21).heldout.numpy()
    data = dataclasses.replace(data, test_images=data.train_images[held], test_labels=data.train_labels[held])
    seen = []
    result = train(network, recipe, data, on_epoch=seen.append)
    assert [record.heldout_error for record in seen[-1]] == [record.test_error for record in seen[-1]]
    assert result.heldout_error == result.final_error
    plain = train(network, dataclasses.replace(recipe, heldout_images=0), data)
    assert plain.heldout_error is None


@pytest.mark.parametrize("count", [60, 100])
def test_something_must_be_left_to_train_on(count):
    with pytest.raises(InputError, match=f"stripes: heldout_images must be below .* training images, 60, not {count}"):
        feed(numbered(), heldout_images=count)


def test_a_batch_of_all_images_must_be_shared_evenly():
    with pytest.raises(InputError, match="stripes: a batch of all 51 images cannot be shared by 2 devices"):
        feed(numbered(), Shard(0, 2), batch_size=64, heldout_images=9)


def test_an_example_is_like_the_batches_and_draws_nothing(data):
    of = feed(data, mixup=0.2)
    generator = torch.Generator().manual_seed(5)
    before = torch.get_rng_state(), generator.get_state()
    example = of.example()
    assert torch.equal(before[0], torch.get_rng_state())
    for made, real in zip(example, next(of.epoch(generator)), strict=True):
        assert (made.shape, made.dtype, made.stride()) == (real.shape, real.dtype, real.stride())


def test_rows_read_ahead_are_the_rows():
    images = torch.arange(1000, dtype=torch.uint8).view(-1, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    picks = [torch.randperm(1000, generator=generator)[:count] for count in (100, 100, 7, 1, 100, 33)]
    expected = list(rows(images, picks, torch.device("cpu")))
    found = list(_ahead(images, picks, torch.device("cpu")))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert list(_ahead(images, [], torch.device("cpu"))) == []
    assert not readers()


def test_reading_ahead_ends_with_its_reader_and_tells_what_went_wrong():
    images = torch.zeros(10, 1, 1, 1, dtype=torch.uint8)
    source = _ahead(images, [torch.arange(5)] * 50, torch.device("cpu"))
    next(source)
    assert len(readers()) == 1
    source.close()
    assert not readers()
    with pytest.raises(IndexError, match="out of range"):
        list(_ahead(images, [torch.arange(5), torch.tensor([11])], torch.device("cpu")))
    assert not readers()


def test_arrays_of_a_file_are_not_copied_and_give_the_same(network, recipe, data, tmp_path):
    fields = {}
    for name in ("train_images", "test_images"):
        np.save(tmp_path / f"{name}.npy", getattr(data, name))
        fields[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    mapped = dataclasses.replace(data, **fields)
    images = DeviceData.of(mapped)
    assert images.train_images.data_ptr() == fields["train_images"].__array_interface__["data"][0]
    own = DeviceData.of(data)
    assert own.train_images.data_ptr() != data.train_images.__array_interface__["data"][0]
    seen = [[], []]
    for found, given in zip(seen, (images, own), strict=True):
        train(network, dataclasses.replace(recipe, epochs=2), given, on_epoch=found.append)
    for one, other in zip(seen[0][-1], seen[1][-1], strict=True):
        assert dataclasses.replace(one, wall_s=0) == dataclasses.replace(other, wall_s=0)
