"""Sweeps of other programs as results: pycls's ``sweep.json``, and the data of "On Network Design Spaces".

Both are JSON; what is read are numbers and texts, and nothing of a file is ever run. A file is known by its content.

pycls (``tools/sweep_collect.py``) writes a list of jobs: the configuration ``cfg``, the ``complexity``, columns of
numbers by epoch in ``train_epoch``, ``test_epoch`` and ``test_ema_epoch``, and what was printed to stderr in ``err``.
The NDS data (dl.fbaipublicfiles.com/nds/data.zip, arXiv 1905.13214) are lists of jobs, or of two lists ``top`` and
``mid`` for trainings that were repeated: ``net``, ``optim``, ``params``, ``flops``, ``rng_seed``, and
``train_ep_top1``, ``train_ep_loss`` and ``test_ep_top1`` by epoch.

Every job is a row: pycls's own analysis drops jobs without epochs, which flatters a space whose networks crash.
``final_error`` is the error of the last epoch; pycls's and the paper's figures show the least over the epochs, which
is ``best_error`` here. Errors of averaged weights have the columns ``final_error_ema`` and ``best_error_ema``, and
histories of their own. Multiply-adds and weights are counted as here, so the numbers stay as they are.
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
"""What pycls's stderr must say for a job that has not ended to be one that failed; warnings are not enough."""
_NOT_THE_REST = (
    *("MODEL", "ANYNET", "REGNET", "RESNET", "EN", "VIT", "RNG_SEED", "DESC", "OUT_DIR", "CFG_DEST", "LOG_DEST"),
    *("LOG_PERIOD", "VERBOSE", "DATA_LOADER", "HOST", "PORT", "PORT_RANGE", "DOWNLOAD_CACHE", "PREC_TIME", "LAUNCH"),
    *("OPTIM.BASE_LR", "OPTIM.WEIGHT_DECAY", "OPTIM.MAX_EPOCH", "TRAIN.BATCH_SIZE", "TRAIN.DATASET"),
)
"""Parts of pycls's configuration that say nothing of how a network is trained, or have a column of their own."""
_DETAIL_LENGTH = 300
_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class _Job:
    """One entry of a file, which says where it stands when something is wrong with it."""

    where: str
    """File and job."""
    values: Mapping[str, Any]

    def get(self, key: str) -> Any:
        """What stands under a dotted key; None where nothing does."""
        found: Any = self.values
        above = ""
        for name in key.split("."):
            if found is None:
                return None
            if not isinstance(found, dict):
                raise self.wrong(above, found, "an object")
            found = found.get(name)
            above = f"{above}.{name}" if above else name
        return found

    def wrong(self, key: str, found: object, wanted: str) -> RunError:
        """The error for a value that cannot be."""
        return RunError(f"{self.where}: {key} must be {wanted}, not {str(found)[:60]!r}")

    def number(self, key: str) -> float:
        """A finite number; NaN where there is none."""
        found = self.get(key)
        if found is None:
            return math.nan
        if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _LARGEST:
            raise self.wrong(key, found, "a number")
        return float(found)

    def whole(self, key: str) -> int | None:
        """A whole number >= 0; None where there is none."""
        found = self.get(key)
        return None if found is None else self._as_whole(key, found)

    def wholes(self, key: str) -> list[int]:
        """Whole numbers >= 0; none where there is no list."""
        return [self._as_whole(f"{key}[{place}]", value) for place, value in enumerate(self._list(key))]

    def numbers(self, key: str) -> list[float]:
        """Numbers, of which each may be NaN (a loss that diverged); none where there is no list."""
        found = self._list(key)
        for place, value in enumerate(found):
            if isinstance(value, bool) or not isinstance(value, int | float | None) or abs(value or 0) >= _LARGEST:
                raise self.wrong(f"{key}[{place}]", value, "a number")
        return [math.nan if value is None else float(value) for value in found]

    def text(self, key: str) -> str:
        """A text; an empty one where there is none."""
        found = self.get(key)
        if found is not None and not isinstance(found, str):
            raise self.wrong(key, found, "a text")
        return found or ""

    def _list(self, key: str) -> list[Any]:
        found = self.get(key)
        if found is not None and not isinstance(found, list):
            raise self.wrong(key, found, "a list")
        return found or []

    def _as_whole(self, key: str, found: Any) -> int:
        exact = isinstance(found, int) or (isinstance(found, float) and found.is_integer())
        if isinstance(found, bool) or not exact or not 0 <= found < _LARGEST:
            raise self.wrong(key, found, "a whole number")
        return int(found)


