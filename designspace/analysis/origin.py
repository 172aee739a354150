"""The origin of results: networks, data, recipe, who trained them and when, and how to load a network."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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
_MAX_LENGTH = 400
"""Number of characters shown of a value from launch.json, a file that anybody may have written."""
_MAX_LISTED = 5
"""Largest number of users, machines, versions or commands that are listed."""
_TRAINING_FACTS = (
    *("data set", "training images", "test images", "held-out images", "resolution", "epochs", "batch size"),
    *("learning rate", "weight decay", "momentum", "augmentation", "other settings", "training function"),
    "drawn for each network",
)
"""Facts in which runs must agree for their errors to be comparable."""
_TABLE_FACTS = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "seed": "seed",
}
"""Columns of a table of results that hold facts about the training, used if there is no recipe."""
_AUGMENTATION = (
    *("flip", "crop_padding", "crop_area", "colour_jitter", "lighting", "policy", "randaugment_ops"),
    *("randaugment_magnitude", "erasing", "mixup"),
)
_FIELDS_WITH_FACTS = {
    *("data", "train_images", "test_images", "heldout_images", "crop_size", "test_size", "epochs", "warmup_epochs"),
    *("batch_size", "lr", "momentum", "nesterov", "weight_decay", "trainer"),
    *_AUGMENTATION,
}
"""Fields of a recipe with a fact of their own; others are in ``other settings`` unless they have the default value."""


@dataclass(frozen=True)
class Origin:
    """The origin of the results of one run. Made by `origin_of`."""

    name: str
    """Name of the run, as in the results."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Known facts by name, in the order in which they are shown."""
    folder: RunFolder | None = None
    """The run folder that networks can be loaded from; None for a file of another program."""

    def sentence(self) -> str:
        """Return a line on what was trained, on which data, by whom and when, without the run's name."""
        facts = self.facts
        if not any(name in facts for name in _TRAINING_FACTS):
            return "how the networks were trained is not recorded"
        images = facts.get("data set", "")
        if facts.get("training images", "all") != "all":
            images += f" ({facts['training images']} training images)"
        parts = [images, facts.get("resolution", "")]
        numbers = ("epochs", "batch size", "learning rate", "weight decay", "seed")
        parts += [f"{name} {facts[name].split(', ')[0]}" for name in numbers if name in facts]
        training = ", ".join(part for part in parts if part)
        if "launched" not in facts:
            return training
        user = f"trained by {facts['trained by']}, launched" if "trained by" in facts else "launched"
        return f"{training}; {user} {facts['launched']}" + (f", {facts['code']}" if "code" in facts else "")

    def loading(self, id_: str) -> str:
        """Return the line of Python that loads a network of the run; empty if its trial is not in the folder."""
        if self.folder is None or not self.folder.trial(id_).path.is_dir():
            return ""
        return f"designspace.load({literal(str(self.folder.path))}, id={literal(id_)})"


def origin_of(run: RunFolder | Path, results: Results) -> Origin:
    """Collect the origin of the results of a run.

    Args:
        run: a run folder, or a file of another program.
        results: the results that were read from it.
    """
    if not isinstance(run, RunFolder):
        return Origin(results.name, _facts_of_table(results))
    facts: dict[str, str] = {}
    with contextlib.suppress(RunError):  # only the run's table was published
        space = run.space()
        side = space.template.resolution
        networks = results.table["id"].nunique()
        of_list = "" if space.is_drawn else ", a given list"
        facts = {"networks": f"{networks:,} of {space.name}{of_list}", "classes": f"{space.template.num_classes:,}"}
        facts["resolution"] = f"{side} x {side} pixels"
    plan = run.plan()
    facts |= _facts_of_plan(plan, facts.get("resolution", "")) if plan else _facts_of_table(results)
    return Origin(results.name, {**facts, **_facts_of_launches(run)}, run)


def origin_table(origins: Sequence[Origin]) -> Table:
    """Return a table with a row per fact and a column per run, without facts that no run has."""
    names = list(dict.fromkeys(name for origin in origins for name in origin.facts))
    rows = tuple((name, *(origin.facts.get(name, _NOT_RECORDED) for origin in origins)) for name in names)
    return Table("Training", ("", *(origin.name for origin in origins)), rows, 1 + len(origins))


def sentences(origins: Sequence[Origin]) -> tuple[str, ...]:
    """Return what was trained, one line for all runs with the same sentence; runs are named with their space."""
    names: dict[str, list[str]] = {}
    for origin in origins:
        networks = origin.facts.get("networks", "")
        has_name_of_space = not networks or networks.endswith(f" of {origin.name}")
        name = origin.name if has_name_of_space else f"{origin.name} ({networks})"
        names.setdefault(origin.sentence(), []).append(name)
    return tuple(f"{first_few(runs, _MAX_LISTED)}: {sentence}" for sentence, runs in names.items())


