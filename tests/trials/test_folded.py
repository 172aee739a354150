"""Done trials in one file: everything reads as before, and nothing is lost if a process stops in between."""

import pytest
from full_disks import no_file_larger_than
from sweep_runs import RECIPE, make_run

import designspace.clean
from designspace.cli import app
from designspace.support.errors import RunError
from designspace.sweeps.launch import origin
from designspace.sweeps.progress import tasks_of
from designspace.sweeps.status import run_status, trial_status
from designspace.sweeps.upkeep import fold
from designspace.trials import claims, folded
from designspace.trials.folder import RunFolder
from designspace.trials.merge import merge
from designspace.trials.trial import Attempt, EpochRecord, Trial, TrialFailure, TrialResult


@pytest.fixture
def run(tmp_path):
    """A run with three done trials, the first of which has a checkpoint, a failed one, and two that wait."""
    run = make_run(tmp_path / "run", n=6)
    for i, id_ in enumerate(run.ids()[:5]):
        trial = run.trial(id_)
        trial.write_trial(Trial(run.population()[i], RECIPE, 0))
        trial.add_to_log("started here")
        trial.write_history(tuple(EpochRecord(epoch, 0.1, 2.0, 70.0, 65.0 - epoch, 1.0) for epoch in (1, 2)))
        if i < 3:
            trial.add_attempt(Attempt(TrialFailure("worker died", "lost", epochs=1), "here", 0.0))
            trial.write_result(TrialResult(63.0 - i, 63.0 - i, 2, 2.0, "cpu"))
        elif i == 3:
            trial.write_failure(TrialFailure("diverged", "no", epochs=1))
    run.trial(run.ids()[0]).checkpoint.write_bytes(bytes(100))
    return run


def everything(run):
    """Return all that can be read of the trials of a run."""
    gathered = run.gather()
    trials = [(run.trial(key).attempts(), run.trial(key).started_at) for key in run.trial_keys()]
    status = run_status(run)
    shown = [trial_status(run, state) for state in status.states]
    return gathered.header, gathered.rows, gathered.histories, trials, status.counts, status.best_id, shown[3:]


def files_of(run):
    return sorted(str(path.relative_to(run.path / "trials")) for path in run.path.glob("trials/*/*"))


def test_folded_trials_are_read_as_before(run):
    before, ids = everything(run), run.ids()
    tasks = tasks_of([run])
    assert fold(run) == 3
    assert everything(run) == everything(RunFolder(run.path)) == before
    assert tasks_of([RunFolder(run.path)]) == tasks
    assert [name for name in files_of(run) if name.startswith(ids[:3])] == [f"{ids[0]}/checkpoint.pt"]
    assert not run.trial(ids[1]).path.exists()
    assert fold(run) == 0
    run.trial(ids[4]).write_result(TrialResult(60.0, 60.0, 2, 2.0, "cpu"))  # another trial is done later
    assert fold(run) == 1
    assert run_status(run).counts == {"done": 4, "failed": 1, "running": 0, "waiting": 1}


def test_a_process_that_reads_meanwhile_sees_every_trial(run):
    other, ids = RunFolder(run.path), run.ids()
    trial = other.trial(ids[1])
    states = [other.states(ids), trial.state(), trial.known_history()]
    fold(run)
    assert [other.states(ids), trial.state(), trial.known_history()] == states
    assert RunFolder(run.path).trial(ids[1]).state() == states[1]


def test_an_interrupted_fold_is_completed_by_the_next_one(run, monkeypatch):
    before = everything(run)

    def broken(path, root):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(folded, "remove", broken)
        with pytest.raises(RunError, match="Input/output error"):
            fold(run)
    assert everything(RunFolder(run.path)) == before
    assert fold(run) == 0
    assert len(files_of(run)) == 1 + len([name for name in files_of(run) if name.startswith(run.ids()[3:])])
    assert everything(run) == before


def test_a_full_disk_changes_nothing(run):
    before, files = everything(run), files_of(run)
    with no_file_larger_than(1000), pytest.raises(RunError, match=r"cannot write .*done\.jsonl"):
        fold(run)
    assert files_of(run) == files
    assert not (run.path / "done.jsonl").exists()
    assert everything(run) == before


def test_trials_are_not_folded_while_processes_work_on_the_run(run):
    launch = run.new_launch({**origin(), "launcher": "local"})  # its process is this one
    with pytest.raises(RunError, match="may be active; fold its trials when all launches have ended"):
        fold(run)
    launch.update(ended=True)
    claim = claims.take(run.trial(run.ids()[4]).path)
    with pytest.raises(RunError, match="may be active"):
        fold(run)
    claim.release()
    assert fold(run) == 3


def test_a_file_that_was_cut_off_is_named(run):
    fold(run)
    path = run.path / "done.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"done\.jsonl is not whole .*restore it from a copy"):
        RunFolder(run.path).gather()


def test_folded_trials_are_copied_to_another_run(run, tmp_path):
    fold(run)
    target = make_run(tmp_path / "other", n=6)
    assert [result.copied for result in merge(target, [run], {})] == [4]
    ids = run.ids()
    for copy, state in zip(target.states(ids[:4]), run.states(ids[:4]), strict=True):
        assert (copy.status, copy.result, copy.failure) == (state.status, state.result, state.failure)
    assert target.trial(ids[0]).checkpoint.stat().st_size == 100
    assert target.trial(ids[1]).known_history() == run.trial(ids[1]).known_history()


def test_the_command(run, capsys):
    app.main("clean", designspace.clean.run, [f"run={run.path}", "fold=true"])
    assert f"3 done trials were put into {run.path}/done.jsonl" in capsys.readouterr().out
