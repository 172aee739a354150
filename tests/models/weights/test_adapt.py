"""Published weights in models with other numbers of classes or channels."""

import dataclasses
import logging

import pytest
import torch

from designspace.models import AnyNet
from designspace.models.weights import adapt_weights
from designspace.networks import catalog
from designspace.support.errors import InputError

NAMES = ("regnetx_200mf", "resnest14")  # a plain and a deep stem


def model(name, **sizes):
    return AnyNet(dataclasses.replace(catalog.get(name), **sizes), seed=1).eval()


def adapt(name, **sizes):
    """Return a model with published sizes, one with other sizes and its adapted weights, and the keys left out."""
    source = AnyNet(catalog.get(name), seed=0).eval()
    target = model(name, **sizes)
    state = adapt_weights(
        source.state_dict(), num_classes=target.network.num_classes, in_channels=target.network.in_channels
    )
    return source, target, target.load_state_dict(state, strict=False)


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes_change_nothing_and_log_nothing(name, caplog):
    source, target, keys = adapt(name)
    assert keys.missing_keys == keys.unexpected_keys == []
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())
    assert not caplog.records


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_classes_keeps_the_new_classifier(name, caplog):
    _, target, keys = adapt(name, num_classes=10)
    assert keys.missing_keys == ["head.classifier.weight", "head.classifier.bias"]
    assert keys.unexpected_keys == []
    fresh = model(name, num_classes=10)
    assert torch.equal(target.head.classifier.weight, fresh.head.classifier.weight)
    [record] = caplog.records
    assert record.name.startswith("designspace.")
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "the classifier is new and must be trained: the weights are for 1000 classes, the model has 10"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_grey_image_gives_the_output_of_three_equal_channels(name, caplog):
    source, target, _ = adapt(name, in_channels=1)
    grey = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(target(grey), source(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    assert [record.getMessage() for record in caplog.records] == [
        "the weights of red, green and blue are summed for one channel"
    ]


def test_other_channels_repeat_the_three_at_the_same_scale(caplog):
    source, target, _ = adapt("regnetx_200mf", in_channels=6)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(target(image.repeat(1, 2, 1, 1)), source(image), rtol=1e-4, atol=1e-5)
    stem = adapt_weights(source.state_dict(), num_classes=1000, in_channels=4)["stem.conv.weight"]
    assert torch.equal(stem[:, 3], source.stem.conv.weight[:, 0] * 0.75)
    assert "repeated in turn for 6 channels" in caplog.text


def test_the_given_state_dict_is_not_modified():
    state = AnyNet(catalog.get("regnetx_200mf")).state_dict()
    before = {key: value.clone() for key, value in state.items()}
    adapt_weights(state, num_classes=2, in_channels=5)
    assert state.keys() == before.keys()
    assert all(torch.equal(state[key], before[key]) for key in before)


def test_impossible_sizes_are_errors():
    state = adapt_weights(AnyNet(catalog.get("regnetx_200mf")).state_dict(), num_classes=1000, in_channels=2)
    with pytest.raises(InputError, match="weights for 2 channels cannot be adapted to 3"):
        adapt_weights(state, num_classes=1000, in_channels=3)
    with pytest.raises(InputError, match="num_classes must be a whole number >= 0, not -1"):
        adapt_weights(state, num_classes=-1, in_channels=3)
    with pytest.raises(InputError, match="in_channels must be a whole number >= 1, not 0"):
        adapt_weights(state, num_classes=1, in_channels=0)
