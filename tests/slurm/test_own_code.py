"""The user's own trainer and block on a real SLURM: queued trials run them as they were when they were launched."""

import patterns
from sweep_runs import make_run

from designspace.spaces import catalog
from slurm.sweeps import launch, wait_for_end

TRAINER = """
import dataclasses

def train(network, recipe, data, **options):
    from designspace.training import train
    return dataclasses.replace(train(network, recipe, data, **options), final_error=42.0, best_error=42.0)
"""
BLOCK = """
from torch import nn

class Separable(nn.Module):
    def __init__(self, in_width, width, stride, kernel_size=3):
        super().__init__()
        self.depthwise = nn.Conv2d(in_width, in_width, kernel_size, stride, kernel_size // 2, groups=in_width)
        self.pointwise = nn.Conv2d(in_width, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.norm(self.pointwise(self.depthwise(x))).relu()
"""


def test_editing_own_code_changes_no_queued_trial(cluster, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    files = {folder / "own_trainers.py": TRAINER, folder / "own_blocks.py": BLOCK}
    for path, content in files.items():
        path.write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    space = catalog.space(
        "AnyNetXA",
        block="own_blocks:Separable",
        kernel_size=[3, 5],
        stem="cifar",
        stem_width=8,
        num_classes=len(patterns.CLASSES),
        resolution=patterns.SIZE,
        flops=(2e5, 6e5),
    )
    run = make_run(tmp_path / "run", n=2, space=space, epochs=1, trainer="own_trainers:train")
    launch(run, "launcher.sbatch=[hold]")
    for path in files:
        path.write_text("raise RuntimeError('edited')\n")
    for job in cluster.run("squeue", "-h", "-o", "%A").split():
        cluster.run("scontrol", "release", job)
    wait_for_end(run, cluster)
    results = run.gather()
    assert [row[results.header.index("final_error")] for row in results.rows] == [42.0, 42.0]
    assert [row[results.header.index("status")] for row in results.rows] == ["done", "done"]
