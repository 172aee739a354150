import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from sweep_runs import CPU, RECIPE, SPACE, curves, launch, make_run, numbers, plan_faults, starts

from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.sweeps import snapshot
from designspace.sweeps.launch import check_fit, run_local
from designspace.sweeps.local import Pool, RetryPolicy
from designspace.sweeps.messages import Assignment, Settings, Task
from designspace.sweeps.progress import tasks_of
from designspace.sweeps.slots import worker_slots
from designspace.sweeps.status import run_status
from designspace.sweeps.worker import Worker
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe


@pytest.fixture(scope="module")
def undisturbed(once, data_root):
    def make(path):
        progress = launch(make_run(path), data_root)
        assert (progress.finished, progress.failed) == (4, 0)

    return RunFolder(once("undisturbed", make))


def test_every_trial_becomes_a_row(undisturbed):
    status = run_status(undisturbed)
    assert status.counts == {"done": 4, "failed": 0, "running": 0, "waiting": 0}
    assert status.left_s == 0
    gathered = undisturbed.gather()
    header, rows = gathered.header, gathered.rows
    for row in (dict(zip(header, row, strict=True)) for row in rows):
        assert row["status"] == "done"
        assert 0 < row["best_error"] <= row["final_error"] < 95
        assert row["epochs"] == 2
        history = undisturbed.trial(row["id"]).read_history()
        assert [record.epoch for record in history] == [1, 2]
        assert history[-1].test_error == row["final_error"]
    assert (undisturbed.path / "results.csv").read_text().count("\n") == 5


def test_one_worker_or_two_give_the_same_numbers(undisturbed, tmp_path, data_root):
    run = make_run(tmp_path / "one")
    launch(run, data_root, CPU[:1])
    assert numbers(run) == numbers(undisturbed)


def test_done_trials_are_not_trained_again(undisturbed, data_root):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.path.glob("trials/*/*")}
    assert tasks_of([undisturbed])[:2] == ([], 4)
    launch(undisturbed, data_root)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.path.glob("trials/*/*")} == before


TEMPORARY_FAULTS = [
    ("raise", 1, 1),
    ("segfault", 1, 1),
    ("kill", 0, 3),
    ("die while writing", 0, 1),
    ("die while writing", 1, 1),
    ("io error", 0, 1),
    ("io error", 1, 2),
    ("system exit", 1, 1),
    ("exit", 0, 2),
    ("exit quietly", 1, 1),
    ("memory", 1, 1),
]
"""Fault, epoch after which it occurs, and number of times. All are in one run, since workers take long to start."""


def test_temporary_failures_do_not_change_the_results(tmp_path, data_root, monkeypatch):
    reference = make_run(tmp_path / "reference", n=len(TEMPORARY_FAULTS) + 1)
    launch(reference, data_root)
    run = make_run(tmp_path / "run", n=len(TEMPORARY_FAULTS) + 1, trainer="faulty:train")
    faults = dict(zip(run.ids(), TEMPORARY_FAULTS, strict=False))
    planned = {id_: {"kind": kind, "epoch": epoch, "times": times} for id_, (kind, epoch, times) in faults.items()}
    plan_faults(tmp_path / "faults", planned, monkeypatch)
    progress = launch(run, data_root)
    assert (progress.finished, progress.failed) == (len(TEMPORARY_FAULTS) + 1, 0)
    assert numbers(run) == numbers(reference)
    assert curves(run) == curves(reference)
    times = {id_: faults[id_][2] if id_ in faults else 0 for id_ in run.ids()}
    assert {id_: len(run.trial(id_).attempts()) for id_ in run.ids()} == times
    assert starts(run) == {id_: 1 + times[id_] for id_ in run.ids()}


PERMANENT_FAULTS = [
    ("raise", 2, "error", "ValueError: on purpose"),
    ("diverge", 1, "diverged", "the loss is nan, on purpose"),
    ("io error", 2, "error", "checkpoint.pt: Input/output error"),
    ("segfault", 2, "worker died", "SIGSEGV"),
    ("kill", 4, "worker died", "SIGKILL"),
    ("memory", 2, "out of memory", "RuntimeError: "),
]
"""Fault, number of attempts, and reason and detail in the row of the trial."""


