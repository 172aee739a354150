import pytest
import torch

from designspace.support.errors import RunError
from designspace.training import Diverged, Interrupted, failure_of
from designspace.trials.trial import TrialFailure


def test_running_out_of_host_memory_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    failure = failure_of(caught.value, 3)
    assert failure.reason == "out of memory"
    assert failure.epochs == 3
    assert "\n" not in failure.detail


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (Diverged("the training loss of epoch 2 is nan"), ("diverged", "the training loss of epoch 2 is nan")),
        (MemoryError(), ("out of memory", "MemoryError")),
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory.\nmore"),
            ("out of memory", "OutOfMemoryError: CUDA out of memory."),
        ),
        (RuntimeError("a size does not match\nC++ stack"), ("error", "RuntimeError: a size does not match")),
        (RunError("cannot write x: no space"), ("error", "RunError: cannot write x: no space")),
        (KeyError(), ("error", "KeyError")),
    ],
)
def test_exceptions_give_the_expected_failures(exception, expected):
    assert failure_of(exception, 1) == TrialFailure(*expected, epochs=1)


def test_an_interruption_is_not_an_exception():
    assert not issubclass(Interrupted, Exception)
