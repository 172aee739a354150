"""Results from sweeps of other programs: pycls's ``sweep.json``, and the data of "On Network Design Spaces".

Both are JSON; only numbers and texts are read, and nothing in a file is executed. The format is detected from the
content.

pycls (``tools/sweep_collect.py``) writes a list of jobs: the configuration ``cfg``, the ``complexity``, columns of
numbers by epoch in ``train_epoch``, ``test_epoch`` and ``test_ema_epoch``, and the stderr output in ``err``.
The NDS data (dl.fbaipublicfiles.com/nds/data.zip, arXiv 1905.13214) are lists of jobs, or two lists ``top`` and
``mid`` for repeated trainings: ``net``, ``optim``, ``params``, ``flops``, ``rng_seed``, and ``train_ep_top1``,
``train_ep_loss`` and ``test_ep_top1`` by epoch.

Every job is a row: pycls's own analysis drops jobs without epochs, which flatters a space whose networks crash.
``final_error`` is the error of the last epoch; the figures of pycls and of the paper show the least over the epochs,
which is ``best_error`` here. Errors of averaged weights have the columns ``final_error_ema`` and ``best_error_ema`` and
their own histories. Both programs count multiply-adds and weights as this project does, so these stay unchanged.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from designspace.analysis.columns import COLUMNS, WHOLE_COLUMN, missing_columns
from designspace.analysis.source import EMA, Source
from designspace.networks.complexity import complexity
from designspace.networks.network import Network, Stage, Stem
from designspace.networks.regnet import RegNetParameters
from designspace.support.errors import InputError, RunError
from designspace.trials.trial import EpochRecord

_STEMS = {"simple_stem_in": "imagenet", "res_stem_cifar": "cifar", "res_stem_in": "resnet"}
_BLOCKS = {
    "res_bottleneck_block": "bottleneck",
    "res_bottleneck_linear_block": "bottleneck_linear",
    "res_basic_block": "basic",
    "vanilla_block": "vanilla",
    "double_plain_block": "vanilla",
}
_PLAIN = ("basic", "vanilla")
_REASONS = (
    ("out of memory", r"out of memory|OutOfMemory"),
    ("time limit", r"DUE TO TIME LIMIT"),
    ("worker died", r"\bKilled\b|SIGKILL|oom.kill|NODE FAIL"),
    ("error", r"Traceback|Error\b|Exception\b"),
)
"""Patterns in pycls's stderr that make an unfinished job a failed one, by reason; warnings are not enough."""
_NOT_OTHER_SETTINGS = (
    *("MODEL", "ANYNET", "REGNET", "RESNET", "EN", "VIT", "RNG_SEED", "DESC", "OUT_DIR", "CFG_DEST", "LOG_DEST"),
    *("LOG_PERIOD", "VERBOSE", "DATA_LOADER", "HOST", "PORT", "PORT_RANGE", "DOWNLOAD_CACHE", "PREC_TIME", "LAUNCH"),
    *("OPTIM.BASE_LR", "OPTIM.WEIGHT_DECAY", "OPTIM.MAX_EPOCH", "TRAIN.BATCH_SIZE", "TRAIN.DATASET"),
)
"""Parts of pycls's configuration that do not affect how a network is trained, or that have their own column."""
_DETAIL_LENGTH = 300
_NUMBER_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class _Job:
    """One entry of a file, with its position for error messages."""

    location: str
    """File and job, for messages."""
    values: Mapping[str, Any]

    def get(self, key: str) -> Any:
        """Return the value of a dotted key; None if there is none."""
        value: Any = self.values
        parent = ""
        for name in key.split("."):
            if value is None:
                return None
            if not isinstance(value, dict):
                raise self.invalid(parent, value, "an object")
            value = value.get(name)
            parent = f"{parent}.{name}" if parent else name
        return value

    def invalid(self, key: str, value: object, expected: str) -> RunError:
        """Return the error for an invalid value."""
        return RunError(f"{self.location}: {key} must be {expected}, not {str(value)[:60]!r}")

    def number(self, key: str) -> float:
        """Return a finite number; NaN if there is none."""
        value = self.get(key)
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _NUMBER_LIMIT:
            raise self.invalid(key, value, "a number")
        return float(value)

    def whole(self, key: str) -> int | None:
        """Return a whole number >= 0; None if there is none."""
        value = self.get(key)
        return None if value is None else self._as_whole(key, value)

    def wholes(self, key: str) -> list[int]:
        """Return a list of whole numbers >= 0; an empty list if there is none."""
        return [self._as_whole(f"{key}[{index}]", value) for index, value in enumerate(self._list(key))]

    def numbers(self, key: str) -> list[float]:
        """Return a list of numbers, some perhaps NaN (a loss that diverged); an empty list if there is none."""
        values = self._list(key)
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float | None) or abs(value or 0) >= _NUMBER_LIMIT:
                raise self.invalid(f"{key}[{index}]", value, "a number")
        return [math.nan if value is None else float(value) for value in values]

    def text(self, key: str) -> str:
        """Return a text; an empty one if there is none."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.invalid(key, value, "a text")
        return value or ""

    def _list(self, key: str) -> list[Any]:
        values = self.get(key)
        if values is not None and not isinstance(values, list):
            raise self.invalid(key, values, "a list")
        return values or []

    def _as_whole(self, key: str, value: Any) -> int:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole or not 0 <= value < _NUMBER_LIMIT:
            raise self.invalid(key, value, "a whole number")
        return int(value)


@dataclass(frozen=True)
class _Row:
    """The row of a job, with its histories."""

    cells: dict[str, Any]
    history: tuple[EpochRecord, ...] = ()
    ema: tuple[EpochRecord, ...] = ()


def read(path: Path) -> Source:
    """Read a JSON file of pycls or NDS.

    Raises:
        InputError: the file is neither.
        RunError: the file cannot be read, or a job in it lacks a value or has an invalid one.
    """
    content = _load(path)
    groups = content if isinstance(content, dict) else {"": content}
    if groups and all(isinstance(jobs, list) for jobs in groups.values()):
        jobs = list(_jobs(path, groups))
        if any("cfg" in job.values for _, job in jobs):
            return _source(path, [_pycls_row(job) for _, job in jobs], _pycls_classes(path, jobs), ())
        if any("net" in job.values for _, job in jobs):
            return _read_nds(path, jobs)
    raise InputError(
        f"{path} is neither a sweep.json of pycls (a list of jobs with cfg) nor of the NDS data (a list of jobs with "
        "net); a run of designspace is given by its folder"
    )


def _load(path: Path) -> Any:
    """Return the content of a JSON file; NaN is allowed because both programs write it."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if path.suffix != ".json":
            raise InputError(f"{path} is not a run: neither a folder nor JSON") from error
        raise RunError(f"{path} is not valid JSON ({error}); it may have been cut off or edited") from error