@dataclass(frozen=True)
class _Row:
    """A job, understood."""

    cells: dict[str, Any]
    history: tuple[EpochRecord, ...] = ()
    ema: tuple[EpochRecord, ...] = ()


def read(path: Path) -> Source:
    """Read a JSON file of pycls or of NDS, whichever it is.

    Raises:
        InputError: the file is neither.
        RunError: the file cannot be read, or a job in it lacks something or has something that cannot be.
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
    """The content of a JSON file; NaN is allowed, for both programs write it."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if path.suffix != ".json":
            raise InputError(f"{path} is no run: neither a folder nor JSON") from error
        raise RunError(f"{path} is not whole JSON ({error}); it may have been cut off or edited") from error


def _jobs(path: Path, groups: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, _Job]]:
    """The (group, job) of a file."""
    for group, jobs in groups.items():
        for number, job in enumerate(jobs, start=1):
            where = f"{path}, job {number}{f' of {group}' if group else ''}"
            if not isinstance(job, dict):
                raise RunError(f"{where}: a job must be an object, not {str(job)[:60]!r}")
            yield group, _Job(where, job)


def _source(path: Path, rows: Sequence[_Row], num_classes: int, notes: tuple[str, ...]) -> Source:
    """The rows of all jobs as a table, with a name for each trial: its id, and a number where it is not the first."""
    table = pd.DataFrame([row.cells for row in rows])
    for column in missing_columns(table.columns):
        table[column] = math.nan
    for column in table.columns:
        if WHOLE_COLUMN.fullmatch(column) and table[column].notna().all():
            table[column] = table[column].astype("int64")
    table = table.reindex(columns=sorted(table.columns, key=_place))
    again = table.groupby("id").cumcount()
    trials = table["id"].where(again == 0, table["id"] + "#" + (again + 1).astype(str))
    histories = {trial: row.history for trial, row in zip(trials, rows, strict=True) if row.history}
    histories |= {trial + EMA: row.ema for trial, row in zip(trials, rows, strict=True) if row.ema}
    return Source(path.stem, table.assign(trial=trials, run=path.stem), num_classes, histories, notes)


def _place(column: str) -> tuple[int, str, int]:
    """Where a column stands: as in a results.csv, stages by letter and number, what is not in one at the end."""
    stage = re.fullmatch(r"([dwbg])(\d+)", column)
    if stage:
        return 1, str("dwbg".index(stage[1])), int(stage[2])
    return (0, "", 0) if column == "id" else (2, "", COLUMNS.index(column)) if column in COLUMNS else (3, "", 0)


