"""A trainer of the user's on a real SLURM: queued trials run it as it was when they were launched."""

from sweep_runs import make_run

from slurm.sweeps import launch, wait_for_end

TRAINER = """
import dataclasses

def train(network, recipe, data, **options):
    from designspace.training import train
    return dataclasses.replace(train(network, recipe, data, **options), final_error=42.0, best_error=42.0)
"""


def test_editing_a_trainer_changes_no_queued_trial(cluster, tmp_path, monkeypatch):
    path = tmp_path / "mine" / "trainers.py"
    path.parent.mkdir()
    path.write_text(TRAINER)
    monkeypatch.setenv("PYTHONPATH", str(path.parent))
    run = make_run(tmp_path / "run", n=2, epochs=1, trainer="trainers:train")
    launch(run, "launcher.sbatch=[hold]")
    path.write_text("raise RuntimeError('edited')\n")
    for job in cluster.run("squeue", "-h", "-o", "%A").split():
        cluster.run("scontrol", "release", job)
    wait_for_end(run, cluster)
    results = run.gather()
    assert [row[results.header.index("final_error")] for row in results.rows] == [42.0, 42.0]
