import dataclasses
import multiprocessing
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from designspace import data
from designspace.data.image_folder import ImageFolder
from designspace.data.presets import Preset
from designspace.library.verification import Verification, preset_for, verify
from designspace.models import AnyNet
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError, RunError
from designspace.training import DeviceData, evaluate, train_model
from designspace.training.devices import choose_device
from designspace.trials.recipe import Recipe

# From 3.12 on, Python warns if a process with threads is forked, as torch's loader does.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

GREYS = np.arange(7) * 40
GREY = Preset(8, 8, mean=(0.0,), std=(1 / 255,))
"""Leaves pixels as they are, 0 to 255."""


class Nearest(nn.Module):
    """A model whose classes are shades of grey: the nearer to an image's shade, the likelier."""

    def __init__(self, classes=7):
        super().__init__()
        self.greys = nn.Parameter(torch.tensor(GREYS[:classes], dtype=torch.float32))

    def forward(self, x):
        return -(x.mean((1, 2, 3))[:, None] - self.greys).abs()


def write_shades(folder, rows):
    """Write images of one shade each, given by class: for example {0: [3, 80]}."""
    for label, values in rows.items():
        (folder / f"class {label}").mkdir(parents=True)
        for i, value in enumerate(values):
            Image.new("L", (11, 8), int(value)).save(folder / f"class {label}" / f"{i}.png")
    return ImageFolder.of(folder)


@pytest.fixture
def seven(tmp_path):
    """19 images: 9 whose first guess is right, 6 more within five guesses (two the fifth), 4 beyond (two the sixth)."""
    right = {0: [0, 19], 1: [40], 2: [61, 80, 99], 3: [120], 4: [], 5: [190], 6: [240]}
    within = {0: [21, 41, 99], 4: [200, 240], 6: [141]}
    beyond = {0: [101, 240], 1: [240], 6: [139]}
    rows = {k: [*right[k], *within.get(k, []), *beyond.get(k, [])] for k in range(7)}
    return write_shades(tmp_path / "seven", rows)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (4, 2), (19, 0), (18, 2), (64, None)])