def _digest(value: Any) -> str:
    """12 hex digits that name a value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _identity(job: _Job, candidates: Sequence[tuple[Network, int]], description: Any) -> dict[str, Any]:
    """Id and complexity of a network, from ours where one of ours has as many weights as the job's.

    ``candidates`` are networks and resolutions; the id of any other network is that of its description.
    """
    prefix = "complexity." if "cfg" in job.values else ""
    told = {
        "flops": job.number(f"{prefix}flops"),
        "params": job.number(f"{prefix}params"),
        "activations": job.number(f"{prefix}acts"),
    }
    for network, resolution in candidates:
        if math.isnan(told["params"]) or complexity(network, resolution).params == told["params"]:
            known = {name: value for name, value in told.items() if not math.isnan(value)}
            return {"id": network.id, **complexity(network, resolution)._asdict(), **known}
    return {"id": _digest(description), **told}


def _stage_cells(stages: Sequence[Stage]) -> dict[str, float]:
    """The columns of stages."""
    cells: dict[str, float] = {}
    for number, stage in enumerate(stages, start=1):
        values = (stage.depth, stage.width, stage.bottleneck_ratio, stage.group_width)
        cells |= {f"{letter}{number}": value for letter, value in zip("dwbg", values, strict=True)}
    return cells


def _ratio(multiplier: float) -> float:
    """The paper's bottleneck ratio b from pycls's multiplier, which is 1 / b."""
    ratio = 1 / multiplier
    return round(ratio) if abs(ratio - round(ratio)) < 1e-6 else ratio


# The parts of a row that come from its epochs


def _progress(
    history: Sequence[EpochRecord], asked: int | None, losses: Sequence[float], stderr: str = ""
) -> dict[str, Any]:
    """Status, errors and reason of a job, of which ``losses`` are known and ``asked`` epochs were wanted."""
    epochs = history[-1].epoch if history else 0
    errors = [record.test_error for record in history]
    cells: dict[str, Any] = {"epochs": epochs, "reason": "", "detail": ""}
    if any(map(math.isnan, errors)):
        return {**cells, "status": "failed", "reason": "diverged", "detail": "an error on test images is nan"}
    if history and epochs >= (asked or epochs):
        return {**cells, "status": "done", "final_error": errors[-1], "best_error": min(errors)}
    progress = f"{epochs} of {asked or 'unknown'} epochs"
    if losses and math.isnan(losses[-1]):
        return {**cells, "status": "failed", "reason": "diverged", "detail": f"loss is nan after {progress}"}
    for reason, pattern in _REASONS:
        lines = [line.strip() for line in stderr.splitlines() if re.search(pattern, line)]
        if lines:
            detail = f"{progress}; {lines[-1]}"[:_DETAIL_LENGTH]
            return {**cells, "status": "failed", "reason": reason, "detail": detail}
    return {**cells, "status": "running", "detail": progress}


def _check_errors(job: _Job, key: str, errors: Sequence[float]) -> None:
    """Raise where an error is not in per cent."""
    for place, error in enumerate(errors):
        if not math.isnan(error) and not 0 <= error <= 100:
            raise job.wrong(f"{key}[{place}]", error, "an error from 0 to 100 per cent")


# pycls


def _pycls_classes(path: Path, jobs: Sequence[tuple[str, _Job]]) -> int:
    """The number of classes that all jobs of a sweep share."""
    found = {job.whole("cfg.MODEL.NUM_CLASSES"): job for _, job in jobs if "cfg" in job.values}
    if None in found:
        raise RunError(f"{found[None].where}: there is no cfg.MODEL.NUM_CLASSES")
    if len(found) > 1:
        raise RunError(f"{path}: its jobs have different numbers of classes (cfg.MODEL.NUM_CLASSES)")
    return next(number for number in found if number is not None)


def _pycls_row(job: _Job) -> _Row:
    """One job of a sweep.json."""
    if "cfg" not in job.values:  # it ended before it logged what it was to do
        nothing = {"id": _digest(job.text("log_file") or job.where), "radix": 0, "job": _pycls_name(job), "device": ""}
        return _Row(nothing | _progress((), None, (), job.text("err")))
    if not isinstance(job.get("cfg"), dict):
        raise job.wrong("cfg", job.get("cfg"), "an object")
    history, ema = _pycls_history(job, "test_epoch"), _pycls_history(job, "test_ema_epoch")
    stages, candidates, extra = _pycls_network(job)
    model = {name: job.get(f"cfg.{name}") for name in ("MODEL", *_PYCLS_MODELS.get(job.text("cfg.MODEL.TYPE"), ()))}
    cells = _identity(job, candidates, model) | extra | _stage_cells(stages)
    losses = list(_by_epoch(job, "train_epoch", "loss").values())
    asked = [
        *job.wholes("test_epoch.epoch_max"),
        *_parsed(job, "test_epoch.epoch", 1),
        job.whole("cfg.OPTIM.MAX_EPOCH"),
    ]
    cells |= _progress(history, asked[0], losses, job.text("err"))
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
        "recipe_rest": _digest(_rest(job.get("cfg"))),
    }
    return _Row(cells, history, ema)


def _rest(cfg: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """What pycls's configuration says of training beyond what has columns of its own."""
    rest = {}
    for key, part in cfg.items():
        name = f"{within}{key}"
        if name not in _NOT_THE_REST:
            rest[key] = _rest(part, f"{name}.") if isinstance(part, dict) else part
    return rest


