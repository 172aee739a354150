"""The built-in metrics and losses against scikit-learn, and trainings with other labels than one class per image."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from own_objective import Focal, Recall
from sklearn import metrics
from torch import nn

from designspace.support.errors import InputError
from designspace.training import DeviceData, Interrupted, train, train_model
from designspace.training.losses import loss_of, resized
from designspace.training.scoring import scoring_of
from designspace.training.shard import ALONE
from designspace.trials.metric import METRICS
from designspace.trials.recipe import Recipe

CPU = torch.device("cpu")
K = 7


def device_data(train_labels, test_labels, num_classes=K, name="made up"):
    """Return random images with some labels."""
    generator = torch.Generator().manual_seed(0)
    train_images, test_images = (
        torch.randint(0, 256, (len(labels), 3, 8, 8), generator=generator, dtype=torch.uint8)
        for labels in (train_labels, test_labels)
    )
    scale = torch.full((3, 1, 1), 100.0)
    return DeviceData(name, num_classes, train_images, train_labels, test_images, test_labels, scale, scale)


def labels_of(target, count=60):
    """Return labels of a kind."""
    random = torch.Generator().manual_seed(1)
    if target == "class":
        return torch.randint(0, K - 1, (count,), generator=random)  # the last class does not occur
    if target == "multilabel":
        labels = torch.randint(0, 2, (count, K), generator=random, dtype=torch.uint8)
        labels[:, 2] = 0  # a class that no image has
        return labels
    if target == "regression":
        return torch.randn((count, K), generator=random)
    labels = torch.randint(0, K - 1, (count, 6, 5), generator=random)
    labels[:, 0] = 255  # no class
    return labels


def of_classes(logits, labels):
    """Return scikit-learn's values of the metrics of classes."""
    guesses = logits.argmax(1)
    return {
        "top1_error": 100 * (1 - metrics.accuracy_score(labels, guesses)),
        "top5_error": 100 * (1 - metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(K))),
        "balanced_error": 100 * (1 - metrics.recall_score(labels, guesses, labels=range(K - 1), average="macro")),
        "cross_entropy": metrics.log_loss(labels, np.exp(logits) / np.exp(logits).sum(1)[:, None], labels=range(K)),
    }


def expected_value(metric, logits, labels):
    """Return the value of a metric by another implementation."""
    logits, labels = logits.double().numpy(), labels.numpy()
    if METRICS[metric].target == "class":
        return of_classes(logits, labels)[metric]
    if metric == "mean_absolute_error":
        return metrics.mean_absolute_error(labels, logits)
    if metric == "miou":
        is_class = labels < K
        guesses = logits.argmax(1)[is_class]
        return 100 * metrics.jaccard_score(labels[is_class], guesses, labels=range(K), average="macro")
    precisions = []
    for values, truth in zip(logits.T, labels.T, strict=True):
        if truth.any():
            hits = truth[np.argsort(-values)]
            precisions.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits == 1].mean())
    return 100 * np.mean(precisions)


@pytest.mark.parametrize("metric", METRICS)
def test_a_built_in_metric_has_the_value_of_another_implementation(metric):
    target = METRICS[metric].target
    labels = labels_of(target)
    shape = (len(labels), K, *labels.shape[1:]) if target == "dense" else (len(labels), K)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    loss = {"multilabel": "binary_cross_entropy", "regression": "mean_squared_error"}.get(target, "cross_entropy")
    scoring = scoring_of(Recipe(data="made up", metric=metric, loss=loss), device_data(labels, labels))
    score = scoring.begin(K, CPU)
    for part in (slice(0, 25), slice(25, 26), slice(26, 60)):
        score.add(logits[part], labels[part])
    value = score.value(len(labels), ALONE)
    assert value == pytest.approx(expected_value(metric, logits, labels), rel=1e-6)
    scoring.metric.check("value", value)


