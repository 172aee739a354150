"""Where results come from: what was trained on what with which recipe, by whom and when, and how to load a network."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from designspace.analysis.results import Results
from designspace.analysis.tables import Table
from designspace.support.errors import RunError
from designspace.support.text import as_utf8, first_few
from designspace.trials.folder import RunFolder
from designspace.trials.launches import LaunchFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe

_NOT_RECORDED = "-"
_LONGEST = 400
"""Characters of a value of launch.json, which anybody may have written."""
_MOST = 5
"""Users, machines, versions or commands that are named."""
_OF_TRAINING = (
    *("data set", "training images", "test images", "held-out images", "resolution", "epochs", "batch size"),
    *("learning rate", "weight decay", "momentum", "augmentation", "other settings", "training function"),
)
"""Facts in which runs must agree for their errors to be comparable."""
_OF_TABLE = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "seed": "seed",
}
"""Columns of a table of results, which may say something where no recipe does."""
_TOLD = {
    *("data", "train_images", "test_images", "heldout_images", "crop_size", "test_size", "epochs", "warmup_epochs"),
    *("batch_size", "lr", "momentum", "nesterov", "weight_decay", "trainer"),
    *("flip", "crop_padding", "crop_area", "colour_jitter", "lighting", "policy", "randaugment_ops"),
    *("randaugment_magnitude", "erasing", "mixup"),
}
"""Fields of a recipe that have a fact of their own; the others are ``other settings`` where they are not the usual."""


@dataclass(frozen=True)
class Origin:
    """Where the results of one run come from. Made by `origin_of`."""

    name: str
    """Of the run, as in the results."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What is known, in the order in which it is told."""
    folder: RunFolder | None = None
    """The run that networks can be loaded from; None for a file of another program."""

    def sentence(self) -> str:
        """What was trained on what, by whom and when, in one line without the run's name."""
        facts = self.facts
        if not any(name in facts for name in _OF_TRAINING):
            return "how the networks were trained is not recorded"
        images = facts.get("data set", "")
        if facts.get("training images", "all") != "all":
            images += f" ({facts['training images']} training images)"
        parts = [images, facts.get("resolution", "")]
        numbers = ("epochs", "batch size", "learning rate", "weight decay", "seed")
        parts += [f"{name} {facts[name].split(', ')[0]}" for name in numbers if name in facts]
        what = ", ".join(part for part in parts if part)
        if "launched" not in facts:
            return what
        who = f"trained by {facts['trained by']}, launched" if "trained by" in facts else "launched"
        return f"{what}; {who} {facts['launched']}" + (f", {facts['code']}" if "code" in facts else "")

    def loading(self, id_: str) -> str:
        """The line of Python that loads a network of the run; an empty text for one that was not trained here."""
        if self.folder is None or not self.folder.trial(id_).path.is_dir():
            return ""
        return f"designspace.load({literal(str(self.folder.path))}, id={literal(id_)})"


def origin_of(run: RunFolder | Path, results: Results) -> Origin:
    """Gather where the results of a run come from.

    Args:
        run: a run folder, or a file of another program.
        results: what was read from it.
    """
    if not isinstance(run, RunFolder):
        return Origin(results.name, _of_table(results))
    facts: dict[str, str] = {}
    with contextlib.suppress(RunError):  # a run that was published as its table alone
        space = run.space()
        side = space.template.resolution
        networks = results.table["id"].nunique()
        facts = {"networks": f"{networks:,} of {space.name}", "classes": f"{space.template.num_classes:,}"}
        facts["resolution"] = f"{side} x {side} pixels"
    plan = run.plan()
    facts |= _of_plan(plan, facts.get("resolution", "")) if plan else _of_table(results)
    return Origin(results.name, {**facts, **_of_launches(run)}, run)


def origin_table(origins: Sequence[Origin]) -> Table:
    """A row for each fact and a column for each run; facts that no run has are left out."""
    names = list(dict.fromkeys(name for origin in origins for name in origin.facts))
    rows = tuple((name, *(origin.facts.get(name, _NOT_RECORDED) for origin in origins)) for name in names)
    return Table("What was trained", ("", *(origin.name for origin in origins)), rows, 1 + len(origins))


def sentences(origins: Sequence[Origin]) -> tuple[str, ...]:
    """What was trained, one line for all runs of which the same is said; a run is named with its space."""
    names: dict[str, list[str]] = {}
    for origin in origins:
        networks = origin.facts.get("networks", "")
        is_named_so = not networks or networks.endswith(f" of {origin.name}")
        name = origin.name if is_named_so else f"{origin.name} ({networks})"
        names.setdefault(origin.sentence(), []).append(name)
    return tuple(f"{first_few(runs, _MOST)}: {sentence}" for sentence, runs in names.items())


def literal(text: str) -> str:
    r"""A text as Python writes it, between double quotes and with escapes for what is not UTF-8.

    >>> print(literal('runs/a "b"'), literal("caf\udce9"))
    "runs/a \"b\"" "caf\udce9"
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", lambda sign: f"\\u{ord(sign[0]):04x}", quoted)


def _of_plan(plan: Plan, side: str) -> dict[str, str]:
    """Return the facts that a plan tells; ``side`` is the size of the networks' images."""
    facts = _of_recipe(plan.recipe, plan.seed, side)
    return facts if len(plan.seeds) == 1 else {**facts, "seed": f"{plan.seeds[0]} to {plan.seeds[-1]}"}


