"""A user's own losses and metrics, good and bad, which tests import by name."""

import torch
from torch import nn
from torch.nn import functional


class Focal(nn.Module):
    """The focal loss with gamma 2 (arXiv 1708.02002, equation 4)."""

    def forward(self, logits, labels):
        logarithms = functional.log_softmax(logits, 1).gather(1, labels[:, None])
        return -((1 - logarithms.exp()) ** 2 * logarithms).mean()


class Recall:
    """The mean recall over classes, from 0 to 1."""

    name, unit, direction, low, high = "macro recall", "", "higher", 0, 1

    def guess(self, num_classes):
        return 1 / num_classes

    def __call__(self, logits, labels):
        guesses = logits.argmax(1)
        return torch.stack([(guesses[labels == label] == label).float().mean() for label in labels.unique()]).mean()


recall = Recall()


def _metric(call, **attributes):
    return type(
        "Own", (), {"name": "own", "unit": "%", "direction": "lower", "guess": 1.0, **attributes, "__call__": call}
    )()


nan = _metric(lambda self, logits, labels: float("nan"))
two = _metric(lambda self, logits, labels: (1.0, 2.0))
two_in_a_tensor = _metric(lambda self, logits, labels: torch.ones(2))
nothing = _metric(lambda self, logits, labels: None)
of_three = _metric(lambda self, logits, labels, more: 1.0)
out_of_range = _metric(lambda self, logits, labels: 2.0, high=1.5)
sideways = _metric(lambda self, logits, labels: 1.0, direction="up")
no_guess = _metric(lambda self, logits, labels: 1.0, guess=float("nan"))
broken_guess = _metric(lambda self, logits, labels: 1.0, guess=lambda self, num_classes: 1 / 0)
number = 3


def bare(logits, labels):
    """A function, which has no name, unit, direction or guess as a metric needs them."""
    return 1.0


def per_image(logits, labels):
    return functional.cross_entropy(logits, labels, reduction="none")


def detached(logits, labels):
    return functional.cross_entropy(logits.detach(), labels)


def infinite(logits, labels):
    return logits.sum() * float("inf")


def python_number(logits, labels):
    return 1.0
