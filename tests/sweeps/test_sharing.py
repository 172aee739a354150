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
    """A stand-in for the service's control program: no GPU is here. It notes what it is told."""

    def make(code=0):
        path = tmp_path / "nvidia-cuda-mps-control"
        path.write_text(SCRIPT % code)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
        return tmp_path / "nvidia-cuda-mps-control.log"

    return make


def test_the_service_runs_as_long_as_the_workers_do(service):
    said = service()
    with shared_gpus(TWO) as environment:
        folder = environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(folder).is_dir()
        assert said.read_text() == f"-d {folder} unset \n"
    assert said.read_text().endswith(f" {folder} unset quit\n")
    assert not Path(folder).exists()


@pytest.mark.parametrize("slots", [[Slot("cpu"), Slot("cpu")], [Slot("cuda", (0,)), Slot("cuda", (1,))]])
def test_who_shares_no_gpu_needs_no_service(service, slots):
    said = service()
    with shared_gpus(slots) as environment:
        assert environment == {}
    assert not said.exists()


@pytest.mark.parametrize("variable", ["CUDA_MPS_PIPE_DIRECTORY", "DESIGNSPACE_MPS"])
def test_a_service_of_the_users_own_is_left_alone_and_so_is_who_wants_none(service, variable, monkeypatch):
    said = service()
    monkeypatch.setenv(variable, "0")
    with shared_gpus(TWO) as environment:
        assert environment == {}
    assert not said.exists()


def test_where_the_service_does_not_start_workers_take_turns(service, caplog):
    service(code=1)
    with shared_gpus(TWO) as environment:
        assert environment == {}
    assert "take turns" in caplog.text
