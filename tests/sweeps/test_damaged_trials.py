"""Damaged files of one trial: its row reports the damage, or it starts again, and other trials are not affected."""

import os
import re
import shutil

import pytest
from sweep_runs import launch, make_run

from designspace import analyze, clean, collect, status
from designspace.cli import app
from designspace.library import load
from designspace.support.errors import RunError
from designspace.sweeps.status import trial_status
from designspace.sweeps.upkeep import delete, leftovers, retry
from designspace.trials.trial import EpochRecord, TrialFailure, TrialResult

RESULT = TrialResult(12.5, 12.25, 2, 3.5, "cpu")


def folder_instead_of(name):
    return lambda trial: (trial.path / name).mkdir()


def written(name, content):
    return lambda trial: (trial.path / name).write_bytes(content)


def link_elsewhere(trial):
    outside = trial.path.parents[2] / "outside"
    outside.mkdir()
    trial.path.rmdir()
    trial.path.symlink_to(outside)


STARTS_AGAIN = {
    "half a history": written("history.jsonl", b'{"epoch": 1, "lr"'),
    "no attempts": written("attempts.json", b""),
    "a folder for a log": folder_instead_of("log.txt"),
    "half a checkpoint": written("checkpoint.pt", b"PK\3\4"),
}
FAILED = {
    "no result": written("result.json", b""),
    "no failure": written("error.json", b"{}"),
    "a folder for a result": folder_instead_of("result.json"),
    "a folder for a checkpoint": folder_instead_of("checkpoint.pt"),
    "a folder for a claim": folder_instead_of("claim.1.json"),
}
SKIPPED = {
    "a folder for attempts and the definition": lambda trial: [
        folder_instead_of(name)(trial) for name in ("attempts.json", "trial.json")
    ],
    "a link out of the run": link_elsewhere,
}


def test_damaged_trials_do_not_affect_other_trials(tmp_path, data_root, monkeypatch, capsys):
    damages = {**STARTS_AGAIN, **FAILED, **SKIPPED}
    run = make_run(tmp_path / "run", n=len(damages) + 3)
    ids = dict(zip(damages, run.ids(), strict=False))
    for name, damage in damages.items():
        run.trial(ids[name]).path.mkdir(parents=True)
        damage(run.trial(ids[name]))
    (run.path / "trials" / run.ids()[-1]).write_text("a file")
    progress = launch(run, data_root)
    states = {state.id: state for state in run.states(run.ids())}
    assert [states[id_].status for id_ in run.ids()[-3:]] == ["done", "done", "failed"]
    assert {states[ids[name]].status for name in STARTS_AGAIN} == {"done"}
    assert {states[ids[name]].status for name in FAILED} == {"failed"}
    assert {states[ids[name]].status for name in SKIPPED} == {"waiting"}
    assert progress.failed == 1 + len(SKIPPED)  # trials that the launch attempted
    assert list((tmp_path / "outside").iterdir()) == []
    rows = dict(zip(run.ids(), run.gather().rows, strict=True))
    assert "does not hold a whole TrialResult" in rows[ids["no result"]][-1]
    assert "checkpoint.pt: Is a directory" in rows[ids["a folder for a checkpoint"]][-1]
    assert trial_status(run, states[ids["no result"]]).detail.startswith("error: ")
    for command, words in (
        (status, ["trials=all"]),
        (clean, []),
        (collect, []),
    ):
        app_run(command, [f"run={run.path}", *words])
    app_run(analyze, [f"runs=[{run.path}]", f"out={tmp_path / 'out'}"])
    best = load(run.path)
    assert best.weights.about["selection"]["done"] == 2 + len(STARTS_AGAIN)
    retried = retry(run)
    assert set(retried) == {ids[name] for name in FAILED if name != "a folder for a claim"}
    assert {state.status for state in run.states(retried)} == {"waiting"}
    launch(run, data_root)
    assert {state.status for state in run.states(retried)} == {"done"}