def _of_recipe(recipe: Recipe, seed: int, side: str) -> dict[str, str]:
    """The facts that a recipe tells; ``side`` is the size of the networks' images."""
    sizes = [side] if side else []
    for name, size in (("trained on crops of", recipe.crop_size), ("tested on", recipe.test_size)):
        sizes += [f"{name} {size} x {size}"] if size else []
    facts = {"data set": recipe.data, "resolution": ", ".join(sizes)}
    for name, count in (("training images", recipe.train_images), ("test images", recipe.test_images)):
        facts[name] = "all" if count is None else f"{count:,}"
    if recipe.heldout_images:
        facts["held-out images"] = f"{recipe.heldout_images:,}"
    warmup = f", of which {recipe.warmup_epochs:g} for warm-up" if recipe.warmup_epochs else ""
    facts |= {
        "epochs": f"{recipe.epochs}{warmup}",
        "batch size": f"{recipe.batch_size:,}",
        "learning rate": f"{recipe.lr:g}, falling along half a cosine",
        "weight decay": f"{recipe.weight_decay:g}",
        "momentum": f"{recipe.momentum:g}{', Nesterov' if recipe.nesterov else ''}",
        "augmentation": _augmentation(recipe),
    }
    usual = Recipe().to_dict()
    others = [
        f"{name} {str(value).lower()}"
        for name, value in recipe.to_dict().items()
        if name not in _TOLD and value != usual[name]
    ]
    if others:
        facts["other settings"] = ", ".join(others)
    if recipe.trainer:
        facts["training function"] = recipe.trainer
    return {**facts, "seed": str(seed)}


def _augmentation(recipe: Recipe) -> str:
    """How training images are changed, in words."""
    parts = [
        ("flips", recipe.flip),
        (f"crops after padding by {recipe.crop_padding} pixels", recipe.crop_padding),
        (f"random resized crops of at least {recipe.crop_area:.0%} of the area", recipe.crop_area < 1),
        (f"{recipe.policy}{_strength(recipe)}", recipe.policy),
        (f"colour jitter {recipe.colour_jitter:g}", recipe.colour_jitter),
        (f"lighting {recipe.lighting:g}", recipe.lighting),
        (f"random erasing {recipe.erasing:g}", recipe.erasing),
        (f"mixup {recipe.mixup:g}", recipe.mixup),
    ]
    return ", ".join(words for words, used in parts if used) or "none"


def _strength(recipe: Recipe) -> str:
    """How strong RandAugment is."""
    if recipe.policy != "randaugment":
        return ""
    return f" ({recipe.randaugment_ops} operations of magnitude {recipe.randaugment_magnitude:g})"


def _of_table(results: Results) -> dict[str, str]:
    """The facts that the columns of a table of results tell."""
    done = results.table[results.table["status"] == "done"]
    facts = {}
    for column, name in _OF_TABLE.items():
        values = sorted(done[column].dropna().unique()) if column in done.columns else []
        if values and (column != "seed" or len(values) > 1 or values[0]):
            few = ", ".join(f"{value:g}" for value in values)
            facts[name] = few if len(values) <= _MOST else f"{values[0]:g} to {values[-1]:g}"
    return facts


def _of_launches(run: RunFolder) -> dict[str, str]:
    """Who launched trainings when, from where and with which code; copies of a run have the original's launches."""
    launches = [about for path in sorted(run.launches_path.glob("*-*")) if (about := _about(LaunchFolder(path)))]
    if not launches:
        return {}
    users = _distinct(f"{_text(about['user'])} on {_host(about)}" for about in launches if "user" in about)
    code = _distinct(
        ", ".join(f"{name} {_text(about[name])}" for name in ("commit", "designspace", "torch") if name in about)
        for about in launches
    )
    times = sorted(_text(about["time"]) for about in launches if "time" in about)
    when = times[:1] if len(times) < 2 else [f"{times[0]} to {times[-1]} ({len(times)} launches)"]
    commands = _distinct(_text(about["command"]) for about in launches if "command" in about)
    found = {"trained by": users, "launched": "".join(when), "code": code, "commands": commands}
    return {name: value for name, value in found.items() if value}


def _about(launch: LaunchFolder) -> dict[str, Any]:
    """What a launch noted; nothing where that cannot be read."""
    try:
        return launch.about()
    except (RunError, TypeError, ValueError, RecursionError):
        return {}


def _host(about: Mapping[str, Any]) -> str:
    owner = about.get("owner")
    return _text(owner["host"]) if isinstance(owner, Mapping) and "host" in owner else "an unknown machine"


def _distinct(texts: Iterable[str]) -> str:
    """Different texts, in their order."""
    return first_few(list(dict.fromkeys(text for text in texts if text)), _MOST)


def _text(value: object) -> str:
    """A value that anybody may have written, as a short text in one line without control characters."""
    words = " ".join(as_utf8(str(value)[:_LONGEST]).split())
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in words)
    return text if len(str(value)) <= _LONGEST else f"{text}…"
