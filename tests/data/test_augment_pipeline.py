import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional

from designspace.data.augment import Augmentation, normalise, pipeline
from designspace.support.errors import InputError
from designspace.trials.recipe import Recipe

EVERYTHING = {
    "flip": True,
    "crop_area": 0.3,
    "crop_size": 12,
    "policy": "randaugment",
    "colour_jitter": 0.4,
    "lighting": 0.1,
    "erasing": 0.5,
}


def needs_gpu(test):
    """Mark a test as one that needs a GPU."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")(test))


PARTS = (
    {},
    {"flip": False},
    {"crop_padding": 4},
    {"crop_padding": 2, "crop_size": 9},
    {"crop_size": 9},
    {"crop_area": 0.2},
    {"crop_area": 0.2, "crop_size": 24},
    {"policy": "autoaugment"},
    {"policy": "randaugment", "randaugment_ops": 3, "randaugment_magnitude": 14.5},
    {"colour_jitter": 0.4},
    {"erasing": 1.0},
    {"lighting": 0.1},
    EVERYTHING,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(count, channels=3, height=16, width=16, seed=0):
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


def statistics(channels):
    return torch.linspace(90, 130, channels).view(-1, 1, 1), torch.linspace(50, 70, channels).view(-1, 1, 1)


def augmentation(channels=3, size=16, **fields):
    return Augmentation.of(Recipe(**fields), *statistics(channels), size)


def as_first_published(images, recipe, mean, std, generator, part):
    """Augment as in the first version of this program, which the published numbers depend on."""
    if recipe.flip:
        chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        images = torch.where(chosen, images.flip(3), images)
    if padding := recipe.crop_padding:
        count, height, width = len(images), *images.shape[2:]
        corners = torch.randint(2 * padding + 1, (2, count), generator=generator)
        windows = functional.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(count), :, corners[0], corners[1]]
    return images[part].to(torch.float32, memory_format=torch.channels_last).sub_(mean).div_(std)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 10, 9), (1, 5, 1)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop_padding", [0, 1, 4])
@pytest.mark.parametrize("part", [slice(None), slice(3, 11)])
def test_flip_and_crop_are_bit_identical_to_the_first_version(shape, flip, crop_padding, part):
    images = random_images(37, *shape)
    recipe = Recipe(flip=flip, crop_padding=crop_padding)
    mean, std = statistics(shape[0])
    ours, theirs = generator(5), generator(5)
    for _ in range(2):
        result = Augmentation.of(recipe, mean, std, shape[2]).train(images, ours, part)
        expected = as_first_published(images, recipe, mean, std, theirs, part)
        assert torch.equal(result, expected)
        assert result.stride() == expected.stride()
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("fields", PARTS)
def test_parts_and_slices_of_a_batch_give_the_same_images(fields, monkeypatch):
    images = random_images(23)
    given_images = images.clone()
    augment = augmentation(**fields)
    whole = augment.train(images, generator(1))
    assert torch.equal(images, given_images)
    again = augment.train(images, generator(1))
    assert torch.equal(whole, again)
    if len(augment.chain) > 1:
        assert not torch.equal(whole, augment.train(images, generator(2)))
    parts = [augment.train(images, generator(1), slice(start, start + 8)) for start in (0, 8, 16)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    monkeypatch.setattr(pipeline, "_SLICE", 5 * images[0].numel())
    sliced = augment.train(images, generator(1))
    torch.testing.assert_close(sliced, whole, rtol=0, atol=1e-5)
    for result in (whole, sliced):
        side = fields.get("crop_size", 16)
        assert result.shape == (23, 3, side, side)
        assert result.dtype == torch.float32
        assert result.stride() == (3 * side * side, 1, 3 * side, 3)


@pytest.mark.parametrize("fields", PARTS[:-2])
def test_grey_images_are_augmented(fields):
    result = augmentation(1, 28, **fields).train(random_images(9, 1, 28, 28), generator())
    assert result.shape[:2] == (9, 1)
    assert result.isfinite().all()


def test_the_global_random_state_is_not_used():
    before = torch.get_rng_state()
    for fields in PARTS:
        augmentation(**fields).train(random_images(9), generator())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("fields", [{}, {"crop_size": 9}, {"test_size": 12, "crop_size": 9}, {"test_size": 16}])
def test_test_images_are_cropped_to_their_centre(fields):
    images = random_images(7)
    size = fields.get("test_size", fields.get("crop_size", 16))
    first = (16 - size) // 2
    expected = normalise(images[:, :, first : first + size, first : first + size], *statistics(3))
    assert torch.equal(augmentation(**fields).test(images), expected)


def test_small_test_images_are_scaled_up():
    images = random_images(5, 3, 12, 8)
    result = augmentation(test_size=20).test(images)
    bytes_ = functional.interpolate(images[:, :, 2:10].float(), (20, 20), mode="bilinear", antialias=True).round()
    torch.testing.assert_close(result, normalise(bytes_, *statistics(3)), rtol=0, atol=1.001 / 50)
    assert (result - normalise(bytes_, *statistics(3))).abs().mean() < 1e-4


@pytest.mark.parametrize(
    ("channels", "fields", "message"),
    [
        (3, {"crop_area": 0.5, "crop_padding": 4}, "two kinds of crops"),
        (3, {"crop_size": 25, "crop_padding": 4}, "crop_size 25 is larger than the padded images (16 pixels"),
        (1, {"lighting": 0.1}, "lighting is for images of 3 channels, but these have 1"),
        (2, {"policy": "autoaugment"}, "policy is for images of 1 or 3 channels, but these have 2"),
        (4, {"colour_jitter": 0.1}, "colour_jitter is for images of 1 or 3 channels, but these have 4"),
    ],
)
def test_a_recipe_that_does_not_fit_the_images_is_refused(channels, fields, message):
    with pytest.raises(InputError) as error:
        augmentation(channels, **fields)
    assert message in str(error.value)


@pytest.mark.parametrize("images", [random_images(2, 1), random_images(2).float(), random_images(2)[0]])
def test_images_of_another_type_or_shape_are_refused(images):
    with pytest.raises(InputError, match="for bytes of shape"):
        augmentation().train(images, generator())
    with pytest.raises(InputError, match="for bytes of shape"):
        augmentation().test(images)


def test_random_crops_of_a_smaller_size_take_every_position():
    images = torch.arange(1, 17, dtype=torch.uint8).view(1, 1, 4, 4).expand(400, -1, -1, -1)
    augment = Augmentation.of(Recipe(crop_size=2, flip=False), torch.zeros(1, 1, 1), torch.ones(1, 1, 1), 4)
    seen = {tuple(image.flatten().tolist()) for image in augment.train(images, generator())}
    assert seen == {(k, k + 1, k + 4, k + 5) for k in (1, 2, 3, 5, 6, 7, 9, 10, 11)}


def drawn(transform, count=4000, size=100, seed=0):
    return [value.double().numpy() for value in transform.draw(count, size, size, generator(seed))]


@settings(deadline=None, max_examples=20)
@given(area=st.floats(0.05, 0.95), height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 999))
def test_resized_crops_are_within_the_image(area, height, width, seed):
    transform = augmentation(crop_area=area).chain[1]
    top, left, rows, columns = transform.draw(50, height, width, generator(seed))
    for start, length, side in ((top, rows, height), (left, columns, width)):
        assert (start >= 0).all()
        assert (length >= 1).all()
        assert (start + length <= side).all()
        assert torch.equal(start, start.round())
        assert torch.equal(length, length.round())


def test_resized_crops_have_the_distribution_of_the_paper():
    """The crops are compared with the paper's definition; the images are large so that rounding has little effect."""
    size = 4000
    top, left, rows, columns = drawn(augmentation(crop_area=0.08).chain[1], 3000, size)
    random = np.random.default_rng(0)
    expected = []
    while len(expected) < 3000:
        pixels, ratio = random.uniform(0.08, 1) * size**2, np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        height, width = round(np.sqrt(pixels / ratio)), round(np.sqrt(pixels * ratio))
        if height <= size and width <= size:
            expected.append((height, width))
    heights, widths = np.array(expected).T
    assert stats.ks_2samp(rows * columns, heights * widths).pvalue > 0.01
    assert stats.ks_2samp(columns / rows, widths / heights).pvalue > 0.01
    for start, length in ((top, rows), (left, columns)):
        assert stats.kstest((start + 0.5) / (size - length + 1), "uniform").pvalue > 0.01