def _jobs(path: Path, groups: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, _Job]]:
    """Yield the group and content of each job of a file."""
    for group, jobs in groups.items():
        for number, job in enumerate(jobs, start=1):
            location = f"{path}, job {number}{f' of {group}' if group else ''}"
            if not isinstance(job, dict):
                raise RunError(f"{location}: a job must be an object, not {str(job)[:60]!r}")
            yield group, _Job(location, job)


def _source(path: Path, rows: Sequence[_Row], num_classes: int, notes: tuple[str, ...]) -> Source:
    """Return all jobs as a table, with a name for each trial: its id, and a number from the second trial on."""
    table = pd.DataFrame([row.cells for row in rows])
    for column in missing_columns(table.columns):
        table[column] = math.nan
    for column in table.columns:
        if WHOLE_COLUMN.fullmatch(column) and table[column].notna().all():
            table[column] = table[column].astype("int64")
    table = table.reindex(columns=sorted(table.columns, key=_column_order))
    repeat = table.groupby("id").cumcount()
    trials = table["id"].where(repeat == 0, table["id"] + "#" + (repeat + 1).astype(str))
    histories = {trial: row.history for trial, row in zip(trials, rows, strict=True) if row.history}
    histories |= {trial + EMA: row.ema for trial, row in zip(trials, rows, strict=True) if row.ema}
    return Source(path.stem, table.assign(trial=trials, run=path.stem), num_classes, histories, notes)


