"""Processes that train together, without a training: what they tell each other and how they end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from designspace.support.errors import InputError, RunError
from designspace.training.devices import check_devices
from designspace.training.ranks import AgreedStop, Ranks, joined, of_environment
from designspace.training.shard import Shard

TESTS = Path(__file__).parents[1]
WHOLE = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.fixture(scope="module")
def saw(tmp_path_factory):
    """What two processes of `ranks` saw: what was gathered, refused, where they stopped, how one lost the other."""
    folder = tmp_path_factory.mktemp("ranks")
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ranks", folder],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return [json.loads((folder / str(rank)).read_text()) for rank in range(2)]


def test_words_and_what_is_done_once_first(saw):
    assert [one[0] for one in saw] == [[["text of 0", "text of 1"], [rank]] for rank in range(2)]


def test_what_one_is_refused_the_first_says(saw):
    assert [one[1] for one in saw] == [
        "InputError: rank 1: there is no such thing",
        "OtherRankFailed: another process of the training ended",
    ]


def test_all_stop_before_the_same_step(saw):
    assert [one[2] for one in saw] == [21, 21]


def test_nobody_waits_for_the_dead(saw):
    assert saw[0][3:] in (["OtherRankFailed"], [])  # it may be told to end before it has written that
    assert saw[1][3:] == []


def test_the_environment_says_who_this_is():
    assert of_environment({}) is None
    assert of_environment({"RANK": "0"}) is None
    assert of_environment({**WHOLE, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == Ranks()
    ranks = of_environment(WHOLE)
    assert ranks == Ranks(3, 8, 1)
    assert ranks.shard == Shard(3, 8)
    with pytest.raises(InputError, match="lacks LOCAL_RANK, MASTER_PORT; start with torchrun"):
        of_environment({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"})
    with pytest.raises(InputError, match="must be numbers"):
        of_environment({**WHOLE, "RANK": "first"})
    with pytest.raises(InputError, match="RANK=9, WORLD_SIZE=8, LOCAL_RANK=1"):
        of_environment({**WHOLE, "RANK": "9"})


def test_a_single_process_asks_itself():
    ranks, asked = Ranks(), []
    assert ranks.gather("a") == ["a"]
    assert ranks.together(lambda: 5) == 5
    stop = AgreedStop(ranks, lambda: bool(asked))
    assert not stop()
    asked.append(1)
    assert stop()
    stop.wait()
    with joined("cpu") as (found, device):
        assert (found, device) == (ranks, torch.device("cpu"))

    def fail():
        raise PermissionError(13, "not allowed", "there")

    with pytest.raises(RunError, match=r"not allowed: 'there'"):
        ranks.together(fail)


def test_there_must_be_a_device_for_each(monkeypatch):
    check_devices(64, "cpu")
    with pytest.raises(InputError, match="device=cuda:1 cannot be shared by 2 processes; choose cpu or cuda"):
        check_devices(2, "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(2, "cuda")
    with pytest.raises(InputError, match="4 GPUs were asked for, but there are 2"):
        check_devices(4, "cuda")