def test_right_answers_are_counted_exactly(seven, batch_size, workers):
    progress = []
    result = verify(
        Nearest(),
        seven,
        GREY,
        device="cpu",
        batch_size=batch_size,
        workers=workers,
        on_batch=lambda seen, right: progress.append((seen, right)),
    )
    assert result == Verification(100 * 9 / 19, 100 * 15 / 19, 19)
    assert [seen for seen, _ in progress] == [min(19, batch_size * (i + 1)) for i in range(-(-19 // batch_size))]
    assert progress[-1] == (19, 9)


def test_equal_logits_rank_by_class(tmp_path):
    """A model with equal logits always guesses the first class, then the second, and so on."""
    images = write_shades(tmp_path, {label: [0] * (label + 1) for label in range(7)})
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    nn.init.zeros_(constant[1].weight)
    nn.init.zeros_(constant[1].bias)
    result = verify(constant, images, GREY, workers=0)
    assert result == Verification(100 * 1 / 28, 100 * 15 / 28, 28)
    nn.init.constant_(constant[1].bias, float("-inf"))
    assert verify(constant, images, GREY, workers=0) == result


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_five_guesses_are_always_right_for_few_classes(tmp_path, classes):
    images = write_shades(tmp_path, {label: [240, 0] for label in range(classes)})
    result = verify(Nearest(classes), images, GREY, workers=0)
    assert result.top5 == 100
    assert result.top1 == 100 / classes


def test_one_image(tmp_path):
    assert verify(Nearest(1), write_shades(tmp_path, {0: [9]}), GREY, workers=2) == Verification(100, 100, 1)


def test_unreadable_images_are_left_out_and_named(seven):
    (seven.path / "class 0" / "0.png").write_bytes(b"")
    (seven.path / "class 6" / "2.png").unlink()
    result = verify(Nearest(), seven, GREY, workers=2, batch_size=5)
    assert result == Verification(100 * 8 / 17, 100 * 14 / 17, 17, result.unreadable)
    empty, missing = result.unreadable
    assert "class 0/0.png: it is not an image" in empty
    assert "class 6/2.png: No such file" in missing
    for path in seven.path.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="none of 19 images can be read; the first: cannot read .*class"):
        verify(Nearest(), seven, GREY, workers=0)


def test_an_anynet_on_photographs_agrees_with_a_plain_loop(tmp_path):
    random = np.random.default_rng(0)
    for i in range(40):
        size = random.integers(20, 90, 2)
        few = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize(tuple(size), 3)
        (tmp_path / f"{i % 10}").mkdir(exist_ok=True)
        few.save(tmp_path / f"{i % 10}" / f"{i}.jpg")
    model = AnyNet(Network(Stem("resnet", 8), (Stage(1, 16, 1, 1, 8), Stage(1, 32, 2, 1, 8)), num_classes=10), seed=3)
    preset = Preset(29, 35, "bicubic")
    images = ImageFolder.of(tmp_path)
    result = verify(model, images, preset, workers=2, batch_size=7)
    first = five = 0
    for path, label in zip(images.files, images.labels, strict=True):
        image = Image.open(tmp_path / path)
        width, height = image.size
        short = min(width, height)
        image = image.resize((int(35 * width / short), int(35 * height / short)), Image.Resampling.BICUBIC)
        left, top = round((image.width - 29) / 2), round((image.height - 29) / 2)
        pixels = np.asarray(image)[top : top + 29, left : left + 29] / 255
        x = torch.tensor((pixels - preset.mean) / preset.std, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.no_grad():
            guesses = model(x)[0].argsort(descending=True)[:5].tolist()
        first += guesses[0] == label
        five += label in guesses
    assert result == Verification(100 * first / 40, 100 * five / 40, 40)
    assert 0 < first < five < 40


@pytest.fixture(scope="module")
def trained(data_root):
    """A small network after a short training, and test images of one channel."""
    images = data.load("patterns", data_root, train_images=1000, test_images=300)
    red = {split: getattr(images, split)[:, :1] for split in ("train_images", "test_images")}
    images = dataclasses.replace(images, mean=images.mean[:1], std=images.std[:1], **red)
    model = AnyNet(Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 8),), num_classes=10, in_channels=1))
    torch.set_num_threads(1)
    train_model(model, Recipe(data="patterns", epochs=2, batch_size=50, lr=0.2), images)
    return model, images


def test_images_in_memory_agree_with_the_evaluation_in_training(trained):
    model, images = trained
    result = verify(model, images)
    assert result.top1 == pytest.approx(100 - evaluate(model, DeviceData.of(images)), abs=1e-9)
    assert 20 < result.top1 < result.top5 < 100
    assert result.images == 300
    assert verify(model, images, Preset(mean=(0.9,), std=(0.1,))) != result


def test_the_same_images_in_a_folder_give_the_same_accuracy(trained, tmp_path):
    model, images = trained
    for i, (image, label) in enumerate(zip(images.test_images, images.test_labels, strict=True)):
        (tmp_path / f"{label}").mkdir(exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / f"{label}" / f"{i}.png")
    preset = Preset(16, 16, mean=images.mean, std=images.std)
    in_memory = verify(model, images)
    for workers in (0, 2):
        assert verify(model, ImageFolder.of(tmp_path), preset, workers=workers) == in_memory


def test_the_model_is_left_in_evaluation_mode(seven):
    model = Nearest().train()
    verify(model, seven, GREY, workers=0)
    assert not model.training
    assert all(parameter.grad is None and not parameter.is_inference() for parameter in model.parameters())


def test_nan_is_an_error(seven):
    model = Nearest()
    with torch.no_grad():
        model.greys[3] = float("nan")
    with pytest.raises(RunError, match="the model returns NaN"):
        verify(model, seven, GREY, workers=2)


