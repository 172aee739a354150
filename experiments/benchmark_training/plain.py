"""Training loops in plain PyTorch, for comparison; only the networks, recipes and images come from this package.

``python plain.py RUN loop|tricks`` trains every network of a run folder with its recipe, and prints one line of JSON
per trial.

``loop`` is the loop of tutorials: a ``DataLoader`` over single images, channels first, one network after another, all
threads. On a GPU its loader has workers and pinned memory, and cuDNN runs in benchmark mode.

``tricks`` is that loop with common optimisations: images in memory and augmented in batches, channels last, a fused
optimiser, one process with one thread per core (on a GPU: one process), and losses read once per epoch.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from designspace import data
from designspace.networks.blocks.widths import attention_width, se_width
from designspace.networks.complexity import complexity
from designspace.networks.network import Network, Stage
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CORES = len(os.sched_getaffinity(0))


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution and its batch-norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class SqueezeExcitation(nn.Module):
    """Channels scaled by factors that depend on the whole map."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        layers = nn.Conv2d(width, squeezed, 1), nn.ReLU(inplace=True), nn.Conv2d(squeezed, width, 1), nn.Sigmoid()
        self.factors = nn.Sequential(nn.AdaptiveAvgPool2d(1), *layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        return x * self.factors(x)


class SplitAttention(nn.Module):
    """A grouped 3x3 convolution into splits, and their sum weighted by attention, as in ResNeSt's code."""

    def __init__(self, width: int, stride: int, groups: int, radix: int) -> None:
        super().__init__()
        self.groups, self.radix = groups, radix
        hidden = int(attention_width(width, radix, groups))
        self.splits = nn.Sequential(*conv(width, width * radix, 3, stride, groups * radix), nn.ReLU(inplace=True))
        squeeze, attend = nn.Conv2d(width, hidden, 1, groups=groups), nn.Conv2d(hidden, width * radix, 1, groups=groups)
        self.attention = nn.Sequential(squeeze, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), attend)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to (N, width, H', W')."""
        splits = self.splits(x).chunk(self.radix, dim=1)
        logits = self.attention(functional.adaptive_avg_pool2d(sum(splits), 1))
        logits = logits.view(len(x), self.groups, self.radix, -1).transpose(1, 2)
        weights = functional.softmax(logits, dim=1) if self.radix > 1 else logits.sigmoid()
        factors = weights.reshape(len(x), -1, 1, 1).chunk(self.radix, dim=1)
        return sum(factor * split for factor, split in zip(factors, splits, strict=True))


class Block(nn.Module):
    """1x1, grouped 3x3 or split attention, squeeze-and-excitation, 1x1, and a shortcut."""

    def __init__(self, network: Network, stage: Stage, inputs: int, stride: int) -> None:
        super().__init__()
        inner, groups, outputs = stage.inner_width, stage.cardinality, stage.width
        squeezed = int(se_width(inputs, network.se_ratio))
        spatial = [*conv(inner, inner, 3, stride, groups), nn.ReLU(inplace=True)]
        if network.radix:
            spatial = [SplitAttention(inner, stride, groups, network.radix)]
        self.transform = nn.Sequential(
            *conv(inputs, inner, 1),
            nn.ReLU(inplace=True),
            *spatial,
            *([SqueezeExcitation(inner, squeezed)] if squeezed else []),
            *conv(inner, outputs, 1),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H', W')."""
        return functional.relu(self.transform(x) + self.shortcut(x), inplace=True)


def build(network: Network) -> nn.Module:
    """Return an AnyNet built from PyTorch's layers, initialised as in the paper's code.

    Raises:
        ValueError: this file lacks a part of the network.
    """
    width = network.stem.width
    layers: list[nn.Module] = [*conv(network.in_channels, width, 3), nn.ReLU(inplace=True)]
    for stage in network.stages:
        for number in range(stage.depth):
            stride = stage.stride if number == 0 else 1
            layers.append(Block(network, stage, width, stride))
            width = stage.width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, network.num_classes)]
    model = nn.Sequential(*layers)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    params = sum(parameter.numel() for parameter in model.parameters())
    if params != complexity(network).params:
        raise ValueError(f"the plain model of {network} has {params} parameters, not {complexity(network).params}")
    return model


class Images(Dataset[tuple[Tensor, int]]):
    """Single images, augmented one by one, as torchvision's data sets and transforms do."""

    def __init__(self, images: Tensor, labels: Tensor, recipe: Recipe | None, mean: Tensor, std: Tensor) -> None:
        self.images, self.labels, self.recipe, self.mean, self.std = images, labels, recipe, mean, std

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if self.recipe is not None and self.recipe.crop_padding:
            pad, (height, width) = self.recipe.crop_padding, image.shape[1:]
            top, left = torch.randint(2 * pad + 1, (2,)).tolist()
            image = functional.pad(image, (pad,) * 4)[:, top : top + height, left : left + width]
        if self.recipe is not None and self.recipe.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return (image.float() / 255 - self.mean) / self.std, int(self.labels[index])


