import json
import os
import signal
import subprocess
import sys
import time

import pytest
from full_disks import no_file_larger_than

from designspace.support.errors import RunError
from designspace.trials import claims

TAKE = (
    "import sys, pathlib; from designspace.trials import claims; "
    "print(bool(claims.take(pathlib.Path(sys.argv[1])))); sys.stdout.flush(); sys.stdin.read()"
)


def racer(folder):
    """Start a process that tries to take a claim, prints whether it succeeded, and waits until its input ends."""
    return subprocess.Popen([sys.executable, "-c", TAKE, str(folder)], stdin=-1, stdout=-1, text=True)


@pytest.fixture
def elsewhere(tmp_path):
    """Path of a claim of another machine."""
    claim = claims.take(tmp_path)
    owner = {**json.loads(claim.path.read_text()), "machine": "another", "host": "elsewhere", "pid": 1}
    claim.path.write_text(json.dumps(owner))
    return claim.path


def test_a_claim_has_one_owner_at_a_time(tmp_path):
    claim = claims.take(tmp_path)
    assert claim.is_ours()
    assert claims.take(tmp_path) is None
    assert claims.current(tmp_path).owner == claim.owner
    claim.release()
    assert claims.current(tmp_path) is None
    assert claims.take(tmp_path).previous_owner is None


def test_one_of_many_processes_gets_the_claim(tmp_path):
    racers = [racer(tmp_path) for _ in range(6)]
    results = [process.stdout.readline().strip() for process in racers]
    for process in racers:
        process.communicate()
    assert sorted(results) == 5 * ["False"] + ["True"]
    assert not claims.current(tmp_path).is_fresh  # its process has exited
    later = claims.take(tmp_path)
    assert later.previous_owner.pid in {process.pid for process in racers}
    assert later.path.name == "claim.2.json"
    later.release()
    assert list(tmp_path.iterdir()) == []


def test_one_of_many_processes_takes_over_from_a_dead_one(tmp_path):
    for _ in range(5):
        first = racer(tmp_path)
        assert first.stdout.readline().strip() == "True"
        first.kill()
        first.communicate()
        racers = [racer(tmp_path) for _ in range(4)]
        assert sorted(process.stdout.readline().strip() for process in racers) == 3 * ["False"] + ["True"]
        for process in racers:
            process.communicate()


def test_a_claim_of_another_machine_is_respected_while_it_changes(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 0.3)
    watch = claims.Watch()
    for skew in (-7200, 7200):
        for beat in range(8):
            os.utime(elsewhere, (time.time() + skew + beat, time.time() + skew + beat))
            assert not watch.is_abandoned(watch.observe(tmp_path))
            time.sleep(0.1)
        assert watch.was_seen_alive(tmp_path)
    assert claims.take(tmp_path) is None


def test_a_claim_that_does_not_change_for_a_lease_is_abandoned(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 0.3)
    os.utime(elsewhere, (0, 0))
    watch = claims.Watch()
    assert not watch.is_abandoned(watch.observe(tmp_path))  # although it looks old: clocks are not compared
    time.sleep(0.4)
    observed = watch.observe(tmp_path)
    assert watch.is_abandoned(observed)
    assert not watch.was_seen_alive(tmp_path)
    assert claims.take(tmp_path) is None  # the key of the abandoned claim is required
    claim = claims.take(tmp_path, observed.key)
    assert claim.previous_owner.host == "elsewhere"
    assert claims.take(tmp_path, observed.key) is None  # the key of the old claim is not that of the new one
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["claim.1.json", "claim.2.json"]


def test_a_suspended_owner_notices_that_it_lost_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 0.3)
    claim = claims.take(tmp_path)
    watch = claims.Watch()
    watch.observe(tmp_path)
    time.sleep(0.4)
    other = claims.take(tmp_path, watch.observe(tmp_path).key)
    assert not claim.is_ours()
    assert not claim.beat()
    assert other.beat()
    claim.release()  # removes nothing, since the claim was lost
    assert other.is_ours()


def test_a_trial_that_was_released_and_claimed_again_is_not_taken_over(tmp_path, monkeypatch):
    """The claim that a slow observer has seen may have changed when it acts."""
    claim = claims.take(tmp_path)
    stale = claims.current(tmp_path)
    claim.release()
    fresh = claims.take(tmp_path)
    monkeypatch.setattr(claims, "current", lambda folder: stale)
    assert claims.take(tmp_path, stale.key) is None
    monkeypatch.undo()
    assert fresh.is_ours()
    assert [path.name for path in tmp_path.iterdir()] == ["claim.1.json"]


def test_a_stopped_process_keeps_its_claim(tmp_path):
    owner = racer(tmp_path)
    assert owner.stdout.readline().strip() == "True"
    owner.send_signal(signal.SIGSTOP)
    assert claims.take(tmp_path) is None
    owner.kill()
    owner.communicate()
    assert claims.take(tmp_path) is not None


def test_a_process_with_a_reused_pid_is_not_the_owner(tmp_path):
    claim = claims.take(tmp_path)
    owner = {**json.loads(claim.path.read_text()), "born": "1"}
    claim.path.write_text(json.dumps(owner))
    assert claims.current(tmp_path).owner.is_gone


def test_a_full_disk_leaves_no_claim_without_an_owner(tmp_path):
    with no_file_larger_than(16), pytest.raises(RunError, match=r"cannot write .*claim\.1\.json: File too large"):
        claims.take(tmp_path)
    assert claims.current(tmp_path) is None


def test_an_incomplete_claim_is_respected(tmp_path):
    """A process may read a claim between its creation and the writing of its content."""
    (tmp_path / "claim.1.json").touch()
    assert claims.current(tmp_path).owner is None
    assert claims.take(tmp_path) is None


def test_exclusive_waits_for_the_previous_owner(tmp_path):
    owner = racer(tmp_path)
    assert owner.stdout.readline().strip() == "True"
    owner.stdin.close()
    with claims.exclusive(tmp_path) as claim:
        assert claim.is_ours()
    owner.wait()
    owner.stdout.close()
    assert list(tmp_path.iterdir()) == []
