"""The model card: what a person should know of a model before using it, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from designspace.models.info import ModelInfo, SeedMeans, TrainingInfo
from designspace.networks.complexity import complexity
from designspace.networks.network import Network
from designspace.support.text import duration, quantity


def model_card(network: Network, info: ModelInfo) -> str:
    """Write the card of a model."""
    parts = [
        f"# {info.name}",
        f"An image classifier, network `{network.id}`. Weights: {info.origin}. Licence: {info.licence}.",
        _result(info),
        "## How to use it",
        _usage(network, info),
        "## The network",
        _network(network, info.preset.crop),
    ]
    if info.classes:
        numbered = ", ".join(f"{i} {name}" for i, name in enumerate(info.classes))
        parts.append(f"Classes, in the order of the logits: {numbered}.")
    if info.recipe and info.training is not None:
        parts += ["## How it was trained", _training(info.training), _pairs(info.recipe)]
    if info.published is not None:
        parts += ["## As published", _pairs(info.about["published"])]
    if info.provenance:
        parts += ["## Provenance", *(_provenance(entry) for entry in info.provenance)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _result(info: ModelInfo) -> str:
    """The error, on what it was measured, and how the network was selected."""
    result, selection = info.result, info.selection
    if result is None:
        return ""
    heldout = result.heldout_error
    rows = [
        ("error after the last epoch", f"**{result.final_error:.2f}%** (top-1)"),
        *([] if heldout is None else [("error on held-out images", f"{heldout:.2f}%")]),
        ("least error of any epoch", f"{result.best_error:.2f}%"),
        ("measured on", result.measured_on),
    ]
    words = ["The weights are those after the last epoch."]
    if selection is not None:
        counts = (("failed", selection.failed), ("unfinished", selection.unfinished))
        others = _in_brackets([f"{count} {kind}" for kind, count in counts if count])
        rows += [
            ("rank", f"{selection.rank} of {selection.done} trained networks"),
            ("run", f"{selection.run}: {selection.trials} networks of {selection.space}{others}"),
        ]
    if info.seeds is not None and info.training is not None:
        seed = info.training.seed
        rows[0] = (f"error after the last epoch, seed {seed}", f"{result.final_error:.2f}% (top-1)")
        rows.insert(1, (info.seeds.kind, _spread(info.seeds, of_final=heldout is not None)))
        words.append(_figures(info.seeds, seed))
    elif selection is not None and selection.done > 1:
        words.append(_choice(selection.done, heldout=heldout is not None))
    return _table(("", ""), rows) + "\n\n" + " ".join(words)


def _spread(seeds: SeedMeans, *, of_final: bool) -> str:
    """Return a mean over seeds with the standard deviation, where that is of the same errors."""
    if of_final:
        return f"**{seeds.final_mean:.2f}%**"
    deviation = seeds.standard_deviation
    return f"**{seeds.mean:.2f}%**" + ("" if deviation is None else f" (standard deviation {deviation:.2f})")


def _figures(seeds: SeedMeans, seed: int) -> str:
    """Say which of a model's errors is which, where its network was trained with several seeds."""
    model = f"This model is the training with seed {seed}, and {seeds.kind.removeprefix('mean ')} "
    if seeds.fresh:
        return (
            f"{model}the network has the mean above, which is the figure to quote for the network: these seeds played "
            "no part in choosing it. The error that had chosen it is flattered by the luck of its seed."
        )
    return (
        f"{model}the network has the mean above, by which it was chosen: a mean over seeds owes less to luck than the "
        "error of one training does, but the choice still flatters it."
    )


def _choice(networks: int, *, heldout: bool) -> str:
    """What choosing the best of so many networks does to the errors that are told."""
    if heldout:
        return (
            "The networks of the run were ranked by their error on the held-out images, which flatters that of this "
            f"one; the test images played no part in choosing among {networks}."
        )
    return (
        "The networks of the run were ranked by their error on these same images, so this one's error flatters "
        f"it: expect more on images that played no part in choosing among {networks}."
    )


def _usage(network: Network, info: ModelInfo) -> str:
    """How to load the model and prepare images, as code that runs in the folder that holds the model's."""
    preset = info.preset
    channels = {1: "grey", 3: "RGB"}.get(network.in_channels, f"{network.in_channels} channels")
    shape = f"(N, {network.in_channels}, {preset.crop}, {preset.crop})"
    if preset.resize == preset.crop:
        cut = f"{preset.crop} x {preset.crop} pixels, larger ones resized ({preset.interpolation})"
    else:
        side = f"shorter side resized to {preset.resize} pixels ({preset.interpolation})"
        cut = f"{side}, then {preset.crop} x {preset.crop} cut out of the centre"
    return f"""Images: {channels}; {cut}; values from 0 to 1; then normalised channel by channel:
mean {_numbers(preset.mean)} subtracted, divided by standard deviation {_numbers(preset.std)}.

```python
import designspace, torch

model = designspace.load("this/folder")  # in evaluation mode; needs nothing but this folder
images = torch.rand(1, {network.in_channels}, {preset.crop}, {preset.crop})  # yours, 0 to 1
mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.weights.preset.mean, model.weights.preset.std))
with torch.inference_mode():
    logits = model((images - mean) / std)  # {shape} -> (N, {network.num_classes})
print(logits.argmax(1))
```

`designspace` is the Python package of the project network-design-spaces. Without it, `weights.safetensors` holds every
weight by name, and `network.json` says what they belong to. Where `model.onnx` or `model.pt2` lie beside this file,
they are the same model for ONNX runtimes (input `images`, output `logits`) and for `torch.export.load`, which need no
`designspace`; images are prepared alike."""


def _network(network: Network, resolution: int) -> str:
    """The stages as a table, and what they cost."""
    cost = complexity(network, resolution)
    rows = [
        (number, stage.depth, stage.width, stage.stride, f"{stage.bottleneck_ratio:g}", stage.group_width)
        for number, stage in enumerate(network.stages, start=1)
    ]
    rest = [f"{network.stem.kind} stem of width {network.stem.width}", f"{network.block} blocks"]
    for name, value in (("squeeze-and-excitation ratio", network.se_ratio), ("radix", network.radix)):
        rest += [f"{name} {value:g}"] if value else []
    rest += [f"{network.shortcut} shortcuts", f"{network.downsampling} down-sampling"]
    rest += [f"head of width {network.head_width}"] if network.head_width else []
    flops, params, activations = (quantity(int(value)) for value in cost)
    costs = f"{params} parameters, {flops} multiply-adds and {activations} activations"
    where = f"at {resolution} x {resolution} pixels; {network.num_classes} classes"
    header = ("stage", "depth", "width", "stride", "bottleneck ratio", "group width")
    return f"{costs} {where}. {', '.join(rest).capitalize()}.\n\n{_table(header, rows)}"


def _training(training: TrainingInfo) -> str:
    """Seed, device and time."""
    return (
        f"Seed {training.seed}, {training.epochs} epochs in {duration(training.train_s)} on {training.device}, "
        f"ended {training.ended}. The recipe in full:"
    )


def _provenance(entry: Mapping[str, Any]) -> str:
    """What is known of one command that led here."""
    rest = {key: value for key, value in entry.items() if key != "command"}
    return f"```\n{entry.get('command', 'unknown command')}\n```\n\n{_pairs(rest)}"


def _pairs(values: Mapping[str, Any]) -> str:
    """Names and values as a table."""
    return _table(
        ("", ""), [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def _in_brackets(words: Sequence[str]) -> str:
    return f" ({', '.join(words)})" if words else ""


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
