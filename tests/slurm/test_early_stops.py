"""Trials that are stopped early, by array tasks on a real SLURM."""

from sweep_runs import curves, make_run

from designspace.trials.fidelity import read_standings
from slurm.sweeps import command, launch


def test_array_tasks_pause_trials_and_finish_those_that_go_on(cluster, tmp_path):
    run = make_run(tmp_path / "run", n=10, epochs=2)
    stops = ("stop.epochs=1", "stop.keep=0.1", "stop.sample=0.1")
    output = launch(run, *stops, "launcher.trials_per_task=5")
    decided = read_standings(run.path)
    going = {key for key, standing in decided.by_key.items() if standing.continues}
    assert f"{len(going)} of 10 networks continue after epoch 1" in output
    states = {state.key: state for state in run.states(run.trial_keys())}
    assert {key for key, state in states.items() if state.status == "done"} == going
    assert {len(run.trial(key).read_history()) for key in states.keys() - going} == {1}
    assert not cluster.queue()
    assert "stopped" in command("status", run)
    # A plain launch submits the stopped ones, which continue to the same numbers.
    launch(run, "wait=true")
    assert all(state.status == "done" for state in run.states(run.trial_keys()))
    local = make_run(tmp_path / "local", n=10, epochs=2)
    command("launch", local, "launcher.workers=2")
    assert curves(local) == curves(run)
    assert read_standings(run.path) == decided
