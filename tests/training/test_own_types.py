"""Images of 16 bits and of floating-point numbers, with any number of channels, from memory to the network's input."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from designspace.data import image_data
from designspace.data.augment import Augmentation
from designspace.data.images import balanced
from designspace.library.verification import logits_of, preset_for, verify
from designspace.models import AnyNet
from designspace.support.errors import InputError
from designspace.training import DeviceData, train
from designspace.training.feed import Feed
from designspace.training.mapped import MappedData
from designspace.training.shard import ALONE
from designspace.training.streaming import _ahead, rows
from designspace.trials.recipe import Recipe

CHANNELS = 5
AUGMENTATIONS = {
    "none": {"flip": False},
    "crop": {"crop_padding": 2},
    "resized": {"crop_area": 0.3, "crop_size": 6},
    "erasing": {"erasing": 0.9},
}


def own(dtype, labels=None, count=48):
    """Return noise, with the whole range of the type."""
    values = np.random.default_rng(0).random((count, CHANNELS, 8, 8))
    top = 1 if dtype == "float32" else np.iinfo(dtype).max + 1
    labels = np.arange(count) % 3 if labels is None else labels
    return image_data(((values * top).astype(dtype), labels), name="own")


def batches(data, **fields):
    feed = Feed(DeviceData.of(data), Recipe(data="own", batch_size=16, **fields), ALONE)
    return [images for images, _ in feed.epoch(torch.Generator().manual_seed(3))]


@pytest.mark.parametrize("fields", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_all_types_give_the_same_input_up_to_rounding(fields):
    """Bytes are coarser, and differ from the others in padding: 0 instead of the mean, as 16 bits do."""
    expected = batches(own("float32"), **fields)
    for dtype, tolerance in (("uint16", 1e-3), ("uint8", 0.05)):
        for images, other in zip(batches(own(dtype), **fields), expected, strict=True):
            assert images.dtype == torch.float32
            assert images.is_contiguous(memory_format=torch.channels_last)
            inside = slice(2, -2) if "crop_padding" in fields else slice(None)
            inner, other_inner = images[:, :, inside, inside], other[:, :, inside, inside]
            torch.testing.assert_close(inner, other_inner, rtol=0, atol=tolerance)


def test_padding_is_black_for_whole_numbers_and_the_mean_for_floating_point():
    for dtype, expected in (("uint8", -1), ("uint16", -1), ("float32", 0)):
        data = dataclasses.replace(own(dtype), mean=(0.25,) * CHANNELS, std=(0.25,) * CHANNELS)
        device_data = DeviceData.of(data)
        recipe = Recipe(data="own", flip=False, crop_padding=8, crop_size=24)
        augmentation = Augmentation.of(recipe, device_data.mean, device_data.std, 8, device_data.train_images.dtype)
        taken = next(rows(device_data.train_images, [torch.arange(4)], torch.device("cpu")))
        corner = augmentation.train(taken, torch.Generator().manual_seed(0))[..., :8, :8]
        torch.testing.assert_close(corner, torch.full_like(corner, expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("read", [rows, _ahead])
def test_rows_of_16_bits_keep_all_values(read):
    images = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(16, 1, 64, 64))
    picks = [torch.tensor([15, 0]), torch.tensor([8])]
    taken = list(read(images, picks, torch.device("cpu")))
    for pick, part in zip(picks, taken, strict=True):
        np.testing.assert_array_equal(part.numpy(), images.numpy()[pick.numpy()])
    assert taken[0].dtype == (torch.float32 if read is rows else torch.uint16)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_mapped_images_stay_on_the_disk_in_their_type(dtype, layout, tmp_path):
    data = own(dtype)
    last = layout == "NHWC"
    np.save(tmp_path / "images.npy", data.train_images.transpose(0, 2, 3, 1) if last else data.train_images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    on_disk = image_data((mapped, data.train_labels), (data.test_images, data.test_labels), name="own")
    device_data = DeviceData.of(on_disk)
    assert device_data.train_images.dtype == getattr(torch, dtype)
    assert device_data.train_images.data_ptr() == mapped.ctypes.data
    for images, other in zip(batches(on_disk, crop_padding=1), batches(data, crop_padding=1), strict=True):
        assert torch.equal(images, other)
    passed = pickle.loads(pickle.dumps(MappedData.of(on_disk, tmp_path)))
    assert passed.arrays["train_images"].path == tmp_path / "images.npy"
    np.testing.assert_array_equal(passed.data().train_images, data.train_images)


@pytest.mark.parametrize(
    ("labels", "target", "dtype"),
    [
        (np.arange(96).reshape(48, 2) % 2, "multilabel", torch.uint8),
        (np.arange(96).reshape(48, 2) / 7, "regression", torch.float32),
        (np.arange(48 * 64).reshape(48, 8, 8) % 4, "dense", torch.int64),
    ],
)
def test_labels_of_other_targets_reach_the_device_and_are_held_out(labels, target, dtype, network, recipe):
    data = own("uint8", labels)
    device_data = DeviceData.of(data)
    assert (device_data.target, device_data.train_labels.dtype) == (target, dtype)
    np.testing.assert_array_equal(device_data.train_labels.numpy(), data.train_labels)
    feed = Feed(device_data, Recipe(data="own", batch_size=8, heldout_images=8), ALONE)
    assert feed.heldout.tolist() == balanced("images", data.train_labels, 8, seed=2).tolist()
    images, targets = next(feed.epoch(torch.Generator().manual_seed(0)))
    assert (len(images), targets.shape[1:], targets.dtype) == (8, data.train_labels.shape[1:], dtype)
    with pytest.raises(InputError, match="recipe.(loss|metric)=.* does not fit own, whose labels are"):
        train(network, dataclasses.replace(recipe, data="own"), data)
    with pytest.raises(InputError, match=f"own has labels for {target}"):
        verify(AnyNet(network), data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy": "randaugment"}, "policy changes colours of 8 bits .uint8., but these images are float32"),
        ({"colour_jitter": 0.4}, "colour_jitter changes colours of 8 bits"),
        ({"lighting": 0.1}, "lighting changes colours of 8 bits"),
    ],
)
def test_augmentations_that_need_colours_say_so(fields, message):
    rgb = np.random.default_rng(0).random((12, 3, 8, 8)).astype(np.float32)
    data = image_data((rgb, np.arange(12) % 3), name="own")
    with pytest.raises(InputError, match=message):
        Feed(DeviceData.of(data), Recipe(data="own", **fields), ALONE)
    with pytest.raises(
        InputError, match=f"recipe: {next(iter(fields))} is for images of .* channels, but these have 5"
    ):
        Feed(DeviceData.of(own("uint8")), Recipe(data="own", **fields), ALONE)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_training_and_verification_measure_the_same(dtype, network, recipe):
    network = dataclasses.replace(network, in_channels=CHANNELS)
    recipe = dataclasses.replace(recipe, data="own", epochs=1)
    data = own(dtype)
    assert train(network, recipe, data).final_error == train(network, recipe, data).final_error
    model = AnyNet(network, seed=1)
    device_data = DeviceData.of(data)
    (_, logits), *_ = logits_of(model, data, preset_for(data), device="cpu", batch_size=100)
    inputs = device_data.normalise(next(rows(device_data.test_images, [torch.arange(8)], torch.device("cpu"))))
    with torch.inference_mode():
        torch.testing.assert_close(logits, model(inputs), rtol=1e-4, atol=1e-5)


def test_models_of_floating_point_images_are_not_tested_on_bytes(network):
    model = AnyNet(dataclasses.replace(network, in_channels=CHANNELS))
    preset = preset_for(own("float32"))
    with pytest.raises(InputError, match="the images are uint8, but the model was trained on float32"):
        verify(model, own("uint8"), preset, device="cpu")
    assert verify(model, own("uint16"), preset_for(own("uint8")), device="cpu").images == 8
