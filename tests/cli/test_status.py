"""The status of runs, which is read from their files only."""

import os

import pytest
from sweep_runs import make_run

from designspace import status
from designspace.cli import app
from designspace.support.errors import InputError
from designspace.trials import claims
from designspace.trials.open import find_runs
from designspace.trials.trial import TrialFailure, TrialResult


def finish(run, number, seconds=60.0):
    """Write results for the first trials of a run, as if each had taken a minute after the previous one."""
    for i, id_ in enumerate(run.ids()[:number]):
        folder = run.trial(id_)
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "trial.json").write_text("{}")
        folder.write_result(TrialResult(50.0 - i, 50.0, 2, seconds, "cpu"))
        os.utime(folder.path / "trial.json", (1e9 + seconds * i, 1e9 + seconds * i))
        os.utime(folder.path / "result.json", (1e9 + seconds * (i + 1), 1e9 + seconds * (i + 1)))


def shown(run, capsys, *arguments):
    status.run(app.options(status.Options, "status", [f"run={run}", *arguments]))
    return capsys.readouterr().out


def test_a_stopped_run_has_no_expected_end(tmp_path, capsys):
    run = make_run(tmp_path / "my run", n=4)
    finish(run, 2)
    text = shown(run.path, capsys)
    assert "time left" not in text
    assert "expected" not in text
    assert f"my run: no trial is running; to train the others: python -m designspace.launch 'run={run.path}'" in text
    waiting = run.trial(run.ids()[3])
    waiting.path.mkdir(parents=True)
    claims.take(waiting.path)
    text = shown(run.path, capsys)
    assert "2 min 0 s" in text
    assert "expected end" in text
    assert "no trial is running" not in text


def test_a_finished_run_has_no_time_left(tmp_path, capsys):
    run = make_run(tmp_path / "run", n=2)
    finish(run, 2)
    text = shown(run.path, capsys)
    assert "time left" not in text
    assert f"49.00%  {run.ids()[1]}" in text
    assert "launch" not in text


def test_runs_are_found_in_folders_of_folders(tmp_path, capsys):
    for name in ("runs/one", "runs/study/two", "runs/.hidden/three", "runs/a/b/c/four"):
        make_run(tmp_path / name, n=1)
    (tmp_path / "runs" / "round").symlink_to(tmp_path / "runs")
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "runs/study/two")
    text = shown(tmp_path / "runs", capsys)
    names = [line.split()[0] for line in text.splitlines()[1:] if line[:1].isalpha() and "no trial" not in line]
    assert names == ["a/b/c/four", "linked", "one", "study/two"]
    with pytest.raises(InputError, match="is not a run folder and holds none"):
        find_runs(tmp_path / "nothing")


def test_the_log_of_a_failed_trial_is_named(tmp_path, capsys):
    run = make_run(tmp_path / "run", n=2)
    folder = run.trial(run.ids()[0])
    folder.path.mkdir(parents=True)
    folder.write_failure(TrialFailure("error", "Boom\x1b[2J: it broke"))
    folder.add_to_log("what happened")
    text = shown(run.path, capsys, "trials=failed")
    assert f"log:    {folder.log}" in text
    assert "reason: error: Boom" in text
    assert run.ids()[1] not in text


def test_tables_of_status_fit_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("AnyNetXA", "RegNetXConstrained"):
        run = make_run(tmp_path / "study" / name, n=3)
        finish(run, 1)
        run.trial(run.ids()[1]).path.mkdir(parents=True)
        claims.take(run.trial(run.ids()[1]).path)
    text = shown(tmp_path / "study", capsys, "trials=done")
    assert "RegNetXConstrained" in text
    tables = [line for line in text.splitlines() if "log:" not in line and "where:" not in line]
    assert all(len(line) <= 80 for line in tables), text