def test_trials_that_always_fail_have_rows_with_their_reasons(tmp_path, data_root, monkeypatch):
    monkeypatch.setattr("designspace.trials.trial.KILLS_PER_RETRY", 2)
    run = make_run(tmp_path / "run", n=len(PERMANENT_FAULTS) + 1, trainer="faulty:train")
    *failing, good = run.ids()
    planned = {
        id_: {"kind": kind, "epoch": 1, "times": -1} for id_, (kind, *_) in zip(failing, PERMANENT_FAULTS, strict=True)
    }
    plan_faults(tmp_path / "faults", planned, monkeypatch)
    assert launch(run, data_root, retry_policy=RetryPolicy(max_retries=1)).failed == len(PERMANENT_FAULTS)
    gathered = run.gather()
    for id_, row, (kind, attempts, reason, detail) in zip(failing, gathered.rows, PERMANENT_FAULTS, strict=False):
        failure = run.trial(id_).state().failure
        assert (failure.reason, failure.epochs) == (reason, 1), kind
        assert detail in failure.detail
        assert len(run.trial(id_).attempts()) == attempts, kind
        values = dict(zip(gathered.header, row, strict=True))
        assert (values["status"], values["reason"], values["final_error"]) == ("failed", reason, None)
    assert run_status(run).reasons == dict(Counter(reason for _, _, reason, _ in PERMANENT_FAULTS))
    alone = make_run(tmp_path / "alone", n=len(PERMANENT_FAULTS) + 1)
    launch_only(alone, data_root, good)
    assert numbers(run)[-1] == numbers(alone)[-1]
    assert launch(run, data_root).finished == len(PERMANENT_FAULTS) + 1  # and no trial is attempted again


def launch_only(run, root, key):
    """Train one trial of a run."""
    run_local([run], 2, CPU[:1], root, lambda progress: lambda: None, only={key})


def test_hanging_trials_are_ended_at_the_time_limit(undisturbed, tmp_path, data_root, monkeypatch):
    run = make_run(tmp_path / "run", n=3, trainer="faulty:train")
    always, once, _ = run.ids()
    planned = {
        always: {"kind": "hang", "epoch": 1, "times": -1},
        once: {"kind": "hang", "epoch": 0, "times": 1},
    }
    plan_faults(tmp_path / "faults", planned, monkeypatch)
    assert launch(run, data_root, retry_policy=RetryPolicy(max_retries=1, trial_timeout_s=10)).failed == 1
    failure = run.trial(always).state().failure
    assert (failure.reason, failure.epochs) == ("time limit", 1)
    assert "longer than trial_timeout_min allows" in failure.detail
    assert [len(run.trial(id_).attempts()) for id_ in run.ids()] == [2, 1, 0]
    assert run_status(run).reasons == {"time limit": 1}
    assert numbers(run)[1:] == numbers(undisturbed)[1:3]
    assert curves(run)[once] == curves(undisturbed)[once]
    assert starts(run) == dict(zip(run.ids(), (2, 2, 1), strict=True))


def test_a_full_disk_ends_the_launch_but_is_not_a_failed_attempt(undisturbed, tmp_path, data_root, monkeypatch):
    run = make_run(tmp_path / "run", trainer="faulty:train")
    first = run.ids()[0]
    plan_faults(tmp_path / "faults", {first: {"kind": "full disk", "epoch": 1, "times": 1}}, monkeypatch)
    with pytest.raises(RunError, match="cannot write .*: No space left on device"):
        launch(run, data_root)
    assert run.trial(first).attempts() == ()
    launch(run, data_root)
    assert numbers(run) == numbers(undisturbed)


def test_a_trial_fails_if_its_images_do_not_fit_on_the_device(tmp_path, data_root, monkeypatch):
    """If the worker exited instead, the trial would be attempted forever."""

    def load(*arguments):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("designspace.data.load", load)
    run = make_run(tmp_path / "run", n=1)
    events = []
    worker = Worker(Settings("cpu", str(data_root), max_retries=1), events.append)
    for _ in range(2):
        worker.run(Assignment(Task(str(run.path), run.ids()[0])))
    assert [event.kind for event in events] == ["retry", "failed"]
    assert run.states(run.ids())[0].failure.reason == "out of memory"
    assert claims.current(run.trial(run.ids()[0]).path) is None