def _column_order(column: str) -> tuple[int, str, int]:
    """Return the sort key of a column: as in a results.csv, stages by letter and number, other columns last."""
    stage = re.fullmatch(r"([dwbg])(\d+)", column)
    if stage:
        return 1, str("dwbg".index(stage[1])), int(stage[2])
    return (0, "", 0) if column == "id" else (2, "", COLUMNS.index(column)) if column in COLUMNS else (3, "", 0)


def _digest(value: Any) -> str:
    """Return 12 hex digits that identify a value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _identity(job: _Job, candidates: Sequence[tuple[Network, int]], description: Any) -> dict[str, Any]:
    """Return the id and complexity of a network, from a candidate if one has as many weights as the job's network.

    ``candidates`` are networks and resolutions; the id of any other network is the digest of its description.
    """
    prefix = "complexity." if "cfg" in job.values else ""
    recorded = {
        "flops": job.number(f"{prefix}flops"),
        "params": job.number(f"{prefix}params"),
        "activations": job.number(f"{prefix}acts"),
    }
    for network, resolution in candidates:
        if math.isnan(recorded["params"]) or complexity(network, resolution).params == recorded["params"]:
            known = {name: value for name, value in recorded.items() if not math.isnan(value)}
            return {"id": network.id, **complexity(network, resolution)._asdict(), **known}
    return {"id": _digest(description), **recorded}


def _stage_cells(stages: Sequence[Stage]) -> dict[str, float]:
    """Return stages as columns."""
    cells: dict[str, float] = {}
    for number, stage in enumerate(stages, start=1):
        values = (stage.depth, stage.width, stage.bottleneck_ratio, stage.group_width)
        cells |= {f"{letter}{number}": value for letter, value in zip("dwbg", values, strict=True)}
    return cells


def _ratio(multiplier: float) -> float:
    """Return the paper's bottleneck ratio b from pycls's multiplier, which is 1 / b."""
    ratio = 1 / multiplier
    return round(ratio) if abs(ratio - round(ratio)) < 1e-6 else ratio


# The parts of a row that come from its epochs


def _progress(
    history: Sequence[EpochRecord], planned: int | None, losses: Sequence[float], stderr: str = ""
) -> dict[str, Any]:
    """Return status, errors and reason of a job from its history, planned number of epochs, and known losses."""
    epochs = history[-1].epoch if history else 0
    errors = [record.test_error for record in history]
    cells: dict[str, Any] = {"epochs": epochs, "reason": "", "detail": ""}
    if any(map(math.isnan, errors)):
        return {**cells, "status": "failed", "reason": "diverged", "detail": "an error on test images is nan"}
    if history and epochs >= (planned or epochs):
        return {**cells, "status": "done", "final_error": errors[-1], "best_error": min(errors)}
    progress = f"{epochs} of {planned or 'unknown'} epochs"
    if losses and math.isnan(losses[-1]):
        return {**cells, "status": "failed", "reason": "diverged", "detail": f"loss is nan after {progress}"}
    for reason, pattern in _REASONS:
        lines = [line.strip() for line in stderr.splitlines() if re.search(pattern, line)]
        if lines:
            detail = f"{progress}; {lines[-1]}"[:_DETAIL_LENGTH]
            return {**cells, "status": "failed", "reason": reason, "detail": detail}
    return {**cells, "status": "running", "detail": progress}


def _check_errors(job: _Job, key: str, errors: Sequence[float]) -> None:
    """Raise unless all errors are in percent."""
    for index, error in enumerate(errors):
        if not math.isnan(error) and not 0 <= error <= 100:
            raise job.invalid(f"{key}[{index}]", error, "an error from 0 to 100 percent")


# pycls


def _pycls_classes(path: Path, jobs: Sequence[tuple[str, _Job]]) -> int:
    """Return the number of classes that all jobs of a sweep share."""
    jobs_by_classes = {job.whole("cfg.MODEL.NUM_CLASSES"): job for _, job in jobs if "cfg" in job.values}
    if None in jobs_by_classes:
        raise RunError(f"{jobs_by_classes[None].location}: there is no cfg.MODEL.NUM_CLASSES")
    if len(jobs_by_classes) > 1:
        raise RunError(f"{path}: its jobs have different numbers of classes (cfg.MODEL.NUM_CLASSES)")
    return next(number for number in jobs_by_classes if number is not None)


def _pycls_row(job: _Job) -> _Row:
    """Return the row of one job of a sweep.json."""
    if "cfg" not in job.values:  # it ended before it logged its configuration
        cells = {"id": _digest(job.text("log_file") or job.location), "radix": 0, "job": _pycls_name(job), "device": ""}
        return _Row(cells | _progress((), None, (), job.text("err")))
    if not isinstance(job.get("cfg"), dict):
        raise job.invalid("cfg", job.get("cfg"), "an object")
    history, ema = _pycls_history(job, "test_epoch"), _pycls_history(job, "test_ema_epoch")
    stages, candidates, extra = _pycls_network(job)
    model = {name: job.get(f"cfg.{name}") for name in ("MODEL", *_PYCLS_MODELS.get(job.text("cfg.MODEL.TYPE"), ()))}
    cells = _identity(job, candidates, model) | extra | _stage_cells(stages)
    losses = list(_by_epoch(job, "train_epoch", "loss").values())
    planned_epochs = [
        *job.wholes("test_epoch.epoch_max"),
        *_parsed(job, "test_epoch.epoch", 1),
        job.whole("cfg.OPTIM.MAX_EPOCH"),
    ]
    cells |= _progress(history, planned_epochs[0], losses, job.text("err"))
    if ema and not any(math.isnan(record.test_error) for record in ema):
        cells |= {"final_error_ema": ema[-1].test_error, "best_error_ema": min(record.test_error for record in ema)}
    memory = job.numbers("train_epoch.mem")  # MiB
    seconds = [*job.numbers("train_epoch.time_epoch"), *job.numbers("test_epoch.time_epoch")]
    cells |= {
        "radix": 0,
        "seed": job.whole("cfg.RNG_SEED"),
        "train_s": sum(seconds) if seconds else math.nan,
        "memory_bytes": max(memory) * 2**20 if memory else math.nan,
        "device": "",
        "job": _pycls_name(job),
        "lr": job.number("cfg.OPTIM.BASE_LR"),
        "weight_decay": job.number("cfg.OPTIM.WEIGHT_DECAY"),
        "batch_size": job.number("cfg.TRAIN.BATCH_SIZE"),
        "recipe_epochs": job.number("cfg.OPTIM.MAX_EPOCH"),
        "data": job.text("cfg.TRAIN.DATASET"),
        "recipe_rest": _digest(_other_settings(job.get("cfg"))),
    }
    return _Row(cells, history, ema)


def _other_settings(cfg: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the training settings in pycls's configuration that have no columns of their own."""
    settings = {}
    for key, part in cfg.items():
        name = f"{prefix}{key}"
        if name not in _NOT_OTHER_SETTINGS:
            settings[key] = _other_settings(part, f"{name}.") if isinstance(part, dict) else part
    return settings


