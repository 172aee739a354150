"""Custom trainers that return invalid results: the trial fails with the reason, and the worker continues."""

import math
import re
import sys

import numpy as np
import pytest

from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError
from designspace.training import Diverged
from designspace.training.into_folder import train_into
from designspace.training.trainer import trainer_of
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, Trial, TrialFailure, TrialResult
from designspace.trials.trial_folder import TrialFolder

TRIAL = Trial(Network(Stem("cifar", 8), (Stage(1, 8, 1, 1, 4),)), Recipe(epochs=2, trainer="mine:train"))
GOOD = {"final_error": 10.0, "best_error": 9.0, "epochs": 2, "train_s": 2.0, "device": "cpu"}


def train_trial(folder, train):
    return train_into(folder, TRIAL, train, lambda history: None, lambda: False)


@pytest.fixture
def folder(tmp_path):
    with TrialFolder(tmp_path / "trial").claimed():
        yield TrialFolder(tmp_path / "trial")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None, not a TrialResult"),
        (math.nan, "returned nan, not a TrialResult"),
        ({"final_error": 10.0}, r"returned \{'final_error': 10.0\}, not a TrialResult"),
        ("x" * 10_000_000, r"returned 'xxx.*\.\.\., not a TrialResult"),
        ({"epochs": 1}, "returned a result after 1 epochs, but the recipe has 2"),
    ],
)
def test_an_invalid_result_is_a_failure_with_the_reason(folder, returned, message):
    if isinstance(returned, dict) and "returned {" not in message.replace("\\", ""):
        returned = TrialResult(**{**GOOD, **returned})
    failure = train_trial(folder, lambda *arguments, **options: returned)
    assert isinstance(failure, TrialFailure)
    assert failure.reason == "error"
    assert re.search(f"^trainer mine:train {message}", failure.detail)
    assert len(failure.detail) < 300
    assert folder.state().status == "running"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"final_error": math.nan}, "final_error must be a number, not nan"),
        ({"best_error": -math.inf}, "best_error must be a number, not -inf"),
        ({"final_error": -1.0}, "returned final_error -1.0, which must be a finite number from 0 to 100"),
        ({"final_error": 100.5}, "returned final_error 100.5, which must be a finite number from 0 to 100"),
        ({"final_error": "10"}, "final_error must be a number, not '10'"),
        ({"final_error": None}, "final_error must be a number, not None"),
        ({"final_error": True}, "final_error must be a number, not True"),
        ({"heldout_error": math.nan}, "heldout_error must be a number, not nan"),
        ({"train_s": math.inf}, "train_s must be a number >= 0, not inf"),
        ({"epochs": 2.5}, "epochs must be a whole number >= 0, not 2.5"),
        ({"memory_bytes": "much"}, "memory_bytes must be a whole number"),
    ],
)
def test_a_result_that_cannot_be_constructed_is_a_failure_with_the_reason(folder, fields, message):
    failure = train_trial(folder, lambda *arguments, **options: TrialResult(**{**GOOD, **fields}))
    assert isinstance(failure, TrialFailure)
    assert failure.reason == "error"
    assert message in failure.detail


def test_numbers_of_numpy_are_accepted(folder):
    numbers = {"final_error": np.float32(12.5), "best_error": np.float64(12.25), "epochs": np.int64(2)}
    result = train_trial(folder, lambda *arguments, **options: TrialResult(**{**GOOD, **numbers}))
    assert result == TrialResult(12.5, 12.25, 2, 2.0, "cpu")
    assert folder.state().result == result


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ((EpochRecord(1, 0.1, 2.0, 50.0, math.nan, 0.1),), "reported test_error nan"),
        ((), r"reported \(\), not a tuple of EpochRecord"),
        (None, "reported None, not a tuple of EpochRecord"),
        ([{"epoch": 1}], r"reported \{'epoch': 1\}, not an EpochRecord"),
    ],
)
def test_invalid_epochs_are_a_failure(folder, history, message):
    failure = train_trial(folder, lambda *arguments, on_epoch, **options: on_epoch(history))
    assert re.search(f"^trainer mine:train {message}", failure.detail)
    assert folder.read_history() == ()


@pytest.mark.parametrize(
    "raised", [SystemExit(3), GeneratorExit(), BaseException("no"), type("Own", (BaseException,), {})()]
)
def test_any_exception_of_a_trainer_is_a_failure(folder, raised):
    def train(*arguments, **options):
        raise raised

    failure = train_trial(folder, train)
    assert failure.detail.startswith(f"the trainer raised {type(raised).__name__}")
    assert "Traceback" in folder.log.read_text()


class WithoutText(Exception):
    """An exception that cannot be converted to text."""

    def __str__(self):
        raise ValueError


@pytest.mark.parametrize("raised", [ValueError("x" * 10_000_000), WithoutText(), Diverged("x" * 10_000)])
def test_exceptions_without_text_or_with_very_long_text_are_failures(folder, raised):
    def train(*arguments, **options):
        raise raised

    failure = train_trial(folder, train)
    assert type(raised).__name__ in failure.detail or failure.reason == "diverged"
    assert len(failure.detail) <= 1000


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def other(): ...", "has no attribute 'train'"),
        ("raise ValueError('no')", "ValueError: no"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def train(:", "SyntaxError"),
        ("train = 3", "is 3, not a function"),
    ],
)
def test_a_trainer_that_cannot_be_imported_is_an_input_error(tmp_path, monkeypatch, code, message):
    (tmp_path / "broken_trainer.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_trainer", raising=False)
    with pytest.raises(InputError, match=f"recipe.trainer: broken_trainer:train .*{message}"):
        trainer_of(Recipe(trainer="broken_trainer:train"), "cpu")