def test_erased_rectangles_have_the_distribution_of_the_paper():
    size = 1000
    top, left, rows, columns, chosen = drawn(augmentation(erasing=0.3).chain[-1], 6000, size)
    assert abs(chosen.mean() - 0.3) < 0.02
    random = np.random.default_rng(0)
    expected = []
    while len(expected) < 4000:  # algorithm 1
        pixels, ratio = random.uniform(0.02, 0.4) * size**2, random.uniform(0.3, 1 / 0.3)
        height, width = np.sqrt(pixels * ratio), np.sqrt(pixels / ratio)
        if height <= size and width <= size:
            expected.append((height, width))
    heights, widths = np.array(expected).T
    assert stats.ks_2samp(rows * columns, heights * widths).pvalue > 0.01
    assert stats.ks_2samp(rows / columns, heights / widths).pvalue > 0.01
    assert (top + rows <= size).all()
    assert (left + columns <= size).all()


def test_erasing_sets_one_rectangle_to_the_mean():
    images = torch.full((200, 3, 16, 16), 200, dtype=torch.uint8)
    result = augmentation(erasing=1.0, flip=False).train(images, generator())
    erased = result == 0
    assert torch.equal(erased[:, 0], erased[:, 1])
    for mask in erased[:, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)
        assert mask.any()
        assert rows.int().diff().abs().sum() <= 2
    assert torch.equal(result[~erased], normalise(images, *statistics(3))[~erased])