def _pycls_name(job: _Job) -> str:
    """Return the name of the folder of a job's log, which pycls uses as the job's name."""
    return Path(job.text("log_file")).parent.name


_PYCLS_MODELS = {
    "anynet": ("ANYNET",),
    "regnet": ("REGNET",),
    "resnet": ("RESNET",),
    "effnet": ("EN",),
    "vit": ("VIT",),
}
"""The parts of the configuration that describe a network, by cfg.MODEL.TYPE."""


def _pycls_network(job: _Job) -> tuple[Sequence[Stage], list[tuple[Network, int]], dict[str, float]]:
    """Return the stages of a job's network, the network if this project supports it, and a RegNet's columns."""
    kind = job.text("cfg.MODEL.TYPE")
    if kind not in ("anynet", "regnet"):
        return (), [], {}
    part = f"cfg.{kind.upper()}"
    block = _BLOCKS.get(job.text(f"{part}.BLOCK_TYPE"), "")
    if kind == "regnet":
        stages, extra = _pycls_regnet(job)
    else:
        stages, extra = _pycls_stages(job, block), {}
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
        return stages, [], extra
    return stages, [(network, job.whole("cfg.TRAIN.IM_SIZE") or 224)], extra


def _pycls_regnet(job: _Job) -> tuple[Sequence[Stage], dict[str, float]]:
    """Return the stages of a RegNet, and its parameters as columns."""
    depth, w_0 = job.whole("cfg.REGNET.DEPTH") or 0, job.whole("cfg.REGNET.W0") or 0
    w_a, w_m = job.number("cfg.REGNET.WA"), job.number("cfg.REGNET.WM")
    multiplier, group_width = job.number("cfg.REGNET.BOT_MUL"), job.whole("cfg.REGNET.GROUP_W") or 0
    extra = {"depth": depth, "w_0": w_0, "w_a": w_a, "w_m": w_m}
    try:
        ratio = _ratio(1.0 if math.isnan(multiplier) else multiplier)
        parameters = RegNetParameters(depth, w_0, w_a, w_m, ratio, group_width)
        return parameters.stages(job.whole("cfg.REGNET.STRIDE") or 2), extra
    except (InputError, ZeroDivisionError) as error:
        raise RunError(f"{job.location}: cfg.REGNET does not describe a RegNet ({error})") from error


