"""Tests of the processes that train together, without a training: their messages and how they end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from designspace.support.errors import InputError, RunError
from designspace.training.devices import check_devices
from designspace.training.ranks import AgreedStop, Ranks, from_environment, joined
from designspace.training.shard import Shard

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """Observations of two processes of `ranks`: gathered values, an error, the step of stopping, a lost connection."""
    folder = tmp_path_factory.mktemp("ranks")
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ranks", folder],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 1, process.stderr
    return [json.loads((folder / str(rank)).read_text()) for rank in range(2)]


def test_values_are_gathered_and_actions_run_once_per_process(observed):
    assert [of_rank[0] for of_rank in observed] == [[["value of 0", "value of 1"], [rank]] for rank in range(2)]


def test_rank_0_reports_the_error_of_another_rank(observed):
    assert [of_rank[1] for of_rank in observed] == [
        "InputError: rank 1: there is no such thing",
        "OtherRankFailed: another process of the training ended",
    ]


def test_all_stop_before_the_same_step(observed):
    assert [of_rank[2] for of_rank in observed] == [21, 21]


def test_a_rank_does_not_wait_for_one_that_has_ended(observed):
    assert observed[0][3:] in (["OtherRankFailed"], [])  # it may be terminated before it has written that
    assert observed[1][3:] == []


def test_ranks_are_read_from_the_environment():
    assert from_environment({}) is None
    assert from_environment({"RANK": "0"}) is None
    assert from_environment({**ENVIRONMENT, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == Ranks()
    ranks = from_environment(ENVIRONMENT)
    assert ranks == Ranks(3, 8, 1)
    assert ranks.shard == Shard(3, 8)
    with pytest.raises(InputError, match="lacks LOCAL_RANK, MASTER_PORT; start with torchrun"):
        from_environment({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"})
    with pytest.raises(InputError, match="must be numbers"):
        from_environment({**ENVIRONMENT, "RANK": "first"})
    with pytest.raises(InputError, match="RANK=9, WORLD_SIZE=8, LOCAL_RANK=1"):
        from_environment({**ENVIRONMENT, "RANK": "9"})


def test_a_single_process_needs_no_others():
    ranks, stops = Ranks(), []
    assert ranks.gather("a") == ["a"]
    assert ranks.together(lambda: 5) == 5
    stop = AgreedStop(ranks, lambda: bool(stops))
    assert not stop()
    stops.append(1)
    assert stop()
    stop.wait()
    with joined("cpu") as (joined_ranks, device):
        assert (joined_ranks, device) == (ranks, torch.device("cpu"))

    def fail():
        raise PermissionError(13, "not allowed", "there")

    with pytest.raises(RunError, match=r"not allowed: 'there'"):
        ranks.together(fail)


def test_every_process_needs_a_device(monkeypatch):
    check_devices(64, "cpu")
    with pytest.raises(InputError, match="device=cuda:1 cannot be shared by 2 processes; choose cpu or cuda"):
        check_devices(2, "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(2, "cuda")
    with pytest.raises(InputError, match="4 GPUs were requested, but there are 2"):
        check_devices(4, "cuda")
