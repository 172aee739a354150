"""The ``sweep.json`` of pycls (``tools/sweep_collect.py``).

It is a list of jobs: the configuration ``cfg``, the ``complexity``, columns of numbers by epoch in ``train_epoch``,
``test_epoch`` and ``test_ema_epoch``, and the stderr output in ``err``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from designspace.analysis.peers.job import Job
from designspace.analysis.peers.networks import (
    BLOCKS,
    Candidate,
    JobNetwork,
    StageLists,
    bottleneck_ratio,
    recorded_complexity,
)
from designspace.analysis.peers.rows import Row, digest, progress_cells, source
from designspace.analysis.source import Source
from designspace.networks.network import Network, Stage, Stem
from designspace.networks.regnet import RegNetParameters
from designspace.support.errors import InputError, RunError
from designspace.trials.trial import EpochRecord

_STEMS = {"simple_stem_in": "imagenet", "res_stem_cifar": "cifar", "res_stem_in": "resnet"}
_MODELS = {
    "anynet": ("ANYNET",),
    "regnet": ("REGNET",),
    "resnet": ("RESNET",),
    "effnet": ("EN",),
    "vit": ("VIT",),
}
"""The parts of the configuration that describe a network, by cfg.MODEL.TYPE."""
_NOT_OTHER_SETTINGS = (
    *("MODEL", "ANYNET", "REGNET", "RESNET", "EN", "VIT", "RNG_SEED", "DESC", "OUT_DIR", "CFG_DEST", "LOG_DEST"),
    *("LOG_PERIOD", "VERBOSE", "DATA_LOADER", "HOST", "PORT", "PORT_RANGE", "DOWNLOAD_CACHE", "PREC_TIME", "LAUNCH"),
    *("OPTIM.BASE_LR", "OPTIM.WEIGHT_DECAY", "OPTIM.MAX_EPOCH", "TRAIN.BATCH_SIZE", "TRAIN.DATASET"),
)
"""Parts of the configuration that do not affect how a network is trained, or that have their own column."""


def source_of(path: Path, jobs: Sequence[Job]) -> Source:
    """Return the jobs of a sweep as a table."""
    return source(path, [_row(job) for job in jobs], _classes(path, jobs))


def _classes(path: Path, jobs: Sequence[Job]) -> int:
    """Return the number of classes that all jobs of a sweep share."""
    jobs_by_classes = {job.whole("cfg.MODEL.NUM_CLASSES"): job for job in jobs if "cfg" in job.values}
    if None in jobs_by_classes:
        raise RunError(f"{jobs_by_classes[None].location}: there is no cfg.MODEL.NUM_CLASSES")
    if len(jobs_by_classes) > 1:
        raise RunError(f"{path}: its jobs have different numbers of classes (cfg.MODEL.NUM_CLASSES)")
    return next(number for number in jobs_by_classes if number is not None)


def _row(job: Job) -> Row:
    """Return the row of one job."""
    if "cfg" not in job.values:  # it ended before it logged its configuration
        cells = {"id": digest(job.text("log_file") or job.location), "radix": 0, "job": _name(job), "device": ""}
        return Row(cells | progress_cells((), None, (), job.text("err")))
    if not isinstance(job.get("cfg"), dict):
        raise job.invalid("cfg", job.get("cfg"), "an object")
    history, ema = _history(job, "test_epoch"), _history(job, "test_ema_epoch")
    network = _network(job)
    model = {name: job.get(f"cfg.{name}") for name in ("MODEL", *_MODELS.get(job.text("cfg.MODEL.TYPE"), ()))}
    cells = network.cells(recorded_complexity(job, "complexity."), model)
    losses = list(_by_epoch(job, "train_epoch", "loss").values())
    cells |= progress_cells(history, _planned_epochs(job), losses, job.text("err"))
    if ema and not any(math.isnan(record.test_error) for record in ema):
        cells |= {"final_error_ema": ema[-1].test_error, "best_error_ema": min(record.test_error for record in ema)}
    return Row(cells | _cost_cells(job) | _training_cells(job), history, ema)


def _cost_cells(job: Job) -> dict[str, Any]:
    """Return the time and memory of a job, as columns."""
    memory = job.numbers("train_epoch.mem")  # MiB
    seconds = [*job.numbers("train_epoch.time_epoch"), *job.numbers("test_epoch.time_epoch")]
    return {
        "train_s": sum(seconds) if seconds else math.nan,
        "memory_bytes": max(memory) * 2**20 if memory else math.nan,
        "device": "",
    }


def _training_cells(job: Job) -> dict[str, Any]:
    """Return how a job was trained, as columns."""
    return {
        "radix": 0,
        "seed": job.whole("cfg.RNG_SEED"),
        "job": _name(job),
        "lr": job.number("cfg.OPTIM.BASE_LR"),
        "weight_decay": job.number("cfg.OPTIM.WEIGHT_DECAY"),
        "batch_size": job.number("cfg.TRAIN.BATCH_SIZE"),
        "recipe_epochs": job.number("cfg.OPTIM.MAX_EPOCH"),
        "data": job.text("cfg.TRAIN.DATASET"),
        "recipe_rest": digest(_other_settings(job.get("cfg"))),
    }


def _other_settings(cfg: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the training settings in pycls's configuration that have no columns of their own."""
    settings = {}
    for key, part in cfg.items():
        name = f"{prefix}{key}"
        if name not in _NOT_OTHER_SETTINGS:
            settings[key] = _other_settings(part, f"{name}.") if isinstance(part, dict) else part
    return settings


def _name(job: Job) -> str:
    """Return the name of the folder of a job's log, which pycls uses as the job's name."""
    return Path(job.text("log_file")).parent.name