def _pycls_name(job: _Job) -> str:
    """The folder of a job's log, which pycls calls it by."""
    return Path(job.text("log_file")).parent.name


_PYCLS_MODELS = {
    "anynet": ("ANYNET",),
    "regnet": ("REGNET",),
    "resnet": ("RESNET",),
    "effnet": ("EN",),
    "vit": ("VIT",),
}
"""The part of the configuration that describes a network, by cfg.MODEL.TYPE."""


def _pycls_network(job: _Job) -> tuple[Sequence[Stage], list[tuple[Network, int]], dict[str, float]]:
    """The stages of a job's network, the network where we have it, and columns of a RegNet's parameters."""
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
    except InputError:  # a network that pycls knows and we do not
        return stages, [], extra
    return stages, [(network, job.whole("cfg.TRAIN.IM_SIZE") or 224)], extra


def _pycls_regnet(job: _Job) -> tuple[Sequence[Stage], dict[str, float]]:
    """The stages of a RegNet, and the columns of its parameters."""
    depth, w_0 = job.whole("cfg.REGNET.DEPTH") or 0, job.whole("cfg.REGNET.W0") or 0
    w_a, w_m = job.number("cfg.REGNET.WA"), job.number("cfg.REGNET.WM")
    multiplier, group_width = job.number("cfg.REGNET.BOT_MUL"), job.whole("cfg.REGNET.GROUP_W") or 0
    extra = {"depth": depth, "w_0": w_0, "w_a": w_a, "w_m": w_m}
    try:
        ratio = _ratio(1.0 if math.isnan(multiplier) else multiplier)
        parameters = RegNetParameters(depth, w_0, w_a, w_m, ratio, group_width)
        return parameters.stages(job.whole("cfg.REGNET.STRIDE") or 2), extra
    except (InputError, ZeroDivisionError) as error:
        raise RunError(f"{job.where}: cfg.REGNET describes no RegNet ({error})") from error


def _pycls_stages(job: _Job, block: str) -> list[Stage]:
    """The stages of an AnyNet, from the lists of its configuration."""
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
    """Stages from lists of depths, widths, strides, bottleneck multipliers and group widths (or numbers of groups).

    The last two may be empty, for blocks that have neither; strides for those that are all 2.
    """
    depths, widths, strides, multipliers, groups = lists
    strides = strides or [2] * len(depths)
    plain = block in _PLAIN or not multipliers or not groups
    if not depths or any(
        len(one) != len(depths) for one in (widths, strides, *(() if plain else (multipliers, groups)))
    ):
        lengths = ", ".join(str(len(one)) for one in lists)
        raise RunError(f"{job.where}: the lists of {key} do not make stages (they have {lengths} entries)")
    stages = []
    for place, (depth, width, stride) in enumerate(zip(depths, widths, strides, strict=True)):
        try:
            if plain:
                stages.append(Stage(depth, width, stride, 1, width))
                continue
            ratio, group_width = _ratio(multipliers[place]), groups[place]
            if count_groups:
                group_width = Stage(depth, width, stride, ratio).inner_width // groups[place]
            stages.append(Stage(depth, width, stride, ratio, group_width))
        except (InputError, ZeroDivisionError, OverflowError, ValueError) as error:
            raise RunError(f"{job.where}: stage {place + 1} of {key} is none ({error})") from error
    return stages


def _parsed(job: _Job, key: str, part: int) -> list[int]:
    """The epochs (part 0) or their number (part 1) from texts like 12/50."""
    found = job.get(key) or []
    if not isinstance(found, list):
        raise job.wrong(key, found, "a list")
    for place, text in enumerate(found):
        if not isinstance(text, str) or not re.fullmatch(r"\d{1,9}/\d{1,9}", text):
            raise job.wrong(f"{key}[{place}]", text, "an epoch like 12/50")
    return [int(text.split("/")[part]) for text in found]


