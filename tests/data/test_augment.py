import pytest
import torch

from designspace.data.augment import flip, normalise, pad_crop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_image_is_flipped_or_not(dtype):
    images = torch.arange(1000 * 2 * 3 * 5).reshape(1000, 2, 3, 5).remainder(251).to(dtype)
    flipped = flip(images, generator())
    assert flipped.dtype == dtype
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 440 < same.sum() < 560


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_image_is_shifted_by_its_own_random_amount(dtype):
    images = torch.randint(1, 255, (200, 3, 6, 4), generator=generator()).to(dtype)
    padding = 2
    cropped = pad_crop(images, padding, generator(1))
    assert cropped.shape == images.shape
    assert cropped.dtype == dtype
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    seen = set()
    for image, result in zip(padded, cropped, strict=True):
        places = [
            (y, x)
            for y in range(2 * padding + 1)
            for x in range(2 * padding + 1)
            if torch.equal(image[:, y : y + 6, x : x + 4], result)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25


def test_the_generator_alone_decides():
    images = torch.randint(0, 255, (50, 1, 8, 8), generator=generator())
    before = torch.get_rng_state()
    for seed in (1, 2):
        once, twice = (pad_crop(flip(images, g), 1, g) for g in (generator(seed), generator(seed)))
        assert torch.equal(once, twice)
    assert torch.equal(before, torch.get_rng_state())


def test_normalise():
    images = torch.randint(0, 256, (7, 3, 4, 5), generator=generator(), dtype=torch.uint8)
    mean, std = torch.tensor([100.0, 0.0, 20.0]).view(3, 1, 1), torch.tensor([50.0, 1.0, 3.0]).view(3, 1, 1)
    result = normalise(images, mean, std)
    torch.testing.assert_close(result, (images.float() - mean) / std)
    assert result.is_contiguous(memory_format=torch.channels_last)
