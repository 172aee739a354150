import os
import signal

import pytest

from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.sweeps.launch import check_fit, run_local
from designspace.sweeps.local import Pool, Slot, slots
from designspace.sweeps.messages import Event, Task
from designspace.sweeps.progress import Progress, run_status, tasks_of
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.trial import Recipe, Trial, TrialResult

SPACE = catalog.space(
    "AnyNetXA", stem="cifar", stem_width=8, in_channels=1, num_classes=10, resolution=28, flops=(2e5, 6e5)
)
RECIPE = Recipe(epochs=2, batch_size=64, train_images=256, test_images=200, crop_padding=2)
CPU = [Slot("cpu"), Slot("cpu")]


def make_run(path, n=4, recipe=RECIPE):
    run = RunFolder(path)
    run.create(SPACE.sample(n), {})
    run.write_plan(recipe, 0)
    return run


def launch(run, root, places=CPU):
    return run_local([run], RECIPE.epochs, places, root, lambda progress: lambda: None)


def numbers(run):
    """What must not depend on how the trials were run: everything but times."""
    header, rows = run.table()
    skipped = {header.index("train_s")}
    return [[value for i, value in enumerate(row) if i not in skipped] for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, fashion_mnist):
    run = make_run(tmp_path_factory.mktemp("runs") / "whole")
    progress = launch(run, fashion_mnist)
    assert (progress.finished, progress.failed) == (4, 0)
    return run


def test_every_trial_becomes_a_row(undisturbed):
    status = run_status(undisturbed)
    assert status.counts == {"done": 4, "failed": 0, "running": 0, "waiting": 0}
    assert status.left_s == 0
    header, rows = undisturbed.table()
    for row in (dict(zip(header, row, strict=True)) for row in rows):
        assert row["status"] == "done"
        assert 0 < row["best_error"] <= row["final_error"] < 95
        assert row["epochs"] == 2
        history = undisturbed.trial(row["id"]).read_history()
        assert [record.epoch for record in history] == [1, 2]
        assert history[-1].test_error == row["final_error"]
    assert (undisturbed.path / "results.csv").read_text().count("\n") == 5


def test_one_worker_or_two_give_the_same_numbers(undisturbed, tmp_path, fashion_mnist):
    run = make_run(tmp_path / "one")
    launch(run, fashion_mnist, CPU[:1])
    assert numbers(run) == numbers(undisturbed)


def test_what_is_done_is_not_done_again(undisturbed, fashion_mnist):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.path.glob("trials/*/*")}
    assert tasks_of([undisturbed])[:2] == ([], 4)
    launch(undisturbed, fashion_mnist)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.path.glob("trials/*/*")} == before


def run_and_signal(run, root, log, sent):
    """Run with one worker, and send it a signal after the first trial's first epoch; give the states by id."""
    tasks, _, _ = tasks_of([run])
    pending = [sent]

    def on_event(task, event):
        if task == tasks[0] and event.kind == "epoch" and pending:
            victim = next(worker for worker in pool._workers if worker.task == task)
            os.kill(victim.process.pid, pending.pop())

    pool = Pool(CPU[:1], root, log, on_event)
    pool.run(tasks)
    return tasks[0].id, {state.id: state for state in run.states(run.population().ids)}


def test_a_killed_worker_costs_one_trial_and_is_replaced(tmp_path, fashion_mnist):
    run = make_run(tmp_path / "killed")
    victim, states = run_and_signal(run, fashion_mnist, tmp_path / "log", signal.SIGKILL)
    failed = states.pop(victim)
    assert (failed.status, failed.failure.reason) == ("failed", "worker died")
    assert "SIGKILL" in failed.failure.detail
    assert [state.status for state in states.values()] == 3 * ["done"]


def test_a_worker_that_is_told_to_end_costs_nothing(undisturbed, tmp_path, fashion_mnist):
    run = make_run(tmp_path / "ended")
    _, states = run_and_signal(run, fashion_mnist, tmp_path / "log", signal.SIGTERM)
    assert [state.status for state in states.values()] == 4 * ["done"]
    assert numbers(run) == numbers(undisturbed)


def test_a_trial_that_diverges_is_a_row_with_its_reason(tmp_path, fashion_mnist):
    run = make_run(tmp_path / "diverged", n=2, recipe=Recipe(**{**RECIPE.to_dict(), "lr": 1e12}))
    progress = launch(run, fashion_mnist)
    assert progress.failed == 2
    header, rows = run.table()
    for row in (dict(zip(header, row, strict=True)) for row in rows):
        assert (row["status"], row["reason"], row["final_error"]) == ("failed", "diverged", "")
        assert "Diverged" in run.trial(row["id"]).log.read_text()
    assert run_status(run).reasons == {"diverged": 2}