def _pycls_stages(job: _Job, block: str) -> list[Stage]:
    """Return the stages of an AnyNet, from the lists of its configuration."""
    names = ("DEPTHS", "WIDTHS", "STRIDES", "GROUP_WS")
    depths, widths, strides, groups = (job.wholes(f"cfg.ANYNET.{name}") for name in names)
    multipliers = job.numbers("cfg.ANYNET.BOT_MULS")
    return _stages(job, "cfg.ANYNET", block, (depths, widths, strides, multipliers, groups))


def _stages(
    job: _Job,
    key: str,
    block: str,
    lists: tuple[list[int], list[int], list[int], list[float], list[int]],
    count_groups: bool = False,
) -> list[Stage]:
    """Return stages from lists of depths, widths, strides, bottleneck multipliers, and group widths or group counts.

    The last two may be empty for blocks that have neither, and strides if they are all 2.
    """
    depths, widths, strides, multipliers, groups = lists
    strides = strides or [2] * len(depths)
    is_plain = block in _PLAIN or not multipliers or not groups
    if not depths or any(
        len(values) != len(depths) for values in (widths, strides, *(() if is_plain else (multipliers, groups)))
    ):
        lengths = ", ".join(str(len(values)) for values in lists)
        raise RunError(f"{job.location}: the lists of {key} do not make stages (they have {lengths} entries)")
    stages = []
    for index, (depth, width, stride) in enumerate(zip(depths, widths, strides, strict=True)):
        try:
            if is_plain:
                stages.append(Stage(depth, width, stride, 1, width))
                continue
            ratio, group_width = _ratio(multipliers[index]), groups[index]
            if count_groups:
                group_width = Stage(depth, width, stride, ratio).inner_width // groups[index]
            stages.append(Stage(depth, width, stride, ratio, group_width))
        except (InputError, ZeroDivisionError, OverflowError, ValueError) as error:
            raise RunError(f"{job.location}: stage {index + 1} of {key} is invalid ({error})") from error
    return stages


def _parsed(job: _Job, key: str, part: int) -> list[int]:
    """Return the epochs (part 0) or their number (part 1) from texts like 12/50."""
    texts = job.get(key) or []
    if not isinstance(texts, list):
        raise job.invalid(key, texts, "a list")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not re.fullmatch(r"\d{1,9}/\d{1,9}", text):
            raise job.invalid(f"{key}[{index}]", text, "an epoch like 12/50")
    return [int(text.split("/")[part]) for text in texts]


def _by_epoch(job: _Job, kind: str, column: str) -> dict[int, float]:
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


def _pycls_history(job: _Job, kind: str) -> tuple[EpochRecord, ...]:
    """Return the epochs of a job, with the errors of ``kind``: test_epoch or test_ema_epoch."""
    errors = _by_epoch(job, kind, "top1_err")
    _check_errors(job, f"{kind}.top1_err", list(errors.values()))
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


# NDS