@pytest.mark.parametrize(
    ("error", "usable", "spent"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True, False),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False, True),
        ("CUDA error: an illegal memory access was encountered", True, True),
    ],
)
def test_a_gpu_worker_continues_only_after_running_out_of_memory(
    tmp_path, data_root, monkeypatch, error, usable, spent
):
    def load(*arguments):
        raise RuntimeError(error)

    monkeypatch.setattr("designspace.data.load", load)
    monkeypatch.setattr("designspace.training.failures.release_memory", lambda: usable)
    run = make_run(tmp_path / "run", n=1)
    events = []
    worker = Worker(Settings("cuda", str(data_root), max_retries=0), events.append)
    worker.run(Assignment(Task(str(run.path), run.ids()[0])))
    assert worker.is_spent == spent
    assert [event.kind for event in events] == ["leaving"] * spent + ["failed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": "nowhere:train"}, "recipe.trainer: nowhere:train cannot be imported"),
        ({"data": "nowhere:load"}, "data: nowhere:load cannot be imported"),
        ({"loss": "nowhere:Loss"}, "recipe.loss: nowhere:Loss cannot be imported"),
    ],
)
def test_trials_say_which_module_is_missing(changes, message, tmp_path, data_root):
    run = make_run(tmp_path / "run", n=1, **changes)
    assert launch(run, data_root).failed == 1
    results = run.gather()
    [row] = results.rows
    assert row[results.header.index("reason")] == "error"
    assert message in row[results.header.index("detail")]


def signalled(run, root, sent, victim):
    """Run with one worker, and send a signal to a process of the pool after the first epoch of the first trial."""
    tasks, _, _ = tasks_of([run])
    pending = [sent]

    def on_event(task, event):
        if task == tasks[0] and event.kind == "epoch" and pending:
            os.kill(victim(pool).pid, pending.pop())

    pool = Pool(CPU[:1], root, [run.new_launch({})], snapshot.PACKAGE.parent, on_event)
    assert pool.run(tasks) == []


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_no_trial_fails_when_a_worker_is_killed_from_outside(sent, undisturbed, tmp_path, data_root):
    run = make_run(tmp_path / "ended")
    signalled(run, data_root, sent, lambda pool: pool._workers[0].process)
    assert numbers(run) == numbers(undisturbed)
    assert sum(len(run.trial(id_).attempts()) for id_ in run.ids()) == (sent == signal.SIGKILL)


def test_no_trial_fails_when_the_fork_server_is_killed(undisturbed, tmp_path, data_root):
    run = make_run(tmp_path / "ended")
    signalled(run, data_root, signal.SIGKILL, lambda pool: pool._server._process)
    assert numbers(run) == numbers(undisturbed)
    assert sum(starts(run).values()) == 5
    assert not any(run.trial(id_).attempts() for id_ in run.ids())


def test_killing_a_worker_that_does_not_stop_is_not_a_failed_attempt(undisturbed, tmp_path, data_root, monkeypatch):
    monkeypatch.setattr("designspace.sweeps.local.GRACE_S", 1.0)
    run = make_run(tmp_path / "run", trainer="faulty:train")
    first = run.ids()[0]
    plan_faults(tmp_path / "faults", {first: {"kind": "hang", "epoch": 1, "times": 1}}, monkeypatch)
    events = []

    def on_event(task, event):
        events.append(event.kind)
        if task.key == first and event.kind == "epoch":
            pool.ask_to_stop()

    pool = Pool(CPU[:1], data_root, [run.new_launch({})], snapshot.PACKAGE.parent, on_event)
    with pytest.raises(KeyboardInterrupt):
        pool.run(tasks_of([run])[0])
    assert run.states((first,))[0].claim is None
    assert launch(run, data_root, CPU[:1]).failed == 0
    assert numbers(run) == numbers(undisturbed)
    assert run.trial(first).attempts() == ()


def test_workers_that_cannot_start_give_one_message(tmp_path, data_root):
    run = make_run(tmp_path / "run", n=2)
    pool = Pool(CPU, data_root, [run.new_launch({})], tmp_path / "no code here", lambda task, event: None)
    broken = tmp_path / "no code here" / "designspace"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise SystemExit(7)")
    with pytest.raises(
        RunError, match=r"workers cannot start here \(exit code 7\); see the last lines of .*workers.log"
    ):
        pool.run(tasks_of([run])[0])