def test_unsuitable_images_are_errors(tmp_path, seven, trained):
    network = trained[0].network
    with pytest.raises(InputError, match=f"folder {seven.path} has 7 classes, but the model has 10$"):
        verify(AnyNet(network), seven, GREY)
    both = ImageFolder(tmp_path, ("train", "val"), ("train/a.png", "val/a.png"), np.arange(2))
    with pytest.raises(InputError, match=f"2 classes, .* has 10; for the validation .* give {tmp_path / 'val'}"):
        verify(AnyNet(network), both, GREY)
    with pytest.raises(InputError, match="the model takes 3 channels, but images are prepared with 1"):
        verify(AnyNet(Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 8),), num_classes=7)), seven, GREY)
    six = ImageFolder(seven.path, seven.classes[:6], seven.files, np.zeros(19, np.int64))
    with pytest.raises(InputError, match=r"returns \(19, 7\) for 19 images of 6 classes"):
        verify(Nearest(), six, GREY, workers=0)
    with pytest.raises(InputError, match="3 channels or 1, but mean and std have 2"):
        verify(Nearest(), seven, Preset(mean=(0, 0), std=(1, 1)))
    with pytest.raises(InputError, match="patterns has 1 channels, but mean and std have 3"):
        verify(AnyNet(network), trained[1], Preset())
    for name, value, least in (("batch_size", 0, 1), ("batch_size", "x", 1), ("workers", -1, 0), ("workers", 1.5, 0)):
        with pytest.raises(InputError, match=f"{name} must be a whole number >= {least}, not {value!r}"):
            verify(Nearest(), seven, GREY, **{name: value})


def test_presets_for_images(seven, trained):
    assert preset_for(seven) == Preset()
    assert preset_for(seven, GREY, 7) == Preset(7, 7, mean=(0.0,), std=(1 / 255,))
    assert preset_for(seven, Preset(224, 256), 288) == Preset(288, 329)
    assert preset_for(seven, Preset(224, 256), 100, 100, "bicubic") == Preset(100, 100, "bicubic")
    assert preset_for(seven, Preset(224, 256), resize=300) == Preset(224, 300)
    images = trained[1]
    assert preset_for(images) == Preset(16, 16, mean=images.mean, std=images.std)
    assert preset_for(images, GREY) == Preset(16, 16, mean=GREY.mean, std=GREY.std)
    with pytest.raises(InputError, match="images of patterns keep their size: crop, resize"):
        preset_for(images, crop=12)
    for values in ({"crop": 0}, {"crop": -3}, {"crop": 300, "resize": 299}, {"interpolation": "nearest"}):
        with pytest.raises(InputError):
            preset_for(seven, **values)
    with pytest.raises(InputError, match="crop must be a whole number, not 'big'"):
        preset_for(seven, crop="big")


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(InputError, match=f"cannot use device '{name}': "):
            choose_device(name)


class OutOfMemory(nn.Module):
    """Runs out of memory with torch's error."""

    def forward(self, x):
        return torch.empty(2**60)


def test_out_of_memory_gives_advice(seven):
    with pytest.raises(RunError, match="out of memory with batches of 3 images; use a smaller batch_size"):
        verify(OutOfMemory(), seven, GREY, batch_size=3, workers=0)


def test_a_killed_reader_is_an_error_and_no_process_remains(seven):
    def kill(seen, right):
        for reader in multiprocessing.active_children():
            reader.kill()

    with pytest.raises(RunError, match="a process that reads images was killed .*; use fewer workers"):
        verify(Nearest(), seven, GREY, batch_size=1, workers=2, on_batch=kill)
    deadline = time.monotonic() + 60
    while multiprocessing.active_children():  # a process that was killed may take a moment to end
        assert time.monotonic() < deadline
        time.sleep(0.01)
