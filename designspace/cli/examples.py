"""Three examples of each command for its help; the tests compose all of them."""

from __future__ import annotations

EXAMPLES = {
    "explore": (
        "experiment=quickstart",
        "experiment=quickstart n=48 launcher.workers=4",
        "name=mine spaces=[RegNetX,RegNetY] n=32",
    ),
    "plan": ("effect=0.6", "effect=0.6 power=0.9 pairs=3", "margin=0.5 sd=2"),
    "screen": (
        "spaces=[AnyNetXB,RegNetX] limit.peak_memory=8MB",
        "spaces=RegNetX space.resolution=[96,128,160]",
        "spaces=[RegNetX,mine.yaml] limit.params=5M",
    ),
    "prepare": (
        "data=fashion_mnist",
        "data=folder from=~/photos name=flowers size=64",
        "data=imagenet from=~/downloads size=160",
    ),
    "sample": (
        "space=RegNetX input=fashion_mnist n=16 run=runs/x",
        "space=RegNetX space.flops=[2e9,3e9] regime=auto",
        "networks=mine.csv data=cifar10",
    ),
    "measure": (
        "run=runs/small",
        "'networks=[resnet50,resnest50]' batch=[1,64]",
        "run=runs/small launcher=slurm dry_run=true",
    ),
    "launch": (
        "run=runs/small recipe=quick",
        "run=runs/small launcher.workers=4 seeds=3",
        "run=runs/small launcher=slurm dry_run=true",
    ),
    "status": ("run=runs/small", "run=runs trials=failed", "run=runs/small watch=true"),
    "analyze": (
        "runs=runs/small",
        "'runs=[runs/a,runs/b]' out=compared",
        "'runs=[runs/a,runs/b]' match=latency",
    ),
    "replay": (
        "'runs=[runs/a,runs/b]'",
        "runs=runs stop.looks=10 stop.hopeless=0",
        "runs=runs stop.epochs=5 stop.keep=0.3",
    ),
    "refine": (
        "run=runs/small",
        "run=runs/small accept=[width_non_decreasing]",
        "run=runs/small match=params out=refined",
    ),
    "retrain": (
        "run=runs/small",
        "run=runs/small top=10 seeds=5",
        "run=runs/small launcher=slurm wait=true",
    ),
    "train": (
        "run=runs/small rank=1 recipe=fashion",
        "model=resnet50 weights=true recipe.lr=0.01",
        "model=regnetx_200mf stem=cifar dry_run=true",
    ),
    "verify": (
        "model=regnetx_400mf images=1000",
        "model=runs/best data=fashion_mnist",
        "model=resnest50 data=/data/imagenet/val",
    ),
    "predict": (
        "model=runs/small images=photos",
        "model=resnest50 images=cat.jpg top=5",
        "model=best images=photos to=photos.csv",
    ),
    "export": ("run=runs/small to=best", "run=runs/small rank=2 to=second onnx=true", "model=resnest50 to=resnest50"),
    "collect": ("run=runs/small", "run=runs/whole 'others=[/mnt/a/x,/mnt/b/x]'", "run=runs/small others=/mnt/a/run"),
    "retry": ("run=runs/small", 'run=runs/small reason="out of memory"', "run=runs/small trial=60e881614052"),
    "cancel": ("run=runs/small", "run=runs", "run=~/runs/small"),
    "clean": ("run=runs/small", "run=runs/small delete=temporary", "run=runs delete=checkpoints keep_best=3"),
}
"""Command -> arguments of its examples."""