def test_factors_and_orders_of_colour_jitter_are_uniform():
    factors, order = drawn(augmentation(colour_jitter=0.4).chain[1])
    for values in factors.T:
        assert stats.kstest(values, stats.uniform(0.6, 0.8).cdf).pvalue > 0.01
    counts = [(order == permutation).all(1).sum() for permutation in itertools.permutations(range(3))]
    assert stats.chisquare(counts).pvalue > 0.01


def test_lighting_amounts_are_normally_distributed():
    (amounts,) = drawn(augmentation(lighting=0.1).chain[1])
    for values in amounts.T:
        assert stats.kstest(values, stats.norm(0, 0.1).cdf).pvalue > 0.01


@needs_gpu
@pytest.mark.parametrize("fields", PARTS)
def test_a_gpu_gives_the_same_images_as_a_cpu(fields):
    images = random_images(50)
    on_cpu = augmentation(**fields)
    mean, std = (value.cuda() for value in statistics(3))
    on_gpu = Augmentation.of(Recipe(**fields), mean, std, 16)
    expected = on_cpu.train(images, generator(3))
    with torch.cuda.stream(torch.cuda.Stream()):
        result = on_gpu.train(images.cuda(), generator(3))
    # Different rounding changes a byte by 1, and at a threshold a pixel by more, which is allowed for few pixels.
    close = (result.cpu() - expected).abs() < 1.5 / 50
    assert close.float().mean() > 0.99
    torch.testing.assert_close(on_gpu.test(images.cuda()).cpu(), on_cpu.test(images), rtol=0, atol=1.5 / 50)


@needs_gpu
@pytest.mark.parametrize("fields", [*PARTS, {"mixup": 0.2}])
def test_a_gpu_is_not_synchronised_with_and_its_generator_decides(fields):
    images, labels = random_images(50).cuda(), torch.arange(50, device="cuda") % 5
    mean, std = (value.cuda() for value in statistics(3))
    augment = Augmentation.of(Recipe(**fields), mean, std, 16)

    def run(seed):
        on_gpu = torch.Generator("cuda").manual_seed(seed)
        torch.cuda.set_sync_debug_mode("error")
        try:
            first = augment.train(images, on_gpu)
            second = augment.train(images, on_gpu)
            return first, second, augment.mix(first, labels, 5, on_gpu)[0]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    for images_of_run, images_of_repeat in zip(run(1), run(1), strict=True):
        assert torch.equal(images_of_run, images_of_repeat)
    if len(augment.chain) > 1:
        first, second, _ = run(1)
        assert not torch.equal(first, second)
        assert not torch.equal(first, run(2)[0])