def _read_nds(path: Path, jobs: Sequence[tuple[str, _Job]]) -> Source:
    """Read one file of the NDS data."""
    notes: tuple[str, ...] = ()
    rows = [_nds_row(job) for _, job in jobs]
    class_counts = {classes for _, classes in rows if classes}
    if len(class_counts) > 1:
        raise RunError(
            f"{path}: its jobs have different numbers of classes ({', '.join(map(str, sorted(class_counts)))})"
        )
    if class_counts:
        num_classes = class_counts.pop()
    else:
        num_classes = 1000 if path.stem.endswith("_in") else 10
        data, ends = ("ImageNet", "ends") if num_classes == 1000 else ("CIFAR-10", "does not end")
        notes = (
            f"{path.stem} does not contain the number of classes; it is assumed to be that of {data}, because the "
            f"file's name {ends} in _in.",
        )
    parts = {part for part, _ in jobs}
    labelled_rows = [
        _Row({**row.cells, "part": part} if parts != {""} else row.cells, row.history)
        for (part, _), (row, _) in zip(jobs, rows, strict=True)
    ]
    return _source(path, labelled_rows, num_classes, notes)


def _nds_row(job: _Job) -> tuple[_Row, int | None]:
    """Return the row of one NDS job, and its number of classes if its number of weights determines it."""
    net = job.get("net")
    if not isinstance(net, dict):
        raise job.invalid("net", net, "an object")
    for key in ("params", "flops", "test_ep_top1"):
        if job.get(key) is None:
            raise RunError(f"{job.location}: there is no {key}")
    stages: Sequence[Stage] = ()
    candidates: list[tuple[Network, int]] = []
    if "genotype" not in net:  # networks of cells have no stages
        stages, candidates = _nds_network(job)
    cells = _identity(job, candidates, net) | _stage_cells(stages)
    classes = next((network.num_classes for network, _ in candidates if network.id == cells["id"]), None)
    errors = job.numbers("test_ep_top1")
    _check_errors(job, "test_ep_top1", errors)
    train_errors, losses = job.numbers("train_ep_top1"), job.numbers("train_ep_loss")
    for key, values in (("train_ep_top1", train_errors), ("train_ep_loss", losses)):
        if values and len(values) != len(errors):
            raise RunError(f"{job.location}: {key} has {len(values)} epochs and test_ep_top1 {len(errors)}")
    history = tuple(
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
    optim = job.get("optim") or {}
    if not isinstance(optim, dict):
        raise job.invalid("optim", optim, "an object")
    cells |= _progress(history, job.whole("optim.max_ep"), losses) | {
        "radix": 0,
        "seed": job.whole("rng_seed"),
        "train_s": math.nan,
        "device": "",
        "job": str(job.get("job_id") or ""),
        "lr": job.number("optim.base_lr"),
        "weight_decay": job.number("optim.wd"),
        "recipe_epochs": job.number("optim.max_ep"),
        "recipe_rest": _digest({key: value for key, value in optim.items() if key not in ("base_lr", "wd", "max_ep")}),
    }
    return _Row(cells, history), classes


def _nds_network(job: _Job) -> tuple[list[Stage], list[tuple[Network, int]]]:
    """Return the stages of a job's network, and the networks that it may be: for CIFAR-10 or for ImageNet."""
    block = _BLOCKS.get(job.text("net.block_type"), "")
    depths, widths, strides, groups = (job.wholes(f"net.{name}") for name in ("ds", "ws", "ss", "num_gs"))
    lists = (depths, widths, strides, job.numbers("net.bot_muls"), groups)
    stem_width = job.whole("net.stem_w")
    if stem_width is None:  # then the stem is the first entry of the lists
        if not widths:
            raise RunError(f"{job.location}: there are neither net.ws nor net.genotype")
        stem_width, lists = widths[0], (depths[1:], widths[1:], strides[1:], lists[3][1:], groups[1:])
    stages = _stages(job, "net", block, lists, count_groups=True)
    candidates = []
    for stem, classes, resolution in (("cifar", 10, 32), ("resnet", 1000, 224), ("imagenet", 1000, 224)):
        try:
            network = Network(Stem(stem, stem_width), tuple(stages), block, num_classes=classes)
        except InputError:
            break
        candidates.append((network, resolution))
    return stages, candidates
