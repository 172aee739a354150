"""The recipe by which networks are trained: an immutable value that is checked when it is created."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from designspace.support.checks import make_plain, number, text, whole
from designspace.support.errors import InputError, suggest
from designspace.support.imported import check_import_name, is_import_name
from designspace.trials.metric import DEFAULT_METRIC, LOSSES, METRICS

POLICIES = (None, "autoaugment", "randaugment")
OPTIMISERS = ("sgd", "adamw")
PRECISIONS = ("float32", "bfloat16", "float16")
_RATES = ("dropout", "drop_path", "drop_block", "ema_decay", "beta2")  # 0 to below 1
_PARTS = ("crop_area", "colour_jitter", "lighting", "erasing")  # 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Recipe that trains every network of a run. The defaults are the papers' 10-epoch sweep on a small data set.

    Args:
        data: name of the data set.
        train_images: train on this many images, the same for every trial; None for all.
        test_images: measure the error on this many test images, the same for every trial; None for all.
        epochs: number of passes over the training images.
        batch_size: images per step, on all devices together.
        lr: peak learning rate, for this batch size; it is never scaled.
        momentum: momentum of stochastic gradient descent, 0 for none; for AdamW its first beta.
        nesterov: whether to use Nesterov momentum; AdamW has none.
        weight_decay: weight decay of convolution and linear weights, not of batch-norm and biases.
        warmup_epochs: epochs of linear warm-up before the half-period cosine.
        label_smoothing: fraction of each label's probability that is spread over all classes.
        zero_init_residual: start with blocks that add nothing to their shortcut (arXiv 1706.02677, section 5.1).
        flip: flip each training image horizontally with probability 1/2.
        crop_padding: pad training images by this many pixels and crop them back at a random position.
        crop_area: smallest fraction of an image's area that a random resized crop takes (0.08 is usual on ImageNet); 1
            for no such crop.
        crop_size: side of the training images after the crop, in pixels; None for that of the data set.
        test_size: side of the central crop of the test images, in pixels; None for ``crop_size``.
        colour_jitter: change brightness, contrast and saturation by factors that differ from 1 by up to this much.
        lighting: standard deviation of noise along the principal components of ImageNet's colours (AlexNet; 0.1 is
            usual).
        policy: ``autoaugment`` (arXiv 1805.09501, ImageNet's policy), ``randaugment`` (arXiv 1909.13719), or None.
        randaugment_ops: operations per image, N in the paper.
        randaugment_magnitude: strength of the operations, M in the paper, 0 to 30.
        erasing: probability that a rectangle of an image is erased (arXiv 1708.04896).
        mixup: alpha of mixup (arXiv 1710.09412), which mixes pairs of images and labels with weights from Beta(alpha,
            alpha); 0 for none.
        dropout: rate of dropout before the classifier.
        drop_path: rate of stochastic depth in the last block; it rises linearly over the blocks before.
        drop_block: rate of DropBlock in the last two stages.
        ema_decay: decay of an exponential moving average of the weights, to which each step contributes
            1 - ``ema_decay``, and with which the errors are measured; 0 for none.
        heldout_images: number of training images to hold out, the same for every trial. The error on them may be used
            to choose networks, epochs and recipes; the error on the test images may not.
        precision: ``float32``, or ``bfloat16`` or ``float16`` for what torch's autocast runs in them.
        accumulate: process each batch in this many parts, one after the other, to save memory. Batch-norm sees a part.
        sync_norm: whether batch-norm sees the parts of a batch on all devices; on GPUs only (see `check_device`).
        trainer: your own training function, as ``package.module:function``, which is called like
            `designspace.training.train`; None for that one.
        devices: number of devices that share each batch. Batch-norm sees the part of one device, so this changes the
            results (the papers trained on 8 GPUs with batches of 1024).
        layer_decay: learning rate of the stem, and of each stage, relative to that of the part after it; the head has
            the full rate. Below 1 for fine-tuning, where early layers should change less.
        frozen_stages: parts that are not trained, and whose batch-norms keep their statistics: 1 for the stem, 2 also
            for the first stage, and so on. For fine-tuning.
        optimiser: ``sgd``, or ``adamw`` (arXiv 1711.05101), which needs learning rates of about 0.001 and a weight
            decay of about 0.05.
        beta2: second beta of AdamW: decay of the average of squared gradients.
        loss: loss of the training: ``cross_entropy``, ``binary_cross_entropy`` (several classes per image),
            ``mean_absolute_error`` or ``mean_squared_error`` (numbers), or your own as ``package.module:name`` (see
            `designspace.training.losses`).
        metric: what the networks are measured by: ``top1_error``, another one of `designspace.trials.metric.METRICS`,
            or your own as ``package.module:name`` (see `designspace.training.scoring`).

    Raises:
        InputError: a value is out of range, or values are not compatible.

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
    layer_decay: float = 1.0
    frozen_stages: int = 0
    optimiser: str = "sgd"
    beta2: float = 0.999
    loss: str = "cross_entropy"
    metric: str = DEFAULT_METRIC

    def __repr__(self) -> str:
        """Return the recipe with the fields that differ from their defaults."""
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
            ("frozen_stages", 0),
        )
        for name, low in (*whole_numbers, ("randaugment_ops", 1), ("devices", 1)):
            whole(f"recipe: {name}", getattr(self, name), low)
        for name in ("train_images", "test_images", "crop_size", "test_size"):
            if getattr(self, name) is not None:
                whole(f"recipe: {name}", getattr(self, name), 1)
        text("recipe: data", self.data)
        for name in ("trainer", "policy", "precision", "optimiser", "loss", "metric"):
            if getattr(self, name) is not None:
                text(f"recipe: {name}", getattr(self, name))
        if self.trainer is not None:
            check_import_name("recipe.trainer", self.trainer)
        for name, built_in in (("loss", LOSSES), ("metric", METRICS)):
            if is_import_name(getattr(self, name)):
                check_import_name(f"recipe.{name}", getattr(self, name))
            elif getattr(self, name) not in built_in:
                hint = f"{suggest(getattr(self, name), built_in)}, or your own as package.module:name"
                raise InputError(f"recipe: unknown {name} {getattr(self, name)!r}; {hint}")
        for name in ("lr", "momentum", "weight_decay", "warmup_epochs", "label_smoothing", "mixup", *_RATES, *_PARTS):
            number(f"recipe: {name}", getattr(self, name), 0)
        number("recipe: randaugment_magnitude", self.randaugment_magnitude, 0)
        number("recipe: layer_decay", self.layer_decay, 0, 1)
        for name in ("nesterov", "zero_init_residual", "flip", "sync_norm"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"recipe: {name} must be true or false, not {getattr(self, name)!r}")
        for name in ("momentum", "label_smoothing", *_RATES):
            if getattr(self, name) >= 1:
                raise InputError(f"recipe: {name} must be below 1, not {getattr(self, name)!r}")
        for name in _PARTS:
            if getattr(self, name) > 1:
                raise InputError(f"recipe: {name} must be at most 1, not {getattr(self, name)!r}")
        for name, allowed in (("policy", POLICIES), ("precision", PRECISIONS), ("optimiser", OPTIMISERS)):
            if getattr(self, name) not in allowed:
                choices = ", ".join("null" if choice is None else choice for choice in allowed)
                raise InputError(f"recipe: {name} must be one of {choices}, not {getattr(self, name)!r}")
        self._check_together()

    def _check_together(self) -> None:
        """Raise unless the fields are compatible."""
        if self.warmup_epochs > self.epochs:
            raise InputError(f"recipe: warmup_epochs {self.warmup_epochs:g} is more than epochs {self.epochs}")
        if self.batch_size % (self.devices * self.accumulate):
            by = f"devices {self.devices}" + f" times accumulate {self.accumulate}" * (self.accumulate > 1)
            raise InputError(f"recipe: batch_size {self.batch_size} is not divisible by {by}")
        if self.optimiser == "sgd" and self.nesterov and not self.momentum:
            raise InputError("recipe: nesterov needs a momentum above 0")
        for name in ("label_smoothing", "mixup"):
            if getattr(self, name) and self.loss != "cross_entropy":
                raise InputError(
                    f"recipe: {name} {getattr(self, name):g} is for loss=cross_entropy, not for {self.loss}: choose "
                    f"recipe.{name}=0"
                )
        if not self.layer_decay:
            raise InputError("recipe: layer_decay must be above 0; frozen_stages chooses parts that are not trained")
        if not self.crop_area:
            raise InputError("recipe: crop_area must be above 0, and 1 for no random resized crop")
        if self.randaugment_magnitude > 30:
            raise InputError(f"recipe: randaugment_magnitude must be 0 to 30, not {self.randaugment_magnitude!r}")

    def check_device(self, kind: str) -> None:
        """Raise unless devices of a kind (``cpu`` or ``cuda``) can train with this recipe.

        Raises:
            InputError: several devices that are not GPUs synchronise batch-norm, which torch supports on GPUs only.
        """
        if self.sync_norm and self.devices > 1 and kind != "cuda" and self.trainer is None:
            raise InputError(
                f"recipe: sync_norm=true with devices={self.devices} needs GPUs, not {kind} devices; choose GPUs, "
                "recipe.sync_norm=false (batch-norm sees the part of one device) or recipe.devices=1"
            )

    @property
    def imported_options(self) -> dict[str, str]:
        """The options whose values are names of the user's own objects, such as ``recipe.trainer``."""
        options = {"recipe.trainer": self.trainer, "recipe.loss": self.loss, "recipe.metric": self.metric}
        return {option: name for option, name in options.items() if name is not None and is_import_name(name)}

    @property
    def imported_names(self) -> tuple[str, ...]:
        """Names of the user's own objects that the training imports, such as ``mine:train``."""
        return tuple(self.imported_options.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, in order, as plain values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some fields.

        Raises:
            InputError: a field is unknown, or a value is out of range.
        """
        known = [field.name for field in dataclasses.fields(Recipe)]
        for name in fields:
            if name not in known:
                raise InputError(f"recipe: unknown option {name!r}; {suggest(name, known)}")
        return Recipe(**fields)