def literal(text: str) -> str:
    r"""Return a text as a Python literal in double quotes, with escapes for characters outside of UTF-8.

    >>> print(literal('runs/a "b"'), literal("caf\udce9"))
    "runs/a \"b\"" "caf\udce9"
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(
        r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", lambda character: f"\\u{ord(character[0]):04x}", quoted
    )


def _facts_of_plan(plan: Plan, side: str) -> dict[str, str]:
    """Return the facts in a plan; ``side`` is the size of the networks' images."""
    drawn = {name: axis.describe() for name, axis in plan.axes.by_field.items()}
    defaults = {name: value for name, value in Recipe().to_dict().items() if name in drawn and name in _AUGMENTATION}
    facts = _facts_of_recipe(dataclasses.replace(plan.recipe, **defaults), plan.seed, side, drawn)
    for name in ("batch_size", "lr", "weight_decay", "momentum"):
        if name in drawn:
            facts[_TABLE_FACTS.get(name, name)] = drawn.pop(name)
    if drawn:
        facts["drawn for each network"] = "; ".join(f"{name} {how}" for name, how in drawn.items())
    return facts if len(plan.seeds) == 1 else {**facts, "seed": f"{plan.seeds[0]} to {plan.seeds[-1]}"}


def _facts_of_recipe(recipe: Recipe, seed: int, side: str, drawn: Collection[str] = ()) -> dict[str, str]:
    """Return the facts in a recipe.

    Args:
        recipe: the recipe.
        seed: the first seed.
        side: the size of the networks' images, as text.
        drawn: fields that are drawn for each network; they are no ``other settings``.
    """
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
        "momentum": f"{recipe.momentum:g}{', Nesterov' if recipe.nesterov and recipe.optimiser == 'sgd' else ''}",
        "augmentation": _augmentation(recipe),
    }
    defaults = Recipe().to_dict()
    others = [
        f"{name} {str(value).lower()}"
        for name, value in recipe.to_dict().items()
        if name not in _FIELDS_WITH_FACTS and name not in drawn and value != defaults[name]
    ]
    if others:
        facts["other settings"] = ", ".join(others)
    if recipe.trainer:
        facts["training function"] = recipe.trainer
    return {**facts, "seed": str(seed)}


def _augmentation(recipe: Recipe) -> str:
    """Return the augmentation of training images as text."""
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
    return ", ".join(text for text, is_used in parts if is_used) or "none"


def _strength(recipe: Recipe) -> str:
    """Return the strength of RandAugment as text."""
    if recipe.policy != "randaugment":
        return ""
    return f" ({recipe.randaugment_ops} operations of magnitude {recipe.randaugment_magnitude:g})"


def _facts_of_table(results: Results) -> dict[str, str]:
    """Return the facts in the columns of a table of results."""
    done = results.table[results.table["status"] == "done"]
    facts = {}
    for column, name in _TABLE_FACTS.items():
        values = sorted(done[column].dropna().unique()) if column in done.columns else []
        if values and (column != "seed" or len(values) > 1 or values[0]):
            listed = ", ".join(f"{value:g}" for value in values)
            facts[name] = listed if len(values) <= _MAX_LISTED else f"{values[0]:g} to {values[-1]:g}"
    return facts


def _facts_of_launches(run: RunFolder) -> dict[str, str]:
    """Return who launched trainings, when, where and with which code; a copied run has the original's launches."""
    launches = [record for path in sorted(run.launches_path.glob("*-*")) if (record := _record(LaunchFolder(path)))]
    if not launches:
        return {}
    users = _distinct(f"{_text(record['user'])} on {_host(record)}" for record in launches if "user" in record)
    code = _distinct(
        ", ".join(f"{name} {_text(record[name])}" for name in ("commit", "designspace", "torch") if name in record)
        for record in launches
    )
    times = sorted(_text(record["time"]) for record in launches if "time" in record)
    launched = times[:1] if len(times) < 2 else [f"{times[0]} to {times[-1]} ({len(times)} launches)"]
    commands = _distinct(_text(record["command"]) for record in launches if "command" in record)
    facts = {"trained by": users, "launched": "".join(launched), "code": code, "commands": commands}
    return {name: value for name, value in facts.items() if value}


def _record(launch: LaunchFolder) -> dict[str, Any]:
    """Return the record of a launch; an empty one if it cannot be read."""
    try:
        return launch.about()
    except (RunError, TypeError, ValueError, RecursionError):
        return {}


def _host(record: Mapping[str, Any]) -> str:
    owner = record.get("owner")
    return _text(owner["host"]) if isinstance(owner, Mapping) and "host" in owner else "an unknown machine"


def _distinct(texts: Iterable[str]) -> str:
    """Return the distinct texts in their order, as one text."""
    return first_few(list(dict.fromkeys(text for text in texts if text)), _MAX_LISTED)


def _text(value: object) -> str:
    """Return a value that anybody may have written as a short text on one line without control characters."""
    line = " ".join(as_utf8(str(value)[:_MAX_LENGTH]).split())
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return text if len(str(value)) <= _MAX_LENGTH else f"{text}…"
