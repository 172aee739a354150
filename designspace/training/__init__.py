"""Training of a network with a recipe on a data set, which yields a `TrialResult`."""

from designspace.training.device_data import DeviceData
from designspace.training.distributed import train_on_devices
from designspace.training.evaluation import evaluate
from designspace.training.failures import Diverged, Interrupted, RankCrashed, failure_of
from designspace.training.loop import train, train_model
from designspace.training.network import train_network

__all__ = [
    "DeviceData",
    "Diverged",
    "Interrupted",
    "RankCrashed",
    "evaluate",
    "failure_of",
    "train",
    "train_model",
    "train_network",
    "train_on_devices",
]
