"""Every operation, compared with Pillow and torchvision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torch.nn import functional

from designspace.data.augment import colour, geometry, policies
from tests.originals import torchvision

F = torchvision.transforms.functional
autoaugment = torchvision.transforms.autoaugment
InterpolationMode = torchvision.transforms.InterpolationMode


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(channels, height=20, width=24, count=6):
    """Return noise, a narrow range of values, few values, and one value, which are stretched in different ways."""
    noise = torch.randint(0, 256, (count, channels, height, width), generator=generator(), dtype=torch.uint8)
    noise[1] = 100 + noise[1] % 31
    noise[2] = noise[2] // 128 * 200
    noise[3] = 77
    noise[4, :, : height // 2] = 255
    return noise


def to_pillow(image):
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0])


def from_pillow(image):
    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1)


def by_pillow(function, images, arguments):
    return torch.stack(
        [from_pillow(function(to_pillow(image), value)) for image, value in zip(images, arguments, strict=True)]
    )


EXACT = {
    "invert": (colour.invert, lambda image, _: ImageOps.invert(image), [0] * 6),
    "posterize": (colour.posterize, lambda image, bits: ImageOps.posterize(image, int(bits)), [1, 2, 4, 5, 7, 8]),
    "solarize": (colour.solarize, ImageOps.solarize, [0, 1, 100, 128, 255, 256]),
    "autocontrast": (colour.autocontrast, lambda image, _: ImageOps.autocontrast(image), [0] * 6),
    "equalize": (colour.equalize, lambda image, _: ImageOps.equalize(image), [0] * 6),
    "brightness": (
        colour.brightness,
        lambda image, f: ImageEnhance.Brightness(image).enhance(f),
        [0, 0.1, 0.55, 1, 1.3, 1.9],
    ),
    "contrast": (
        colour.contrast,
        lambda image, f: ImageEnhance.Contrast(image).enhance(f),
        [0, 0.1, 0.55, 1, 1.3, 1.9],
    ),
    "saturation": (
        colour.saturation,
        lambda image, f: ImageEnhance.Color(image).enhance(f),
        [0, 0.1, 0.55, 1, 1.3, 1.9],
    ),
    "sharpness": (
        colour.sharpness,
        lambda image, f: ImageEnhance.Sharpness(image).enhance(f),
        [0, 0.1, 0.55, 1, 1.3, 1.9],
    ),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EXACT)
def test_colour_operations_equal_pillow(name, channels):
    ours, theirs, arguments = EXACT[name]
    for height, width in ((20, 24), (3, 3), (40, 7)):
        images = images_of(channels, height, width)
        result = ours(images, torch.tensor(arguments, dtype=torch.float32))
        assert torch.equal(result, by_pillow(theirs, images, arguments))


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(st.integers(0, 255), min_size=1, max_size=40),
    repeats=st.integers(1, 40),
    name=st.sampled_from(["autocontrast", "equalize"]),
)
def test_histogram_operations_equal_pillow_for_any_histogram(values, repeats, name):
    ours, theirs, _ = EXACT[name]
    image = torch.tensor(values, dtype=torch.uint8).repeat(repeats).view(1, 1, 1, -1)
    assert torch.equal(ours(image, torch.zeros(1)), by_pillow(theirs, image, [0]))


def test_grey_equals_pillows_luma():
    images = images_of(3)
    assert torch.equal(colour.grey(images), by_pillow(lambda image, _: image.convert("L"), images, [0] * 6))


GEOMETRIC = {
    "shear_x": (policies.shear_x, (1, "v", 0, 0, 1, 0), [0.3, -0.3, 0.15, -0.07, 0, 0.21]),
    "shear_y": (policies.shear_y, (1, 0, 0, "v", 1, 0), [0.3, -0.3, 0.15, -0.07, 0, 0.21]),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_shears_equal_pillow(name, channels):
    ours, matrix, arguments = GEOMETRIC[name]
    images = images_of(channels)

    def theirs(image, value):
        coefficients = [value if entry == "v" else entry for entry in matrix]
        fill = (geometry.GREY,) * channels if channels > 1 else geometry.GREY
        return image.transform(image.size, Image.Transform.AFFINE, coefficients, fillcolor=fill)

    result = ours(images, torch.tensor(arguments))
    assert (result == by_pillow(theirs, images, arguments)).float().mean() > 0.99  # theirs is in fixed point


@pytest.mark.parametrize("channels", [1, 3])
def test_rotations_equal_pillow(channels):
    images, arguments = images_of(channels), [30, -30, 12.5, -3, 0, 90]
    fill = (geometry.GREY,) * channels if channels > 1 else geometry.GREY
    result = policies.rotate(images, torch.tensor(arguments))
    expected = by_pillow(lambda image, angle: image.rotate(angle, fillcolor=fill), images, arguments)
    assert (result == expected).float().mean() > 0.99


@pytest.mark.parametrize("fraction", [0.45, -0.45, 0.1, -0.26, 0.0])
def test_translations_equal_torchvision(fraction):
    images = images_of(3)
    for ours, offset in (
        (policies.translate_x, [int(fraction * 24), 0]),
        (policies.translate_y, [0, int(fraction * 20)]),
    ):
        result = ours(images, torch.full((6,), fraction))
        expected = F.affine(images, 0.0, offset, 1.0, [0.0, 0.0], fill=[geometry.GREY] * 3)
        assert torch.equal(result, expected)


def test_affine_copies_the_pixel_that_the_matrix_points_to():
    images = images_of(2, 5, 7)
    matrices = torch.randint(-24, 25, (6, 2, 3), generator=generator()) / 16  # exact in float32
    result = geometry.affine(images, matrices)
    for n, (a, b, c, d, e, f) in enumerate(matrices.flatten(1).tolist()):
        for y in range(5):
            for x in range(7):
                column = math.floor(a * (x + 0.5) + b * (y + 0.5) + c)
                row = math.floor(d * (x + 0.5) + e * (y + 0.5) + f)
                inside = 0 <= column < 7 and 0 <= row < 5
                expected = images[n, :, row, column] if inside else torch.full((2,), geometry.GREY, dtype=torch.uint8)
                assert torch.equal(result[n, :, y, x], expected)


_NAMES = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "solarize": "Solarize",
    "posterize": "Posterize",
    "contrast": "Contrast",
    "saturation": "Color",
    "brightness": "Brightness",
    "sharpness": "Sharpness",
    "invert": "Invert",
}


@pytest.mark.parametrize("magnitude", [0, 9, 12, 21, 30])
def test_randaugment_has_torchvisions_operations_and_arguments(magnitude):
    space = autoaugment.RandAugment()._augmentation_space(31, (331, 331))
    names = [_NAMES[operation.__name__] for operation in policies.OPERATIONS]
    assert set(names[:-1]) == set(space)
    kinds, arguments = policies.draw_randaugment(3000, 2, magnitude, generator())
    counts = kinds.flatten().bincount(minlength=14)
    assert len(counts) == 14
    assert (counts > 340).all()
    for kind, name in enumerate(names[:-1]):
        magnitudes, signed = space[name]
        value = float(magnitudes[magnitude]) if magnitudes.dim() else 0.0
        if name.startswith("Translate"):
            value /= 331
        middle = 1.0 if name in ("Color", "Contrast", "Brightness", "Sharpness") else 0.0
        expected = {middle + value, middle - value} if signed else {value}  # one value at magnitude 0
        drawn = arguments[kinds == kind].unique()
        torch.testing.assert_close(drawn, torch.tensor(sorted(expected)), rtol=0, atol=1e-4)


def test_autoaugment_has_torchvisions_pairs():
    pairs = autoaugment.AutoAugment().policies
    ours = [
        tuple((_NAMES[name], probability, magnitude) for name, probability, magnitude in pair)
        for pair in policies._IMAGENET_POLICY
    ]
    assert ours == pairs


def test_autoaugment_has_the_authors_arguments():
    assert policies._autoaugment_argument("posterize", 8) == (1, 0)
    assert policies._autoaugment_argument("posterize", 5) == (2, 0)
    assert policies._autoaugment_argument("solarize", 5) == (128, 0)
    assert policies._autoaugment_argument("solarize", 8) == (52, 0)
    assert policies._autoaugment_argument("rotate", 9) == (0, 27)
    assert policies._autoaugment_argument("saturation", 0) == pytest.approx((0.1, 0))
    assert policies._autoaugment_argument("contrast", 8) == pytest.approx((1.54, 0))
    assert policies._autoaugment_argument("shear_x", 5) == pytest.approx((0, 0.15))


def test_autoaugment_applies_each_operation_with_its_probability():
    count = 50_000
    kinds, _ = policies.draw_autoaugment(count, generator())
    expected = torch.zeros(2, len(policies.OPERATIONS))
    for pair in policies._IMAGENET_POLICY:
        for position, (name, probability, _) in enumerate(pair):
            expected[position, policies._INDEX[name]] += probability / 25
            expected[position, 0] += (1 - probability) / 25
    for position in range(2):
        frequencies = kinds[:, position].bincount(minlength=len(policies.OPERATIONS)) / count
        torch.testing.assert_close(frequencies, expected[position], rtol=0, atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_policy_applies_to_each_image_the_drawn_operations(channels):
    """The result is compared with torchvision, one image at a time."""
    images = torch.randint(0, 256, (80, channels, 20, 24), generator=generator(), dtype=torch.uint8)
    kinds, arguments = policies.draw_randaugment(80, 3, 20, generator(1))
    kinds[:10, 1] = len(policies.OPERATIONS) - 1  # invert, which RandAugment does not have
    result = policies.perform(images, kinds, arguments)
    close = []
    for n in range(80):
        image = images[n]
        for kind, argument in zip(kinds[n].tolist(), arguments[n].tolist(), strict=True):
            name = _NAMES[policies.OPERATIONS[kind].__name__]
            if name in ("Color", "Contrast", "Brightness", "Sharpness"):
                argument -= 1
            if name.startswith("Translate"):
                argument *= 24 if name.endswith("X") else 20
            fill = [float(geometry.GREY)] * channels
            # torchvision shears tensors around the centre of the first pixel, so shears and rotations use Pillow.
            if name in ("ShearX", "ShearY", "Rotate"):
                pillow = to_pillow(image)
                image = from_pillow(autoaugment._apply_op(pillow, name, argument, InterpolationMode.NEAREST, fill))
                if name == "Rotate":
                    assert torch.equal(image, from_pillow(pillow.rotate(argument, fillcolor=_colour(channels))))
            else:
                image = autoaugment._apply_op(image, name, argument, InterpolationMode.NEAREST, fill)
        close.append(((image.int() - result[n].int()).abs() <= 2).float().mean().item())
    assert np.mean(close) > 0.97
    assert np.median(close) == 1


def _colour(channels):
    return (geometry.GREY,) * 3 if channels == 3 else geometry.GREY


@pytest.mark.parametrize(("height", "width", "size"), [(30, 20, 12), (16, 16, 40), (33, 47, 33), (8, 8, 1)])
def test_resampling_is_antialiased_bilinear(height, width, size):
    random = np.random.default_rng(0)
    images = torch.randint(0, 256, (20, 3, height, width), generator=generator(), dtype=torch.uint8)
    rows, columns = random.integers(1, height + 1, 20), random.integers(1, width + 1, 20)
    top, left = random.integers(0, height - rows + 1), random.integers(0, width - columns + 1)
    boxes = geometry.Boxes(*(torch.from_numpy(values).float() for values in (top, left, rows, columns)))
    result = geometry.resample(images, boxes, size)
    assert result.dtype == torch.uint8
    for n in range(20):
        crop = images[n : n + 1, :, top[n] : top[n] + rows[n], left[n] : left[n] + columns[n]]
        expected = functional.interpolate(crop.float(), (size, size), mode="bilinear", antialias=True)
        assert (result[n : n + 1].float() - expected).abs().max() <= 0.501
        pillow = to_pillow(crop[0]).resize((size, size), Image.Resampling.BILINEAR)
        assert (result[n].int() - from_pillow(pillow).int()).abs().max() <= 1


@settings(deadline=None, max_examples=30)
@given(pixels=st.integers(1, 40), size=st.integers(1, 40), data=st.data())
def test_resampling_weights_sum_to_one_within_the_segment(pixels, size, data):
    length = data.draw(st.integers(1, pixels))
    start = data.draw(st.integers(0, pixels - length))
    weights = geometry._weights(torch.tensor([float(start)]), torch.tensor([float(length)]), pixels, size)[0]
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(size))
    assert not weights[:, :start].any()
    assert not weights[:, start + length :].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_equals_torchvision(channels):
    images = images_of(channels)
    factors = 0.6 + 0.8 * torch.rand(6, 3, generator=generator(2))
    order = torch.rand(6, 3, generator=generator(3)).argsort(1)
    result = colour.jitter(images, factors, order)
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    for n in range(6):
        image = images[n].float() / 255
        for kind in order[n].tolist():
            image = adjust[kind](image, factors[n, kind].item())
        torch.testing.assert_close(result[n], image * 255, rtol=0, atol=0.1)  # theirs rounds 0.299 to 0.2989


def test_lighting_adds_principal_components():
    images, amounts = images_of(3), 0.1 * torch.randn(6, 3, generator=generator())
    result = colour.light(images, amounts)
    values = torch.tensor([0.2175, 0.0188, 0.0045])
    vectors = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), rtol=0, atol=1e-3)
    for n in range(6):
        shift = 255 * vectors @ (amounts[n] * values)
        torch.testing.assert_close(result[n], images[n] + shift[:, None, None])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_flips_and_crops_move_pixels(dtype):
    images = torch.arange(60 * 2 * 3 * 5).view(60, 2, 3, 5).remainder(251).to(dtype)
    chosen = torch.arange(60) % 3 == 0
    flipped = geometry.flip(images, chosen)
    assert flipped.dtype == dtype
    for image, is_flipped, result in zip(images, chosen, flipped, strict=True):
        assert torch.equal(result, image.flip(2) if is_flipped else image)
    corners = torch.stack([torch.arange(60) % 4, torch.arange(60) % 3], 1)
    cropped = geometry.pad_crop(images, 1, corners, (2, 5))
    assert cropped.dtype == dtype
    for image, (y, x), result in zip(functional.pad(images, (1, 1, 1, 1)), corners.tolist(), cropped, strict=True):
        assert torch.equal(result, image[:, y : y + 2, x : x + 5])


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_normalising_subtracts_the_mean_and_divides_by_the_deviation(channels):
    images = torch.randint(0, 256, (7, channels, 4, 5), generator=generator(), dtype=torch.uint8)
    before = images.clone()
    mean, std = torch.arange(channels).view(-1, 1, 1) + 99.5, torch.arange(channels).view(-1, 1, 1) + 1.5
    for given_images in (images, images.float()):
        result = colour.normalise(given_images, mean, std)
        assert torch.equal(result, (images.float() - mean) / std)
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(given_images, before)
