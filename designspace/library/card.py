"""The model card: a Markdown description of a model for its users."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from designspace.library.metadata import card_head
from designspace.models.info import ModelInfo, SeedMeans, TrainingInfo
from designspace.networks.complexity import Complexity, complexity
from designspace.networks.network import Network
from designspace.support.text import duration, prefixed
from designspace.trials.metric import Metric


def model_card(network: Network, info: ModelInfo) -> str:
    """Return the card of a model as Markdown, with a head in YAML for Hugging Face's hub."""
    parts = [
        f"# {info.name}",
        f"An image classifier with the network `{network.id}`. Weights: {info.origin}. Licence: {info.licence}.",
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
        parts += ["## Published accuracy", _pairs(info.about["published"])]
    if info.provenance:
        parts += ["## Provenance", *(_provenance(entry) for entry in info.provenance)]
    return card_head(network, info) + "\n\n".join(part for part in parts if part) + "\n"


def _result(info: ModelInfo) -> str:
    """Return the error, the images on which it was measured, and how the network was chosen."""
    result, selection = info.result, info.selection
    if result is None:
        return ""
    heldout, metric = result.heldout_error, result.known_metric
    name, kind = metric.name, f" ({metric.kind})" if metric.kind else ""
    best = "lowest" if metric.direction == "lower" else "highest"
    rows = [
        (f"{name} after the last epoch", f"**{metric.text(result.final_error)}**{kind}"),
        *([] if heldout is None else [(f"{name} on held-out images", metric.text(heldout))]),
        (f"{best} {name} of any epoch", metric.text(result.best_error)),
        ("measured on", result.measured_on),
    ]
    sentences = ["The weights are those after the last epoch."]
    if selection is not None:
        counts = (("failed", selection.failed), ("unfinished", selection.unfinished))
        others = _in_brackets([f"{count} {kind}" for kind, count in counts if count])
        rows += [
            ("rank", f"{selection.rank} of {selection.done} trained networks"),
            ("run", f"{selection.run}: {selection.trials} networks of {selection.space}{others}"),
        ]
    if info.seeds is not None and info.training is not None:
        seed = info.training.seed
        rows[0] = (f"{name} after the last epoch, seed {seed}", f"{metric.text(result.final_error)}{kind}")
        rows.insert(1, (info.seeds.kind, _mean_and_deviation(info.seeds, metric, final=heldout is not None)))
        sentences.append(_explain_means(info.seeds, metric, seed))
    elif selection is not None and selection.done > 1:
        sentences.append(_explain_choice(selection.done, metric, heldout=heldout is not None))
    return _table(("", ""), rows) + "\n\n" + " ".join(sentences)


def _mean_and_deviation(seeds: SeedMeans, metric: Metric, *, final: bool) -> str:
    """Return the mean of the final errors, or of those that rank networks, with its standard deviation if known."""
    if final:
        return f"**{metric.text(seeds.final_mean)}**"
    deviation = seeds.standard_deviation
    spread = "" if deviation is None else f" (standard deviation {metric.number(deviation)})"
    return f"**{metric.text(seeds.mean)}**{spread}"


def _explain_means(seeds: SeedMeans, metric: Metric, seed: int) -> str:
    """Explain the errors of a model whose network was trained with several seeds."""
    model = f"This model was trained with seed {seed}. The mean above, {seeds.kind.removeprefix('mean ')}, is "
    if seeds.fresh:
        return (
            f"{model}the {metric.name} to quote for the network, because these seeds played no part in choosing it. "
            f"The {metric.name} by which the network was chosen is {metric.flattered} on average: part of its rank is "
            "the luck of its seed."
        )
    return (
        f"{model}the {metric.name} by which the network was chosen. A mean over seeds depends less on luck than the "
        f"{metric.name} of a single training, but because of the choice it is still {metric.flattered} on average."
    )


def _explain_choice(networks: int, metric: Metric, *, heldout: bool) -> str:
    """Explain how choosing the best of several networks affects the measured errors."""
    if heldout:
        return (
            f"The networks of the run were ranked by their {metric.name} on the held-out images, so for the best ones "
            f"that {metric.name} is {metric.flattered} on average. The test images played no part in choosing among "
            f"the {networks} networks."
        )
    return (
        f"The networks of the run were ranked by their {metric.name} on these same images, so for the best ones it is "
        f"{metric.flattered} on average. Expect a {metric.worse_word} {metric.name} on images that played no part in "
        f"choosing among the {networks} networks."
    )


def _usage(network: Network, info: ModelInfo) -> str:
    """Return how to prepare images and load the model, with an example that runs in the model folder's parent."""
    preset = info.preset
    channels = {1: "grey", 3: "RGB"}.get(network.in_channels, f"{network.in_channels} channels")
    shape = f"(N, {network.in_channels}, {preset.crop}, {preset.crop})"
    values = {
        "uint8": "scale them to 0..1",
        "uint16": "scale them to 0..1, where 65535 is 1",
        "float32": "in the units of the training images",
    }[preset.dtype]
    shown_range = "in their own units" if preset.dtype == "float32" else "values from 0 to 1"
    if preset.resize == preset.crop:
        size = f"{preset.crop} x {preset.crop} pixels, larger images resized ({preset.interpolation})"
    else:
        side = f"shorter side resized to {preset.resize} pixels ({preset.interpolation})"
        size = f"{side}, then the central {preset.crop} x {preset.crop} pixels cropped"
    return f"""Prepare images as follows:

- channels: {channels}
- size: {size}
- values: {values}, subtract the mean {_numbers(preset.mean)} and divide by the standard deviation
  {_numbers(preset.std)}, channel by channel

```python
import designspace, torch

model = designspace.load("this/folder")  # in evaluation mode; needs only this folder
images = torch.rand(1, {network.in_channels}, {preset.crop}, {preset.crop})  # your images, {shown_range}
mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.weights.preset.mean, model.weights.preset.std))
with torch.inference_mode():
    logits = model((images - mean) / std)  # {shape} -> (N, {network.num_classes})
print(logits.argmax(1))
```

`designspace` is the Python package of the project network-design-spaces. You can also use the files without it:
`weights.safetensors` contains all weights by name, and `network.json` describes the network. If there is a `model.onnx`
or `model.pt2` beside this file, it is the same model for ONNX runtimes (input `images`, output `logits`) or for
`torch.export.load`; prepare images in the same way. `designspace.integrations.huggingface.from_pretrained` loads
the model from a repository of Hugging Face's hub, and `config.json` describes it to timm and transformers."""


def _network(network: Network, resolution: int) -> str:
    """Return the network's complexity, its structure, and a table of its stages."""
    cost = complexity(network, resolution)
    rows = [
        (number, stage.depth, stage.width, stage.stride, f"{stage.bottleneck_ratio:g}", stage.group_width)
        for number, stage in enumerate(network.stages, start=1)
    ]
    properties = [f"{network.stem.kind} stem of width {network.stem.width}", f"{network.block} blocks"]
    for name, value in (("squeeze-and-excitation ratio", network.se_ratio), ("radix", network.radix)):
        properties += [f"{name} {value:g}"] if value else []
    properties += [f"{network.shortcut} shortcuts", f"{network.downsampling} downsampling"]
    properties += [f"head of width {network.head_width}"] if network.head_width else []
    costs, backbone = _costs(cost), _costs(complexity(network, resolution, features=True))
    sizes = f"at {resolution} x {resolution} pixels; {network.num_classes} classes"
    header = ("stage", "depth", "width", "stride", "bottleneck ratio", "group width")
    parts = [
        f"{costs} {sizes}.",
        f"As a backbone (`features=True`), without the head: {backbone}.",
        f"{', '.join(properties).capitalize()}.",
    ]
    return f"{' '.join(parts)}\n\n{_table(header, rows)}"


def _costs(cost: Complexity[int]) -> str:
    """Return the complexity of a network as words."""
    flops, params, activations = (prefixed(int(value)) for value in cost)
    return f"{params} parameters, {flops} multiply-adds and {activations} activations"


def _training(training: TrainingInfo) -> str:
    """Return seed, duration, device and end of the training."""
    return (
        f"Seed {training.seed}, {training.epochs} epochs in {duration(training.train_s)} on {training.device}, "
        f"finished {training.ended}. The full recipe:"
    )


def _provenance(entry: Mapping[str, Any]) -> str:
    """Return a command that led to the weights, with a table of its recorded values."""
    values = {key: value for key, value in entry.items() if key != "command"}
    return f"```\n{entry.get('command', 'unknown command')}\n```\n\n{_pairs(values)}"


def _pairs(values: Mapping[str, Any]) -> str:
    """Return names and values as a table."""
    return _table(
        ("", ""), [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def _in_brackets(texts: Sequence[str]) -> str:
    return f" ({', '.join(texts)})" if texts else ""


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
