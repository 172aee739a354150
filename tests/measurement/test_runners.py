"""Devices and precisions on which networks run."""

import pytest
import torch
from small import SIDE, network

from designspace.measurement import Session, measure
from designspace.measurement.runners import OnnxRunner, open_runner
from designspace.spaces.costs import Setting
from designspace.support.errors import InputError

ONE = Setting("cpu", 1, threads=1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_torch_runs_batches_on_cpus(precision):
    runner = open_runner(network(8), Setting("cpu", 4, precision, 1), SIDE)
    runs = runner.run(3)
    assert len(runs.ms) == 3
    assert min(runs.ms) > 0
    assert runs.mj is None
    assert runner._images.shape == (4, 3, SIDE, SIDE)
    assert runner._images.dtype == getattr(torch, precision)


def test_onnxruntime_runs_the_exported_network():
    pytest.importorskip("onnxruntime")
    runner = open_runner(network(8, depth=1), Setting("onnxruntime", 2, threads=1), SIDE)
    assert isinstance(runner, OnnxRunner)
    runs = runner.run(3)
    assert len(runs.ms) == 3
    assert min(runs.ms) > 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting("onnxruntime", 1, "float16", 1), "measures float32 only, not float16; choose cpu or cuda"),
        (Setting("cpu", 1, threads=0), "at least one thread"),
    ],
)
def test_what_a_device_cannot_do_is_an_error(setting, message):
    with pytest.raises(InputError, match=message):
        Session(setting, SIDE)


def test_a_precision_that_torch_lacks_is_an_error(monkeypatch):
    def refuse(*_):
        raise RuntimeError('"conv" not implemented for Half\nmore')

    monkeypatch.setattr("designspace.measurement.session.open_runner", refuse)
    with pytest.raises(InputError, match='cpu, 1 thread, batch 1, float16 does not work here: "conv" not implemented'):
        Session(Setting("cpu", 1, "float16", 1), SIDE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
def test_a_missing_gpu_is_an_error():
    with pytest.raises(InputError, match="no GPU on this machine; choose cpu or onnxruntime"):
        Session(Setting("cuda", 1), SIDE)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_gpu_is_timed_by_events(precision):
    setting = Setting("cuda", 2, precision)
    measured = measure([network(8), network(64)], setting, SIDE, rounds=5)
    latencies = [cost for cost in measured.costs if cost.quantity == "latency"]
    assert len(latencies) == 2
    assert all(cost.machine == torch.cuda.get_device_name() for cost in latencies)
    assert all(0 < cost.median < 1000 for cost in measured.costs)
