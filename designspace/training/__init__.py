"""Training: a network, a recipe and a data set in, a `TrialResult` out."""

from designspace.training.device_data import DeviceData
from designspace.training.failures import Diverged, Interrupted, failure_of
from designspace.training.loop import evaluate, train, train_model

__all__ = ["DeviceData", "Diverged", "Interrupted", "evaluate", "failure_of", "train", "train_model"]
