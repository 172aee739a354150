"""Tests of the progress and the speed of a run, and of the messages from which a pool knows them."""

import os

import pytest
from sweep_runs import RECIPE, make_run

from designspace.sweeps.messages import Assignment, Event, Task
from designspace.sweeps.progress import PoolProgress
from designspace.sweeps.status import run_status
from designspace.trials import claims
from designspace.trials.trial import Trial, TrialResult


def test_progress_counts_epochs_of_resumed_trials_correctly(monkeypatch):
    tasks = [Task("r", "a"), Task("r", "b")]
    progress = PoolProgress(tasks, epochs=10, finished=3, best=20.0)
    now = progress._started
    monkeypatch.setattr("time.monotonic", lambda: now + 10)
    assert progress.left_s is None
    progress.handle_event(tasks[0], Event("ready"))
    progress.handle_event(tasks[0], Event("epoch", epoch=9, error=30.0))
    assert (progress.total, progress.finished) == (5, 3)
    assert progress.left_s == pytest.approx(110)
    progress.handle_event(tasks[0], Event("epoch", epoch=10, error=15.0))
    progress.handle_event(tasks[0], Event("done", epoch=10, error=15.0))
    assert (progress.finished, progress.best, progress.left_s) == (4, 15.0, pytest.approx(50))
    progress.handle_event(tasks[1], Event("failed", detail="diverged: loss is nan"))
    assert (progress.finished, progress.failed, progress.left_s) == (5, 1, 0)


def test_the_speed_of_a_run_is_measured_over_recent_trials(tmp_path, monkeypatch):
    """Two parallel trials of a minute, a pause of a day, two more: 120 per hour, since the pause does not count."""
    monkeypatch.setattr("designspace.sweeps.status.RECENT_TRIALS", 2)
    run = make_run(tmp_path / "speed", n=5)
    for i, id_ in enumerate(run.population().ids[:4]):
        start = 1e9 + (86_400 if i >= 2 else 0)
        folder = run.trial(id_)
        folder.write_trial(Trial(run.population()[i], RECIPE, 0))
        folder.write_result(TrialResult(50.0, 50.0, 2, 60.0, "cpu"))
        os.utime(folder.path / "trial.json", (start, start))
        os.utime(folder.path / "result.json", (start + 60, start + 60))
    status = run_status(run)
    assert status.trials_per_hour == pytest.approx(120)
    assert status.left_s is None  # nothing is running, so the end is unknown
    last = run.trial(run.population().ids[4])
    last.path.mkdir(parents=True)
    claims.take(last.path)
    assert run_status(run).left_s == pytest.approx(30)


def test_copied_trials_do_not_count_for_the_speed(tmp_path):
    """The files of a copy have the time of the copy, so that trials of a minute seem to take no time."""
    run = make_run(tmp_path / "copied", n=3)
    for i, id_ in enumerate(run.population().ids[:2]):
        run.trial(id_).write_trial(Trial(run.population()[i], RECIPE, 0))
        run.trial(id_).write_result(TrialResult(50.0, 50.0, 2, 60.0, "cpu"))
    assert run_status(run).trials_per_hour is None


def test_messages_are_read_back_unchanged():
    assignment, event = Assignment(Task("runs/ä b", "0123"), "2/ab"), Event("epoch", 3, 12.5, 'a "line"\nand more')
    assert Assignment.from_line(assignment.to_line()) == assignment
    assert Event.from_line(event.to_line()) == event
    assert event.to_line().count(b"\n") == 1