@pytest.mark.parametrize(
    ("metric", "loss", "guess"),
    [
        ("top1_error", "cross_entropy", 100 * 6 / 7),
        ("top5_error", "cross_entropy", 100 * 2 / 7),
        ("balanced_error", "cross_entropy", 100 * 6 / 7),
        ("cross_entropy", "cross_entropy", math.log(7)),
        ("mean_absolute_error", "mean_absolute_error", None),
        ("mean_average_precision", "binary_cross_entropy", None),
        ("miou", "cross_entropy", 100 / 13),
    ],
)
def test_the_value_of_guessing_is_that_of_guesses(metric, loss, guess):
    """It is the value of uniform guesses for many images with equally frequent classes, or of the mean label."""
    target = METRICS[metric].target
    random = torch.Generator().manual_seed(3)
    count = 20_000 if target != "dense" else 400
    labels = labels_of(target, count)
    if target in ("class", "dense"):
        labels = torch.randint(0, K, labels.shape, generator=random)
    scoring = scoring_of(Recipe(data="made up", metric=metric, loss=loss), device_data(labels[: count // 2], labels))
    shape = (count, K, *labels.shape[1:]) if target == "dense" else (count, K)
    logits = torch.randn(shape, generator=random)
    if metric == "cross_entropy":
        logits = torch.zeros(shape)
    if target == "regression":
        logits = labels[: count // 2].mean(0).expand(shape)
    score = scoring.begin(K, CPU)
    score.add(logits, labels)
    assert score.value(count, ALONE) == pytest.approx(scoring.metric.guess, rel=0.02)
    if guess is not None:
        assert scoring.metric.guess == pytest.approx(guess)


@pytest.mark.parametrize(
    ("loss", "target", "reference"),
    [
        ("binary_cross_entropy", "multilabel", nn.BCEWithLogitsLoss()),
        ("mean_absolute_error", "regression", nn.L1Loss()),
        ("mean_squared_error", "regression", nn.MSELoss()),
        ("cross_entropy", "dense", nn.CrossEntropyLoss(ignore_index=255)),
        ("own_objective:Focal", "class", Focal()),
    ],
)
def test_a_loss_has_the_value_of_torch(loss, target, reference):
    labels = labels_of(target)
    logits = torch.randn((60, K, 6, 5) if target == "dense" else (60, K), generator=torch.Generator().manual_seed(4))
    expected = reference(logits, labels.float() if target == "multilabel" else labels)
    torch.testing.assert_close(loss_of(Recipe(loss=loss), CPU)(logits, labels), expected)


def test_logits_of_pixels_are_resized_to_the_labels():
    logits = torch.randn(2, K, 3, 4)
    assert resized(logits, torch.zeros(2, 12, 16, dtype=torch.int64)).shape == (2, K, 12, 16)
    assert resized(logits, torch.zeros(2, 3, 4, dtype=torch.int64)) is logits
    flat = torch.randn(2, K)
    assert resized(flat, torch.zeros(2, dtype=torch.int64)) is flat


class Small(nn.Module):
    """A network with one output of K values per image, or per four pixels."""

    def __init__(self, dense=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, K, 3, 2, 1)
        self.dense = dense

    def forward(self, images):
        maps = self.conv(images)
        return maps if self.dense else maps.mean((2, 3))


@pytest.mark.parametrize(
    ("target", "loss", "metric"),
    [
        ("class", "cross_entropy", "balanced_error"),
        ("multilabel", "binary_cross_entropy", "mean_average_precision"),
        ("regression", "mean_absolute_error", "mean_absolute_error"),
        ("dense", "cross_entropy", "miou"),
    ],
)
def test_any_module_is_trained_for_any_labels(target, loss, metric):
    labels = labels_of(target)
    if target == "dense":
        labels = labels.repeat(1, 2, 2)[:, :8, :8]
    recipe = Recipe(
        data="made up", loss=loss, metric=metric, epochs=3, batch_size=20, lr=0.05, flip=False, precision="float32"
    )
    histories = []
    images = device_data(labels, labels)
    result = train_model(Small(target == "dense"), recipe, images, on_epoch=histories.append)
    history = histories[-1]
    assert [record.train_error for record in history] == [None] * 3
    assert history[-1].train_loss < history[0].train_loss
    values = [record.test_error for record in history]
    assert result.final_error == values[-1]
    assert result.best_error == (max(values) if METRICS[metric].direction == "higher" else min(values))


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        (
            "multilabel",
            {},
            "recipe.loss=cross_entropy does not fit made up, whose labels are several classes per image: "
            "choose recipe.loss=binary_cross_entropy and recipe.metric=mean_average_precision",
        ),
        (
            "regression",
            {},
            "choose recipe.loss=mean_absolute_error or mean_squared_error and recipe.metric=mean_absolute_error",
        ),
        ("dense", {}, "recipe.metric=top1_error does not fit made up, whose labels are one class per pixel"),
        ("class", {"metric": "miou"}, "recipe.metric=miou does not fit made up, whose labels are one class per image"),
        ("class", {"loss": "mean_squared_error"}, "recipe.loss=mean_squared_error does not fit made up"),
    ],
)
def test_a_loss_or_metric_for_other_labels_is_an_error(target, changes, message):
    recipe = Recipe(data="made up", **changes)
    with pytest.raises(InputError, match=message):
        train_model(Small(), recipe, device_data(labels_of(target), labels_of(target)))


def test_top_5_needs_six_classes():
    labels = torch.arange(60) % 5
    with pytest.raises(InputError, match="metric=top5_error needs 6 classes or more, but made up has 5"):
        scoring_of(Recipe(data="made up", metric="top5_error"), device_data(labels, labels, 5))


@pytest.mark.parametrize("changes", [{"label_smoothing": 0.1}, {"mixup": 0.2}])
def test_smoothed_and_mixed_labels_are_for_cross_entropy(changes):
    with pytest.raises(InputError, match="is for loss=cross_entropy, not for own_objective:Focal"):
        Recipe(loss="own_objective:Focal", **changes)


def test_names_of_losses_and_metrics_are_checked():
    with pytest.raises(InputError, match="unknown metric 'top_1'.*choose from.*or your own as package.module:name"):
        Recipe(metric="top_1")
    with pytest.raises(InputError, match="unknown loss 'focal'"):
        Recipe(loss="focal")
    with pytest.raises(InputError, match="recipe.loss must be package.module:name"):
        Recipe(loss="mine:")


def test_a_resumed_training_with_an_own_loss_and_metric_is_the_same_bit_for_bit(network, recipe, data, tmp_path):
    recipe = dataclasses.replace(
        recipe, label_smoothing=0.0, loss="own_objective:Focal", metric="own_objective:recall", heldout_images=9
    )

    def run(checkpoint, stop_after=None):
        histories = []
        stop = (lambda: len(histories) == stop_after) if stop_after else None
        options = {"on_epoch": histories.append, "should_stop": stop}
        try:
            result = train(network, recipe, data, checkpoint=checkpoint, **options)
        except Interrupted:
            return None
        return [dataclasses.replace(record, wall_s=0.0) for record in histories[-1]], result

    history, result = run(tmp_path / "whole.pt")
    assert run(tmp_path / "parts.pt", stop_after=2) is None
    resumed, resumed_result = run(tmp_path / "parts.pt")
    assert resumed == history
    assert result.best_error == resumed_result.best_error == max(record.test_error for record in history)
    assert 0 <= result.heldout_error <= 1
    plain, _ = run_default(network, recipe, data)
    assert [record.train_loss for record in plain] != [record.train_loss for record in history]


def run_default(network, recipe, data):
    """Train with the default loss and metric."""
    histories = []
    plain = dataclasses.replace(recipe, loss="cross_entropy", metric="top1_error")
    return (histories[-1] if train(network, plain, data, on_epoch=histories.append) else None), None


def test_an_own_metric_sees_the_logits_and_labels_of_all_images(data):
    logits, labels = torch.randn(33, 3), torch.from_numpy(data.test_labels)
    scoring = scoring_of(Recipe(data="stripes", metric="own_objective:Recall"), DeviceData.of(data))
    assert (scoring.metric.name, scoring.metric.guess, scoring.metric.direction) == ("macro recall", 1 / 3, "higher")
    score = scoring.begin(3, CPU)
    for part in (slice(0, 20), slice(20, 33)):
        score.add(logits[part], labels[part])
    assert score.value(33, ALONE) == pytest.approx(float(Recall()(logits, labels)))