def test_an_error_in_one_trial_does_not_affect_other_trials(undisturbed, tmp_path, data_root):
    run = make_run(tmp_path / "raises")
    first, second, *_ = run.ids()
    # The checkpoint of another trial is refused.
    run.trial(first).path.mkdir(parents=True)
    run.trial(first).checkpoint.write_bytes(undisturbed.trial(second).checkpoint.read_bytes())
    assert launch(run, data_root, CPU[:1]).failed == 1
    states = run.states(run.ids())
    assert [state.status for state in states] == ["failed", "done", "done", "done"]
    assert states[0].failure.reason == "error"
    assert "Traceback" in run.trial(first).log.read_text()
    assert numbers(run)[1:] == numbers(undisturbed)[1:]


def test_trials_diverge_if_the_learning_rate_is_too_high(tmp_path, data_root):
    run = make_run(tmp_path / "diverged", n=2, lr=1e12)
    assert launch(run, data_root, CPU[:1]).failed == 2
    assert run_status(run).reasons == {"diverged": 2}


def test_a_trial_with_an_active_owner_is_left_to_it(tmp_path, data_root):
    run = make_run(tmp_path / "shared", n=2)
    first = run.trial(run.ids()[0])
    first.path.mkdir(parents=True)
    beat = (
        "import os, sys, time, pathlib; from designspace.trials import claims\n"
        "claim = claims.take(pathlib.Path(sys.argv[1]))\n"
        "while claim.beat(): time.sleep(0.2)"
    )
    owner = subprocess.Popen([sys.executable, "-c", beat, str(first.path)])
    try:
        while not claims.current(first.path):
            time.sleep(0.05)
        assert launch(run, data_root).left == 1
        assert [state.status for state in run.states(run.ids())] == ["running", "done"]
    finally:
        owner.kill()
        owner.wait()
    assert launch(run, data_root).left == 0  # its process has exited, so the trial is free immediately
    assert [len(run.trial(id_).attempts()) for id_ in run.ids()] == [1, 0]


def test_the_claim_of_a_lost_machine_is_taken_over_after_a_lease(undisturbed, tmp_path, data_root, monkeypatch):
    """Its clock may be off by an hour in either direction, since only changes count."""
    monkeypatch.setattr(claims, "LEASE_S", 3.0)
    run = make_run(tmp_path / "lost")
    for id_, skew in zip(run.ids(), (3600, -3600), strict=False):
        folder = run.trial(id_)
        folder.path.mkdir(parents=True)
        claim = claims.take(folder.path)
        claim.path.write_text(claim.path.read_text().replace(claims._machine(), "another machine"))
        os.utime(claim.path, (time.time() + skew, time.time() + skew))
    assert launch(run, data_root).left == 0
    assert numbers(run) == numbers(undisturbed)
    assert [len(run.trial(id_).attempts()) for id_ in run.ids()] == [1, 1, 0, 0]


def test_two_devices_train_a_trial_together(tmp_path, data_root):
    run = make_run(tmp_path / "run", n=1, devices=2)
    assert launch(run, data_root, worker_slots("cpu", 1, gpus_per_trial=2)).failed == 0
    result = run.states(run.ids())[0].result
    assert result.device == "2 x cpu"
    assert 0 < result.final_error < 95


def test_missing_data_end_the_launch_with_one_message(tmp_path):
    run = make_run(tmp_path / "nodata")
    with pytest.raises(RunError, match="unknown data set 'patterns'.*designspace.prepare data=folder"):
        launch(run, tmp_path / "empty")
    assert run_status(run).counts["waiting"] == 4


def test_a_run_continues_after_its_population_was_extended(undisturbed, tmp_path, data_root):
    run = make_run(tmp_path / "grown", n=2)
    launch(run, data_root, CPU[:1])
    run.create(SPACE.sample(4), {})
    assert len(tasks_of([run])[0]) == 2
    launch(run, data_root, CPU[:1])
    assert numbers(run) == numbers(undisturbed)


def test_images_that_do_not_fit_are_refused_before_the_launch(data_root):
    with pytest.raises(InputError, match="3 channels, 224 x 224 pixels and 1,000 classes, but patterns has"):
        check_fit(catalog.space("AnyNetXA").template, RECIPE, data_root)
    with pytest.raises(InputError, match="unknown data set 'mnist'; choose from: fashion_mnist"):
        check_fit(SPACE.template, Recipe(data="mnist"))
