import os
import stat
from pathlib import Path

import pytest

from designspace.sweeps.process import Slot
from designspace.sweeps.sharing import shared_gpus

TWO = [Slot("cuda", (0,)), Slot("cuda", (0,))]
SCRIPT = """#!/bin/sh
echo "$* $CUDA_MPS_PIPE_DIRECTORY ${CUDA_VISIBLE_DEVICES-unset} $(cat)" >> "$0.log"
exit %d
"""


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Replace the control program of the service, which needs a GPU, by one that logs its input."""

    def make(code=0):
        path = tmp_path / "nvidia-cuda-mps-control"
        path.write_text(SCRIPT % code)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
        return tmp_path / "nvidia-cuda-mps-control.log"

    return make


def test_the_service_runs_as_long_as_the_workers(service):
    log = service()
    with shared_gpus(TWO) as environment:
        folder = environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(folder).is_dir()
        assert log.read_text() == f"-d {folder} unset \n"
    assert log.read_text().endswith(f" {folder} unset quit\n")
    assert not Path(folder).exists()


@pytest.mark.parametrize("slots", [[Slot("cpu"), Slot("cpu")], [Slot("cuda", (0,)), Slot("cuda", (1,))]])
def test_the_service_is_not_started_if_no_gpu_is_shared(service, slots):
    log = service()
    with shared_gpus(slots) as environment:
        assert environment == {}
    assert not log.exists()


@pytest.mark.parametrize("variable", ["CUDA_MPS_PIPE_DIRECTORY", "DESIGNSPACE_MPS"])
def test_an_environment_variable_prevents_the_start_of_the_service(service, variable, monkeypatch):
    log = service()
    monkeypatch.setenv(variable, "0")
    with shared_gpus(TWO) as environment:
        assert environment == {}
    assert not log.exists()


def test_workers_take_turns_if_the_service_does_not_start(service, caplog):
    service(code=1)
    with shared_gpus(TWO) as environment:
        assert environment == {}
    assert "take turns" in caplog.text