def test_a_trial_that_raises_is_a_row_and_the_worker_goes_on(undisturbed, tmp_path, fashion_mnist):
    run = make_run(tmp_path / "raises")
    first, second, *_ = run.population().ids
    # The checkpoint of another trial: it is refused, and that is this trial's failure alone.
    run.trial(first).path.mkdir(parents=True)
    run.trial(first).checkpoint.write_bytes(undisturbed.trial(second).checkpoint.read_bytes())
    assert launch(run, fashion_mnist, CPU[:1]).failed == 1
    states = run.states(run.population().ids)
    assert [state.status for state in states] == ["failed", "done", "done", "done"]
    assert states[0].failure.reason == "error"
    assert numbers(run)[1:] == numbers(undisturbed)[1:]


def test_a_trial_that_somebody_else_works_on_is_left_to_them(tmp_path, fashion_mnist):
    run = make_run(tmp_path / "shared", n=2)
    first = run.population().ids[0]
    run.trial(first).path.mkdir(parents=True)
    assert claims.take(run.trial(first).claim)
    launch(run, fashion_mnist)
    assert [state.status for state in run.states(run.population().ids)] == ["running", "done"]


def test_missing_data_stop_everything_with_one_message(tmp_path):
    run = make_run(tmp_path / "nodata")
    with pytest.raises(RunError, match="designspace.prepare data=fashion_mnist"):
        launch(run, tmp_path / "empty")
    assert run_status(run).counts["waiting"] == 4


def test_a_run_goes_on_after_its_population_grew(undisturbed, tmp_path, fashion_mnist):
    run = make_run(tmp_path / "grown", n=2)
    launch(run, fashion_mnist)
    run.create(SPACE.sample(4), {})
    assert len(tasks_of([run])[0]) == 2
    launch(run, fashion_mnist)
    assert numbers(run) == numbers(undisturbed)


def test_images_that_do_not_fit_are_refused_before_anything_runs():
    with pytest.raises(InputError, match="3 channels, 224 x 224 pixels and 1000 classes, but fashion_mnist has"):
        check_fit(catalog.space("AnyNetXA").template, RECIPE)
    with pytest.raises(InputError, match="unknown data set 'mnist'; there is: fashion_mnist"):
        check_fit(SPACE.template, Recipe(data="mnist"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tpu",), "device must be auto, cpu or cuda, not 'tpu'"),
        (("cpu", 0), "workers must be a whole number >= 1"),
        (("cpu", "two"), "workers must be a whole number >= 1"),
    ],
)
def test_bad_places(arguments, message):
    with pytest.raises(InputError, match=message):
        slots(*arguments)


def test_one_worker_a_core():
    assert slots("cpu") == [Slot("cpu")] * len(os.sched_getaffinity(0))
    assert slots("cpu", 3) == [Slot("cpu")] * 3


def test_progress_counts_epochs_of_resumed_trials_right(monkeypatch):
    tasks = [Task("r", "a"), Task("r", "b")]
    progress = Progress(tasks, epochs=10, finished=3, best=20.0)
    now = progress._started
    monkeypatch.setattr("time.monotonic", lambda: now + 10)
    assert progress.left_s is None
    progress.take(tasks[0], Event("ready"))
    progress.take(tasks[0], Event("epoch", epoch=9, error=30.0))
    assert (progress.total, progress.finished) == (5, 3)
    assert progress.left_s == pytest.approx(110)
    progress.take(tasks[0], Event("epoch", epoch=10, error=15.0))
    progress.take(tasks[0], Event("done", epoch=10, error=15.0))
    assert (progress.finished, progress.best, progress.left_s) == (4, 15.0, pytest.approx(50))
    progress.take(tasks[1], Event("failed", detail="diverged: loss is nan"))
    assert (progress.finished, progress.failed, progress.left_s) == (5, 1, 0)


def test_the_speed_of_a_run_is_that_of_its_last_trials(tmp_path, monkeypatch):
    """Two trials of a minute side by side, a pause of a day, then two more: 120 an hour, and the pause is forgotten."""
    monkeypatch.setattr("designspace.sweeps.progress.RECENT", 2)
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
    assert status.left_s == pytest.approx(30)


def test_messages_read_back():
    task, event = Task("runs/ä b", "0123"), Event("epoch", 3, 12.5, 'a "line"\nand more')
    assert Task.from_line(task.to_line()) == task
    assert Event.from_line(event.to_line()) == event
    assert event.to_line().count(b"\n") == 1
