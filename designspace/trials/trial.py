"""What is asked of a network, and what happened: frozen values, no torch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designspace.networks.network import Network
from designspace.support.checks import flag, make_plain, mapping, number, text, whole
from designspace.support.errors import InputError, suggest, unknown

POLICIES = (None, "autoaugment", "randaugment")
PRECISIONS = ("float32", "bfloat16", "float16")
_RATES = ("dropout", "drop_path", "drop_block", "ema_decay")  # 0 to below 1
_PARTS = ("crop_area", "colour_jitter", "lighting", "erasing")  # 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How every network of a run is trained. The defaults are the papers' 10-epoch sweep on a small data set.

    Args:
        data: name of the data set.
        train_images: train on this many images, the same for every trial; None for all.
        test_images: measure the error on this many test images, the same for every trial; None for all.
        epochs: times that the training images are gone through.
        batch_size: images per step, on all devices together.
        lr: learning rate at its highest, for the batch size above (it is not scaled).
        momentum: of stochastic gradient descent; 0 for none.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: on convolution and linear weights; never on batch-norm or biases.
        warmup_epochs: epochs of linear warm-up before the half-period cosine.
        label_smoothing: part of each label's probability that is spread over all classes.
        zero_init_residual: begin with blocks that add nothing to their shortcut (arXiv 1706.02677, section 5.1).
        flip: flip training images from left to right, each with probability 1/2.
        crop_padding: pad training images by this many pixels and crop them back at a random place.
        crop_area: least part of an image's area that a random resized crop takes (0.08 is usual on ImageNet); 1: no
            such crop.
        crop_size: side of the training images after the crop, in pixels; None for the data set's own.
        test_size: side of the centre of the test images that is used, in pixels; None for ``crop_size``.
        colour_jitter: change brightness, contrast and saturation by factors that differ from 1 by up to this much.
        lighting: standard deviation of noise along the principal components of ImageNet's colours (AlexNet; 0.1 is
            usual).
        policy: ``autoaugment`` (arXiv 1805.09501, ImageNet's policy), ``randaugment`` (arXiv 1909.13719), or None.
        randaugment_ops: operations an image, N in the paper.
        randaugment_magnitude: strength of them, M in the paper, 0 to 30.
        erasing: probability that a rectangle of an image is erased (arXiv 1708.04896).
        mixup: alpha of mixup (arXiv 1710.09412): mix pairs of images and labels by weights of Beta(alpha, alpha); 0:
            none.
        dropout: rate of dropout before the classifier.
        drop_path: rate of stochastic depth in the last block; in those before it is smaller in proportion.
        drop_block: rate of DropBlock in the last two stages.
        ema_decay: keep an exponential moving average of the weights, of which each step takes in 1 - ``ema_decay``, and
            measure the errors with it; 0: none.
        heldout_images: train on this many images fewer, the same for every trial, and measure the error on them too: an
            error that may choose among networks, epochs and recipes, where the test images must not.
        precision: ``float32``, or ``bfloat16`` or ``float16`` for what torch's autocast computes in them.
        accumulate: take each batch in this many parts, one after the other, to save memory. Batch-norm sees a part.
        sync_norm: let batch-norm see all devices' parts of a batch together; on GPUs only (see `check_device`).
        trainer: your own training function, as ``package.module:function``, called as `designspace.training.train` is;
            None for that one.
        devices: devices that share each batch. Batch-norm sees its device's part, so this is a part of what is asked
            (the papers trained on 8 GPUs with batches of 1024).

    Raises:
        InputError: a value is out of range, or values do not fit each other.

    >>> Recipe(epochs=1, lr=0.2)
    Recipe(epochs=1, lr=0.2)
    """

    data: str = "fashion_mnist"
    train_images: int | None = None
    test_images: int | None = None
    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-5
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    zero_init_residual: bool = False
    flip: bool = True
    crop_padding: int = 0
    crop_area: float = 1.0
    crop_size: int | None = None
    test_size: int | None = None
    colour_jitter: float = 0.0
    lighting: float = 0.0
    policy: str | None = None
    randaugment_ops: int = 2
    randaugment_magnitude: float = 9.0
    erasing: float = 0.0
    mixup: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    drop_block: float = 0.0
    ema_decay: float = 0.0
    heldout_images: int = 0
    precision: str = "float32"
    accumulate: int = 1
    sync_norm: bool = False
    trainer: str | None = None
    devices: int = 1

    def __repr__(self) -> str:
        """Name the fields that differ from their defaults."""
        changed = (f"{f.name}={v!r}" for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default)
        return f"Recipe({', '.join(changed)})"

    def __post_init__(self) -> None:
        make_plain(self)
        whole_numbers = (
            ("epochs", 1),
            ("batch_size", 1),
            ("crop_padding", 0),
            ("heldout_images", 0),
            ("accumulate", 1),
        )
        for name, low in (*whole_numbers, ("randaugment_ops", 1), ("devices", 1)):
            whole(f"recipe: {name}", getattr(self, name), low)
        for name in ("train_images", "test_images", "crop_size", "test_size"):
            if getattr(self, name) is not None:
                whole(f"recipe: {name}", getattr(self, name), 1)
        text("recipe: data", self.data)
        for name in ("trainer", "policy", "precision"):
            if getattr(self, name) is not None:
                text(f"recipe: {name}", getattr(self, name))
        if self.trainer is not None and not re.fullmatch(r"[\w.]+:\w+", self.trainer):
            raise InputError(f"recipe: trainer must be package.module:function, not {self.trainer!r}")
        for name in ("lr", "momentum", "weight_decay", "warmup_epochs", "label_smoothing", "mixup", *_RATES, *_PARTS):
            number(f"recipe: {name}", getattr(self, name), 0)
        number("recipe: randaugment_magnitude", self.randaugment_magnitude, 0)
        for name in ("nesterov", "zero_init_residual", "flip", "sync_norm"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"recipe: {name} must be true or false, not {getattr(self, name)!r}")
        for name in ("momentum", "label_smoothing", *_RATES):
            if getattr(self, name) >= 1:
                raise InputError(f"recipe: {name} must be below 1, not {getattr(self, name)!r}")
        for name in _PARTS:
            if getattr(self, name) > 1:
                raise InputError(f"recipe: {name} must be at most 1, not {getattr(self, name)!r}")
        for name, allowed in (("policy", POLICIES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                choices = ", ".join("null" if choice is None else choice for choice in allowed)
                raise InputError(f"recipe: {name} must be one of {choices}, not {getattr(self, name)!r}")
        self._check_together()

    def _check_together(self) -> None:
        """Raise unless the fields fit each other."""
        if self.warmup_epochs > self.epochs:
            raise InputError(f"recipe: warmup_epochs {self.warmup_epochs:g} is more than epochs {self.epochs}")
        if self.batch_size % (self.devices * self.accumulate):
            by = f"devices {self.devices}" + f" times accumulate {self.accumulate}" * (self.accumulate > 1)
            raise InputError(f"recipe: batch_size {self.batch_size} is not divisible by {by}")
        if self.nesterov and not self.momentum:
            raise InputError("recipe: nesterov needs a momentum above 0")
        if not self.crop_area:
            raise InputError("recipe: crop_area must be above 0, and 1 for no random resized crop")
        if self.randaugment_magnitude > 30:
            raise InputError(f"recipe: randaugment_magnitude must be 0 to 30, not {self.randaugment_magnitude!r}")

    def check_device(self, kind: str) -> None:
        """Raise unless devices of a kind (``cpu`` or ``cuda``) can train by this recipe.

        Raises:
            InputError: several devices that are not GPUs share batch-norm, which torch has for GPUs only.
        """
        if self.sync_norm and self.devices > 1 and kind != "cuda" and self.trainer is None:
            raise InputError(
                f"recipe: sync_norm=true with devices={self.devices} needs GPUs, not {kind} devices; choose GPUs, "
                "recipe.sync_norm=false (batch-norm sees the part of one device) or recipe.devices=1"
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields, in order, as plain values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Recipe:
        """The recipe with those fields.

        Raises:
            InputError: a field that no recipe has, or a value out of range.
        """
        known = [field.name for field in dataclasses.fields(Recipe)]
        for name in fields:
            if name not in known:
                raise InputError(f"recipe: unknown option {name!r}; {suggest(name, known)}")
        return Recipe(**fields)


FIRST_WEIGHTS = "first weights"
"""How a trial says that it begins with weights that are drawn at random."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training, decided before it starts: all that its numbers depend on."""

    network: Network
    recipe: Recipe
    seed: int = 0
    weights: str = FIRST_WEIGHTS
    """With which weights it begins, in words."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("seed", self.seed, 0)

    @property
    def id(self) -> str:
        """The id of the network: within a run folder, recipe and first seed are one for all trials."""
        return self.network.id

    @property
    def fingerprint(self) -> str:
        """12 hex digits that name the trial (see `fingerprint_of`)."""
        return fingerprint_of(self.id, self.recipe, self.seed, self.weights)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "id": self.id,
            "network": json.loads(self.network.to_json()),
            "weights": self.weights,
            "seed": self.seed,
            "recipe": self.recipe.to_dict(),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Trial:
        """Return the trial that `to_dict` gave, perhaps in an earlier version.

        Raises:
            InputError: it does not describe a trial.
        """
        known = mapping("trial", fields, needed=["network", "recipe", "seed"])
        recipe = Recipe.from_dict(mapping("recipe", known["recipe"]))
        weights = text("weights", known.get("weights", FIRST_WEIGHTS))
        return Trial(Network.from_dict(mapping("network", known["network"])), recipe, known["seed"], weights)

    def differences(self, held: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return in what this trial differs from one that `to_dict` described: name -> (there, here).

        Networks are compared by their ids.
        """
        theirs = {"weights": FIRST_WEIGHTS, **held, "network": held.get("id")}
        ours = {"network": self.id, "weights": self.weights, "seed": self.seed, "recipe": self.recipe.to_dict()}
        return differences(theirs, ours)


def differences(held: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values asked for that differ from those that were written down: name -> (there, here).

    The fields of the recipe are compared one by one. A field that recipes did not have when it was written had the
    value that is its default now.

    >>> differences({"seed": 0, "recipe": {"lr": 0.1}}, {"seed": 1, "recipe": Recipe(lr=0.2).to_dict()})
    {'seed': (0, 1), 'recipe.lr': (0.1, 0.2)}
    """
    pairs = {name: (held.get(name), value) for name, value in asked.items() if name != "recipe"}
    recipe = held.get("recipe")
    written = {**Recipe().to_dict(), **(recipe if isinstance(recipe, Mapping) else {})}
    pairs |= {f"recipe.{name}": (value, asked["recipe"].get(name)) for name, value in written.items()}
    return {name: (there, here) for name, (there, here) in pairs.items() if there != here}


def fingerprint_of(id_: str, recipe: Recipe, seed: int, weights: str = FIRST_WEIGHTS) -> str:
    """Return 12 hex digits that name a trial by its network, recipe, seed and weights; they stand in its result.

    A result that was copied from another run counts only where the trial is the same. Defaults are left out, so that a
    field added to `Recipe` later changes no fingerprint.
    """
    words = f"{id_} {_plan_text(recipe, seed)}" + (f" {weights}" if weights != FIRST_WEIGHTS else "")
    return hashlib.sha256(words.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=8)
def _plan_text(recipe: Recipe, seed: int) -> str:
    """Recipe and seed as text, without defaults."""
    values = {field.name: (getattr(recipe, field.name), field.default) for field in dataclasses.fields(recipe)}
    told = {name: value for name, (value, default) in values.items() if value != default}
    # 1 and 1.0 are the same learning rate.
    plain = {name: float(value) if isinstance(value, int | float) else value for name, value in told.items()}
    return json.dumps([plain, seed], sort_keys=True)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch did. Errors are per cent, top-1."""

    epoch: int
    """From 1."""
    lr: float
    """Learning rate at the end of the epoch."""
    train_loss: float
    train_error: float
    test_error: float
    wall_s: float
    """Seconds that the epoch took, evaluation included."""
    heldout_error: float | None = None
    """On the images that the recipe holds out of training; None where it holds none."""

    def __post_init__(self) -> None:
        make_plain(self)
        whole("epoch", self.epoch, 1)
        limits: dict[str, tuple[float | None, float | None]] = {
            "train_loss": (None, None),
            "lr": (0, None),
            "wall_s": (0, None),
            "train_error": (0, 100),
            "test_error": (0, 100),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not (isinstance(value, float) and math.isnan(value)):  # other programs do not tell all of them
                number(name, value, low, high)
        if self.heldout_error is not None:
            number("heldout_error", self.heldout_error, 0, 100)

    def in_words(self, epochs: int) -> str:
        """Say in one line what the epoch did; ``epochs`` is how many there are to be."""
        heldout = "" if self.heldout_error is None else f"held-out error {self.heldout_error:.2f}%, "
        errors = f"train error {self.train_error:.2f}%, {heldout}test error {self.test_error:.2f}%"
        return f"epoch {self.epoch}/{epochs}: loss {self.train_loss:.4f}, {errors}, {self.wall_s:.1f} s"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A trial that ran to its end."""

    final_error: float
    """Per cent, top-1, after the last epoch. This is the error that figures show."""
    best_error: float
    """The least over the epochs. It chooses among epochs on the test images, so it flatters."""
    epochs: int
    train_s: float
    """Seconds of all epochs together, those before an interruption included."""
    device: str
    memory_bytes: int | None = dataclasses.field(default=None, compare=False)
    """Memory that the training needed at its highest (since it was last gone on with), beyond images and libraries;
    None where it was not measured. It says nothing of whether two results are the same."""
    heldout_error: float | None = None
    """After the last epoch, on the images that the recipe held out of training; None where it held none."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("final_error", "best_error"):
            number(name, getattr(self, name), 0, 100)
        if self.heldout_error is not None:
            number("heldout_error", self.heldout_error, 0, 100)
        whole("epochs", self.epochs, 0)
        number("train_s", self.train_s, 0)
        text("device", self.device)
        if self.memory_bytes is not None:
            whole("memory_bytes", self.memory_bytes, 0, 2**63 - 1)

    @property
    def selection_error(self) -> float:
        """The error that may choose among networks: on held-out images where there are any, else the final one."""
        return self.final_error if self.heldout_error is None else self.heldout_error

    @staticmethod
    def of_history(history: tuple[EpochRecord, ...], device: str, memory_bytes: int | None = None) -> TrialResult:
        """Sum up the epochs of a trial, at least one."""
        return TrialResult(
            final_error=history[-1].test_error,
            best_error=min(record.test_error for record in history),
            epochs=len(history),
            train_s=round(sum(record.wall_s for record in history), 3),
            device=device,
            memory_bytes=memory_bytes,
            heldout_error=history[-1].heldout_error,
        )


MAX_DETAIL = 100_000
"""Characters of what is told about a failure."""
DIVERGED = "diverged"
"""The only reason that lies in the network itself; the others are those of the machine or of the code."""
FAILURE_REASONS = (DIVERGED, "out of memory", "time limit", "worker died", "error")


@dataclass(frozen=True, slots=True)
class TrialFailure:
    """A trial that ended without a result. It stays a row of every table."""

    reason: str
    """One of `FAILURE_REASONS`."""
    detail: str
    """One line for a table: the exception's text, or what became of the worker."""
    epochs: int = 0
    """Epochs that it had completed."""

    def __post_init__(self) -> None:
        if text("reason of failure", self.reason) not in FAILURE_REASONS:
            raise unknown("failure reason", self.reason, FAILURE_REASONS)
        text("detail", self.detail, MAX_DETAIL)
        whole("epochs", self.epochs, 0)

    @property
    def has_diverged(self) -> bool:
        """Whether the network itself failed, so that it counts as one that guesses."""
        return self.reason == DIVERGED


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try at a trial that ended badly. What ends well, or is interrupted in good order, is none."""

    failure: TrialFailure
    host: str
    ended: float
    """Seconds since 1970."""
    outside: bool = False
    """Whether something outside seems to have ended it (kill -9, a lost machine), not the trial itself."""

    def __post_init__(self) -> None:
        text("host", self.host)
        number("ended", self.ended)
        flag("outside", self.outside)


KILLS_PER_RETRY = 10
"""So many ends from outside count as one end of the trial's own making."""


def is_hopeless(attempts: Sequence[Attempt], max_retries: int) -> bool:
    """Whether a trial has failed for good after these attempts, the last of which has just ended.

    Only attempts since the last completed epoch count: what makes progress is worth going on with. A trial that
    diverged would do so again.
    """
    last = attempts[-1].failure
    if last.has_diverged:
        return True
    stuck = [attempt for attempt in attempts if attempt.failure.epochs >= last.epochs]
    outside = sum(attempt.outside for attempt in stuck)
    return len(stuck) - outside + outside // KILLS_PER_RETRY > max_retries