def _network(job: Job) -> JobNetwork:
    """Return the network of a job; without stages if it is neither an AnyNet nor a RegNet."""
    kind = job.text("cfg.MODEL.TYPE")
    if kind not in ("anynet", "regnet"):
        return JobNetwork()
    part = f"cfg.{kind.upper()}"
    block = BLOCKS.get(job.text(f"{part}.BLOCK_TYPE"), "")
    stages, regnet = _regnet(job) if kind == "regnet" else (_anynet_stages(job, block), {})
    stem = _STEMS.get(job.text(f"{part}.STEM_TYPE"), "")
    se_ratio = job.number(f"{part}.SE_R") if job.get(f"{part}.SE_ON") else 0.0
    head, classes = job.whole(f"{part}.HEAD_W") or 0, job.whole("cfg.MODEL.NUM_CLASSES") or 1
    try:
        network = Network(
            Stem(stem, job.whole(f"{part}.STEM_W") or 0),
            tuple(stages),
            block,
            se_ratio=se_ratio,
            head_width=head,
            num_classes=classes,
        )
    except InputError:  # a network that pycls supports and this project does not
        return JobNetwork(stages, (), regnet)
    return JobNetwork(stages, (Candidate(network, job.whole("cfg.TRAIN.IM_SIZE") or 224),), regnet)


def _regnet(job: Job) -> tuple[Sequence[Stage], dict[str, float]]:
    """Return the stages of a RegNet, and its parameters as columns."""
    depth, w_0 = job.whole("cfg.REGNET.DEPTH") or 0, job.whole("cfg.REGNET.W0") or 0
    w_a, w_m = job.number("cfg.REGNET.WA"), job.number("cfg.REGNET.WM")
    multiplier, group_width = job.number("cfg.REGNET.BOT_MUL"), job.whole("cfg.REGNET.GROUP_W") or 0
    columns = {"depth": depth, "w_0": w_0, "w_a": w_a, "w_m": w_m}
    try:
        ratio = bottleneck_ratio(1.0 if math.isnan(multiplier) else multiplier)
        parameters = RegNetParameters(depth, w_0, w_a, w_m, ratio, group_width)
        return parameters.stages(job.whole("cfg.REGNET.STRIDE") or 2), columns
    except (InputError, ZeroDivisionError) as error:
        raise RunError(f"{job.location}: cfg.REGNET does not describe a RegNet ({error})") from error


def _anynet_stages(job: Job, block: str) -> list[Stage]:
    """Return the stages of an AnyNet, from the lists of its configuration."""
    names = ("DEPTHS", "WIDTHS", "STRIDES", "GROUP_WS")
    depths, widths, strides, groups = (job.wholes(f"cfg.ANYNET.{name}") for name in names)
    lists = StageLists(depths, widths, strides, job.numbers("cfg.ANYNET.BOT_MULS"), groups)
    return lists.stages(job, "cfg.ANYNET", block)


def _planned_epochs(job: Job) -> int | None:
    """Return the number of epochs that a job was to train; None if it is unknown."""
    planned = [
        *job.wholes("test_epoch.epoch_max"),
        *_parsed(job, "test_epoch.epoch", 1),
        job.whole("cfg.OPTIM.MAX_EPOCH"),
    ]
    return planned[0]


def _parsed(job: Job, key: str, part: int) -> list[int]:
    """Return the epochs (part 0) or their number (part 1) from texts like 12/50."""
    texts = job.get(key) or []
    if not isinstance(texts, list):
        raise job.invalid(key, texts, "a list")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not re.fullmatch(r"\d{1,9}/\d{1,9}", text):
            raise job.invalid(f"{key}[{index}]", text, "an epoch like 12/50")
    return [int(text.split("/")[part]) for text in texts]


def _by_epoch(job: Job, kind: str, column: str) -> dict[int, float]:
    """Return a column of pycls's log by epoch.

    A job that resumed from a checkpoint may log an epoch twice. Because pycls sorts equal epochs by value, it is not
    known which is the later one, and the greater value counts so that no network is flattered.
    """
    values = job.numbers(f"{kind}.{column}")
    epochs = job.wholes(f"{kind}.epoch_ind") or _parsed(job, f"{kind}.epoch", 0)
    if values and len(values) != len(epochs):
        raise RunError(f"{job.location}: {kind}.{column} has {len(values)} values for {len(epochs)} epochs")
    by_epoch: dict[int, float] = {}
    for epoch, value in zip(epochs, values, strict=bool(values)):
        by_epoch[epoch] = value if epoch not in by_epoch else max(by_epoch[epoch], value)
    return dict(sorted(by_epoch.items()))


def _history(job: Job, kind: str) -> tuple[EpochRecord, ...]:
    """Return the epochs of a job, with the errors of ``kind``: test_epoch or test_ema_epoch."""
    errors = _by_epoch(job, kind, "top1_err")
    job.check_errors(f"{kind}.top1_err", list(errors.values()))
    lr, loss, train_error, seconds = (
        _by_epoch(job, "train_epoch", column) for column in ("lr", "loss", "top1_err", "time_epoch")
    )
    test_seconds = _by_epoch(job, kind, "time_epoch")
    return tuple(
        EpochRecord(
            epoch=epoch,
            lr=lr.get(epoch, math.nan),
            train_loss=loss.get(epoch, math.nan),
            train_error=train_error.get(epoch, math.nan),
            test_error=error,
            wall_s=seconds.get(epoch, math.nan) + test_seconds.get(epoch, 0.0),
        )
        for epoch, error in errors.items()
    )
