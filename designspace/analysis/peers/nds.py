"""The data of "On Network Design Spaces" (dl.fbaipublicfiles.com/nds/data.zip, arXiv 1905.13214).

Its files are lists of jobs, or two lists ``top`` and ``mid`` for repeated trainings: ``net``, ``optim``, ``params``,
``flops``, ``rng_seed``, and ``train_ep_top1``, ``train_ep_loss`` and ``test_ep_top1`` by epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from designspace.analysis.peers.job import Job
from designspace.analysis.peers.networks import BLOCKS, Candidate, JobNetwork, StageLists, recorded_complexity
from designspace.analysis.peers.rows import Row, digest, progress_cells, source
from designspace.analysis.source import Source
from designspace.networks.network import Network, Stem
from designspace.support.errors import InputError, RunError
from designspace.trials.trial import EpochRecord


def source_of(path: Path, jobs: Sequence[Job]) -> Source:
    """Return the jobs of a file as a table, with the column ``part`` if the file has several lists."""
    rows = [_row(job) for job in jobs]
    num_classes, notes = _classes(path, {row.num_classes for row in rows if row.num_classes})
    if any(job.group for job in jobs):
        for row, job in zip(rows, jobs, strict=True):
            row.cells["part"] = job.group
    return source(path, rows, num_classes, notes)


def _classes(path: Path, known: set[int]) -> tuple[int, tuple[str, ...]]:
    """Return the number of classes of a file, from those of its jobs or else its name, and notes on it."""
    if len(known) > 1:
        raise RunError(f"{path}: its jobs have different numbers of classes ({', '.join(map(str, sorted(known)))})")
    if known:
        return known.pop(), ()
    num_classes = 1000 if path.stem.endswith("_in") else 10
    data, ends = ("ImageNet", "ends") if num_classes == 1000 else ("CIFAR-10", "does not end")
    note = (
        f"{path.stem} does not contain the number of classes; it is assumed to be that of {data}, because the "
        f"file's name {ends} in _in."
    )
    return num_classes, (note,)


def _row(job: Job) -> Row:
    """Return the row of one job; its number of classes is known if the number of weights determines it."""
    net = job.get("net")
    if not isinstance(net, dict):
        raise job.invalid("net", net, "an object")
    for key in ("params", "flops", "test_ep_top1"):
        if job.get(key) is None:
            raise RunError(f"{job.location}: there is no {key}")
    network = JobNetwork() if "genotype" in net else _network(job)  # networks of cells have no stages
    recorded = recorded_complexity(job)
    candidate = network.identified(recorded["params"])
    cells = network.cells(recorded, net)
    history = _history(job)
    cells |= progress_cells(history, job.whole("optim.max_ep"), job.numbers("train_ep_loss")) | _training_cells(job)
    return Row(cells, history, num_classes=candidate.network.num_classes if candidate else None)


def _training_cells(job: Job) -> dict[str, Any]:
    """Return how a job was trained, as columns."""
    optim = job.get("optim") or {}
    if not isinstance(optim, dict):
        raise job.invalid("optim", optim, "an object")
    return {
        "radix": 0,
        "seed": job.whole("rng_seed"),
        "train_s": math.nan,
        "device": "",
        "job": str(job.get("job_id") or ""),
        "lr": job.number("optim.base_lr"),
        "weight_decay": job.number("optim.wd"),
        "recipe_epochs": job.number("optim.max_ep"),
        "recipe_rest": digest({key: value for key, value in optim.items() if key not in ("base_lr", "wd", "max_ep")}),
    }


def _history(job: Job) -> tuple[EpochRecord, ...]:
    """Return the epochs of a job."""
    errors = job.numbers("test_ep_top1")
    job.check_errors("test_ep_top1", errors)
    train_errors, losses = job.numbers("train_ep_top1"), job.numbers("train_ep_loss")
    for key, values in (("train_ep_top1", train_errors), ("train_ep_loss", losses)):
        if values and len(values) != len(errors):
            raise RunError(f"{job.location}: {key} has {len(values)} epochs and test_ep_top1 {len(errors)}")
    return tuple(
        EpochRecord(
            epoch=index + 1,
            lr=math.nan,
            train_loss=losses[index] if losses else math.nan,
            train_error=train_errors[index] if train_errors else math.nan,
            test_error=error,
            wall_s=math.nan,
        )
        for index, error in enumerate(errors)
    )


def _network(job: Job) -> JobNetwork:
    """Return the network of a job; it may be for CIFAR-10 or for ImageNet."""
    block = BLOCKS.get(job.text("net.block_type"), "")
    depths, widths, strides, groups = (job.wholes(f"net.{name}") for name in ("ds", "ws", "ss", "num_gs"))
    lists = StageLists(depths, widths, strides, job.numbers("net.bot_muls"), groups)
    stem_width = job.whole("net.stem_w")
    if stem_width is None:  # then the stem is the first entry of the lists
        if not widths:
            raise RunError(f"{job.location}: there are neither net.ws nor net.genotype")
        stem_width, lists = widths[0], lists.without_first()
    stages = lists.stages(job, "net", block, count_groups=True)
    candidates = []
    for stem, classes, resolution in (("cifar", 10, 32), ("resnet", 1000, 224), ("imagenet", 1000, 224)):
        try:
            network = Network(Stem(stem, stem_width), tuple(stages), block, num_classes=classes)
        except InputError:
            break
        candidates.append(Candidate(network, resolution))
    return JobNetwork(stages, candidates)