def _by_epoch(job: _Job, kind: str, column: str) -> dict[int, float]:
    """A column of pycls's log by epoch.

    A job that went on from a checkpoint may log an epoch twice, and pycls then sorts equal epochs by value, so that
    nobody knows the later: the greater counts, for that flatters nobody.
    """
    values = job.numbers(f"{kind}.{column}")
    epochs = job.wholes(f"{kind}.epoch_ind") or _parsed(job, f"{kind}.epoch", 0)
    if values and len(values) != len(epochs):
        raise RunError(f"{job.where}: {kind}.{column} has {len(values)} values for {len(epochs)} epochs")
    found: dict[int, float] = {}
    for epoch, value in zip(epochs, values, strict=bool(values)):
        found[epoch] = value if epoch not in found else max(found[epoch], value)
    return dict(sorted(found.items()))


def _pycls_history(job: _Job, kind: str) -> tuple[EpochRecord, ...]:
    """The epochs of a job, with the errors of ``kind``: test_epoch or test_ema_epoch."""
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
    """One file of the NDS data."""
    notes: tuple[str, ...] = ()
    rows = [_nds_row(job) for _, job in jobs]
    found = {classes for _, classes in rows if classes}
    if len(found) > 1:
        raise RunError(f"{path}: its jobs have different numbers of classes ({', '.join(map(str, sorted(found)))})")
    if found:
        num_classes = found.pop()
    else:
        num_classes = 1000 if path.stem.endswith("_in") else 10
        data = (
            "ImageNet, for the file's name ends"
            if num_classes == 1000
            else "CIFAR-10, for the file's name does not end"
        )
        notes = (f"{path.stem} does not say how many classes there are; they are taken to be those of {data} in _in.",)
    parts = {row_part for row_part, _ in jobs}
    named = [
        _Row({**row.cells, "part": part} if parts != {""} else row.cells, row.history)
        for (part, _), (row, _) in zip(jobs, rows, strict=True)
    ]
    return _source(path, named, num_classes, notes)


def _nds_row(job: _Job) -> tuple[_Row, int | None]:
    """One job of NDS, and the number of classes where its weights tell."""
    net = job.get("net")
    if not isinstance(net, dict):
        raise job.wrong("net", net, "an object")
    for key in ("params", "flops", "test_ep_top1"):
        if job.get(key) is None:
            raise RunError(f"{job.where}: there is no {key}")
    stages: Sequence[Stage] = ()
    candidates: list[tuple[Network, int]] = []
    if "genotype" not in net:  # else a network of cells, which has no stages as ours have
        stages, candidates = _nds_network(job)
    cells = _identity(job, candidates, net) | _stage_cells(stages)
    classes = next((network.num_classes for network, _ in candidates if network.id == cells["id"]), None)
    errors = job.numbers("test_ep_top1")
    _check_errors(job, "test_ep_top1", errors)
    train_errors, losses = job.numbers("train_ep_top1"), job.numbers("train_ep_loss")
    for key, values in (("train_ep_top1", train_errors), ("train_ep_loss", losses)):
        if values and len(values) != len(errors):
            raise RunError(f"{job.where}: {key} has {len(values)} epochs and test_ep_top1 {len(errors)}")
    history = tuple(
        EpochRecord(
            epoch=place + 1,
            lr=math.nan,
            train_loss=losses[place] if losses else math.nan,
            train_error=train_errors[place] if train_errors else math.nan,
            test_error=error,
            wall_s=math.nan,
        )
        for place, error in enumerate(errors)
    )
    optim = job.get("optim") or {}
    if not isinstance(optim, dict):
        raise job.wrong("optim", optim, "an object")
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
    """The stages of a job's network, and the networks that it may be: on CIFAR-10 or on ImageNet."""
    block = _BLOCKS.get(job.text("net.block_type"), "")
    depths, widths, strides, groups = (job.wholes(f"net.{name}") for name in ("ds", "ws", "ss", "num_gs"))
    lists = (depths, widths, strides, job.numbers("net.bot_muls"), groups)
    stem_width = job.whole("net.stem_w")
    if stem_width is None:  # then the stem stands in the lists as their first entry
        if not widths:
            raise RunError(f"{job.where}: there are neither net.ws nor net.genotype")
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
