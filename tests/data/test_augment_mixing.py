import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional

from designspace.data.augment import Augmentation
from designspace.data.augment.mixing import draw_weight, mixup
from designspace.trials.recipe import Recipe


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=12, channels=3):
    images = torch.randn(count, channels, 5, 4, generator=generator()).contiguous(memory_format=torch.channels_last)
    return images, torch.arange(count) % 5


@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_labels_are_mixed_with_the_same_weight(channels):
    images, labels = batch(channels=channels)
    before = images.clone()
    mixed, targets = mixup(images, labels, 5, 0.7, generator(1))
    assert torch.equal(images, before)
    assert mixed.stride() == images.stride()
    replay = generator(1)
    weight = draw_weight(0.7, replay).item()
    partners = torch.randperm(12, generator=replay)
    assert sorted(partners.tolist()) == list(range(12))
    for n, partner in enumerate(partners.tolist()):
        torch.testing.assert_close(mixed[n], weight * images[n] + (1 - weight) * images[partner])
        expected = torch.zeros(5)
        expected[labels[n]] += weight
        expected[labels[partner]] += 1 - weight
        torch.testing.assert_close(targets[n], expected)


@settings(deadline=None, max_examples=25)
@given(alpha=st.floats(0.05, 5), smoothing=st.floats(0, 0.5), seed=st.integers(0, 999))
def test_the_loss_is_that_of_the_paper(alpha, smoothing, seed):
    """It is the weighted mean of the smoothed losses with either label."""
    images, labels = batch()
    _, targets = mixup(images, labels, 5, alpha, generator(seed))
    replay = generator(seed)
    weight = draw_weight(alpha, replay).item()
    partner_labels = labels[torch.randperm(12, generator=replay)]
    logits = torch.randn(12, 5, generator=generator(seed + 1))
    loss = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    own_loss, partner_loss = (
        functional.cross_entropy(logits, classes, label_smoothing=smoothing) for classes in (labels, partner_labels)
    )
    torch.testing.assert_close(loss, weight * own_loss + (1 - weight) * partner_loss)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 3.0])
def test_weights_have_the_beta_distribution(alpha):
    source = generator(3)
    weights = [draw_weight(alpha, source).item() for _ in range(1000)]
    assert stats.kstest(weights, "beta", (alpha, alpha)).pvalue > 0.01


def test_weights_are_finite_for_a_tiny_alpha():
    source = generator()
    weights = torch.stack([draw_weight(1e-4, source) for _ in range(50)])
    assert weights.isfinite().all()
    assert ((weights < 1e-6) | (weights > 1 - 1e-6)).float().mean() > 0.9


def test_images_are_mixed_only_if_the_recipe_has_mixup():
    images, labels = batch()
    mean = torch.zeros(3, 1, 1)
    plain = Augmentation.of(Recipe(), mean, mean + 1, 5)
    source = generator()
    state = source.get_state()
    same, unchanged = plain.mix(images, labels, 5, source)
    assert same is images
    assert unchanged is labels
    assert torch.equal(source.get_state(), state)
    mixing = Augmentation.of(Recipe(mixup=0.2), mean, mean + 1, 5)
    first, second = (mixing.mix(images, labels, 5, generator(4)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], mixing.mix(images, labels, 5, generator(5))[0])
