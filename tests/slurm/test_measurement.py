"""Measurement of a run's networks as a job on a real SLURM."""

import json

from sweep_runs import make_run

from designspace.spaces.costs import read_costs
from slurm.sweeps import LONG_S, command


def test_a_run_is_measured_on_a_node(cluster, tmp_path):
    run = make_run(tmp_path / "run", n=2, epochs=1)
    on_slurm = ("launcher=slurm", "launcher.cpus_per_task=1", "rounds=5")
    assert "2 networks would be measured as a job on SLURM" in command("measure", run, *on_slurm, "dry_run=true")
    assert not run.launches()
    submitted = command("measure", run, *on_slurm, "launcher.sbatch=[hold]")
    job = run.launches()[0].about()["arrays"][0]["job_id"]
    assert f"submitted as job {job}" in submitted
    assert "SLURM has a task that measures the networks" in command("status", run)
    cluster.run("scontrol", "release", job)
    cluster.wait_until(lambda: not cluster.queue(), LONG_S, "the end of the measurement")
    logs = "\n".join(path.read_text() for path in run.path.glob("launches/*/jobs/*.out"))
    costs = read_costs(run.path)
    assert [cost.id for cost in costs] == list(run.ids()), logs
    assert {cost.setting.threads for cost in costs} == {1}
    about = json.loads((run.launches()[0].path / "launch.json").read_text())
    assert about["purpose"] == "measurement"
    assert "no trial is running" in command("status", run)
    assert "nothing is running" in command("cancel", run)
