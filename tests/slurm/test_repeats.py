"""Several seeds on a real SLURM: array tasks hold keys of trials, and give the same numbers as the local pool."""

import sweep_runs
from sweep_runs import make_run, numbers

from designspace.sweeps.status import run_status
from slurm.sweeps import command, launch, wait_for_end


def test_several_seeds_then_retraining_the_best_network(cluster, tmp_path, data_root):
    run = make_run(tmp_path / "run", n=3, epochs=1)
    limits = ("launcher.trials_per_task=2", "launcher.array_parallelism=2")
    planned = launch(run, "seeds=2", *limits, "dry_run=true")
    assert "6 trials in 3 tasks of up to 2 trials" in planned
    assert not (run.path / "repeats.yaml").exists()
    assert "6 trials in 3 tasks of up to 2 trials" in launch(run, "seeds=2", *limits)
    a, b, c, a1, b1, c1 = run.trial_keys()
    assert run.launches()[0].tasks() == [[a, c], [b, a1], [b1, c1]]  # two parallel tasks take turns
    wait_for_end(run, cluster)
    assert "nothing to submit; 6 had finished before" in launch(run)
    options = ("launcher=slurm", "launcher.cpus_per_task=1", "top=1", "seeds=2")
    assert "2 trials in 1 task" in command("retrain", run, *options, "dry_run=true")
    output = command("retrain", run, *options, "wait=true")
    assert "Networks trained again with fresh seeds" in output
    assert command("retrain", run, *options).split("\n\n", 1)[1] in output
    assert run_status(run).counts == {"done": 8, "failed": 0, "running": 0, "waiting": 0}
    plan = run.plan()
    local = make_run(tmp_path / "local", n=3, epochs=1)
    local.write_plan(plan.recipe, plan.seed, plan.repeats)
    sweep_runs.launch(local, data_root)
    assert numbers(local) == numbers(run)