@pytest.mark.parametrize("value", ["-1", "NaN", '"x"', "1e400", "[]", "101"])
def test_an_edited_error_makes_the_order_unknown(tmp_path, capsys, value):
    run = make_run(tmp_path / "run", n=3)
    for id_ in run.ids():
        run.trial(id_).write_result(RESULT)
    edited = run.trial(run.ids()[1]).path / "result.json"
    edited.write_text(edited.read_text().replace("12.5", value))
    message = f"the order of the trials is not known: {edited} does not hold a whole TrialResult"
    with pytest.raises(RunError, match=re.escape(message)):
        load(run.path)
    with pytest.raises(RunError, match=re.escape(message)):
        app_run(status, [f"run={run.path}"])
    assert "2       1" in capsys.readouterr().out  # the table of done and failed trials is printed before the error
    app_run(collect, [f"run={run.path}"])
    assert retry(run) == [run.ids()[1]]


def app_run(command, words):
    """Run a command in this process."""
    name = command.__name__.rpartition(".")[2]
    command.run(app.options(command.Options, name, words))


def test_a_launch_fails_if_no_trial_can_be_written(tmp_path, data_root):
    run = make_run(tmp_path / "run", n=4)
    (tmp_path / "elsewhere").mkdir()
    (run.path / "trials").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="trials is a link, but a run folder must not contain links"):
        launch(run, data_root)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_damaged_history_is_left_out_of_the_curves(tmp_path):
    run = make_run(tmp_path / "run", n=2)
    for id_ in run.ids():
        run.trial(id_).write_history((EpochRecord(1, 0.1, 2.0, 70.0, 65.0, 1.0),))
        run.trial(id_).write_result(RESULT)
    (run.trial(run.ids()[0]).path / "history.jsonl").write_text("{")
    assert list(run.histories()) == [run.ids()[1]]
    run.write_results()


def test_damaged_trials_of_another_folder_are_not_copied(tmp_path, capsys):
    from designspace.trials.merge import merge

    here, there = make_run(tmp_path / "here"), make_run(tmp_path / "there")
    secret = tmp_path / "secret"
    secret.write_text("nobody else's")
    for id_ in there.ids()[:3]:
        there.trial(id_).write_result(RESULT)
    damaged, linked, whole, _ = there.ids()
    (there.trial(damaged).path / "result.json").write_text("{")
    (there.trial(linked).path / "log.txt").symlink_to(secret)
    (merged,) = merge(here, [there], {})
    assert merged.copied == 1
    assert [state.status for state in here.states(here.ids())] == ["waiting", "waiting", "done", "waiting"]
    assert not any("nobody" in path.read_text() for path in here.path.rglob("log.txt"))
    assert here.states([whole])[0].result == RESULT


def test_nothing_is_written_or_deleted_through_links(tmp_path):
    run = make_run(tmp_path / "run", n=3)
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("checkpoint.pt", "attempts.json", ".old.tmp", "claim.1.json"):
        (outside / name).write_text("[]")
        os.utime(outside / name, (0, 0))
    failed, done, linked = run.ids()
    run.trial(linked).path.parent.mkdir()
    run.trial(linked).path.symlink_to(outside)
    (outside / "error.json").write_text('{"reason": "error", "detail": "", "epochs": 0}')
    run.trial(failed).write_failure(TrialFailure("error", "no"))
    run.trial(failed).log.symlink_to(outside / "profile")
    (run.path / "code").symlink_to(outside)
    shutil.rmtree(run.path / "launches", ignore_errors=True)
    (run.path / "launches").symlink_to(outside)
    before = {path.name: path.stat().st_mtime_ns for path in outside.iterdir()}
    listed = leftovers(run, keep_best=0)
    assert not any(listed[kind] for kind in listed.files)
    delete(listed, list(listed.files))
    assert retry(run) == [failed]
    run.trial(done).log.parent.mkdir()
    run.trial(done).log.symlink_to(outside / "profile")
    run.trial(done).add_to_log("started")
    with pytest.raises(RunError, match="launches is a link"), run.launching():
        pass
    assert {path.name: path.stat().st_mtime_ns for path in outside.iterdir()} == before


@pytest.mark.parametrize("id_", ["../../outside", "/etc", "..", "abc", "", "0123456789AB", "0123456789abc"])
def test_invalid_ids_are_refused(tmp_path, id_):
    run = make_run(tmp_path / "run", n=2)
    table = run.path / "population.csv"
    header, first, second = table.read_text().splitlines()
    table.write_text("\n".join([header, first, ",".join([id_, *second.split(",")[1:]])]) + "\n")
    for command in (leftovers, retry, lambda run: run.trial(id_)):
        with pytest.raises(RunError, match="is not an id, which has 12 hex digits"):
            command(run)