class Trial:
    """Training of one network, without its data."""

    def __init__(self, network: Network, recipe: Recipe, steps: int, seed: int, *, tricks: bool) -> None:
        torch.manual_seed(seed)
        self.recipe, self.tricks = recipe, tricks
        self.format = torch.channels_last if tricks else torch.contiguous_format
        self.model = build(network).to(DEVICE, memory_format=self.format)
        decayed = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() == 1]
        self.optimiser = torch.optim.SGD(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others}],
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            fused=True if tricks else None,
        )
        warmup = max(1, round(recipe.warmup_epochs * steps))
        rise = torch.optim.lr_scheduler.LinearLR(self.optimiser, 1 / warmup, total_iters=warmup)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, recipe.epochs * steps - warmup)
        self.schedule = torch.optim.lr_scheduler.SequentialLR(self.optimiser, [rise, fall], [warmup])

    def epoch(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Train on batches, and return the mean loss."""
        self.model.train()
        losses: list[Tensor | float] = []
        for images, labels in batches:
            images = images.to(DEVICE, non_blocking=True, memory_format=self.format)
            loss = functional.cross_entropy(
                self.model(images), labels.to(DEVICE, non_blocking=True), label_smoothing=self.recipe.label_smoothing
            )
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            losses.append(loss.detach() if self.tricks else loss.item())
        return sum(float(loss) for loss in losses) / len(losses)

    @torch.inference_mode()
    def error(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Return the test error in percent."""
        self.model.eval()
        correct = total = 0
        for images, labels in batches:
            predicted = self.model(images.to(DEVICE, memory_format=self.format)).argmax(1).cpu()
            correct += int((predicted == labels.cpu()).sum())
            total += len(labels)
        return 100 * (1 - correct / total)


def in_memory(images: Tensor, labels: Tensor, recipe: Recipe | None, mean: Tensor, std: Tensor, batch: int):  # type: ignore[no-untyped-def]
    """Yield batches of images on the device, augmented batch by batch; without a recipe, all images in order."""
    count = len(images)
    order = torch.arange(count, device=DEVICE) if recipe is None else torch.randperm(count, device=DEVICE)
    for start in range(0, count if recipe is None else count - batch + 1, batch):
        chosen = order[start : start + batch]
        selected = images[chosen]
        if recipe is not None and recipe.crop_padding:
            pad, size = recipe.crop_padding, selected.shape[2]
            top, left = torch.randint(2 * pad + 1, (2,)).tolist()
            selected = functional.pad(selected, (pad,) * 4)
            selected = selected[:, :, top : top + size, left : left + size]  # one crop position per batch
        if recipe is not None and recipe.flip:
            flips = torch.rand(len(selected), 1, 1, 1, device=DEVICE) < 0.5
            selected = torch.where(flips, selected.flip(3), selected)
        yield (selected.float().div_(255) - mean) / std, labels[chosen]


def train(network: Network, recipe: Recipe, images: data.ImageData, seed: int = 0, *, tricks: bool) -> dict[str, Any]:
    """Train one network, and return its id, test error and training time."""
    start = time.perf_counter()
    arrays = (images.train_images, images.train_labels, images.test_images, images.test_labels)
    x, y, test_x, test_y = (torch.tensor(array) for array in arrays)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (images.mean, images.std))
    trial = Trial(network, recipe, len(x) // recipe.batch_size, seed, tricks=tricks)
    if tricks:
        x, y, test_x, test_y, mean, std = (value.to(DEVICE) for value in (x, y, test_x, test_y, mean, std))
        for _ in range(recipe.epochs):
            trial.epoch(in_memory(x, y, recipe, mean, std, recipe.batch_size))
            error = trial.error(in_memory(test_x, test_y, None, mean, std, 250 if DEVICE.type == "cpu" else 1000))
    else:
        # On a CPU, loader processes take cores from training (measured: slower); a GPU waits for the host without them.
        workers = 0 if DEVICE.type == "cpu" else min(8, CORES)
        options = {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": DEVICE.type == "cuda"}
        torch.backends.cudnn.benchmark = True
        loader = DataLoader(Images(x, y, recipe, mean, std), recipe.batch_size, shuffle=True, drop_last=True, **options)
        tests = DataLoader(Images(test_x, test_y, None, mean, std), 250, **options)
        for _ in range(recipe.epochs):
            trial.epoch(iter(loader))
            error = trial.error(iter(tests))
    return {"id": network.id, "error": error, "train_s": round(time.perf_counter() - start, 3)}


@functools.cache
def _read(path: str) -> tuple[RunFolder, Recipe, data.ImageData]:
    """Return a run, its recipe and its images, read once per process."""
    run = RunFolder(Path(path))
    plan = run.plan()
    recipe = plan.recipe if plan else Recipe()
    return run, recipe, data.load(recipe.data, None, recipe.train_images, recipe.test_images)


def _train_in_worker(task: tuple[str, int]) -> str:
    """Train one network of a run in a process with one thread."""
    torch.set_num_threads(1)
    run, recipe, images = _read(task[0])
    return json.dumps(train(run.population()[task[1]], recipe, images, tricks=True))


def main() -> None:
    """Train all networks of a run."""
    path, method = sys.argv[1:]
    population = RunFolder(Path(path)).population()
    if method == "tricks" and DEVICE.type == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"
        with multiprocessing.get_context("spawn").Pool(CORES) as pool:
            for line in pool.imap_unordered(_train_in_worker, [(path, row) for row in range(len(population))]):
                print(line, flush=True)
        return
    _, recipe, images = _read(path)
    for row in range(len(population)):
        print(json.dumps(train(population[row], recipe, images, tricks=method == "tricks")), flush=True)


if __name__ == "__main__":
    main()
