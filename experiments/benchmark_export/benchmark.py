"""Can every published network, and what spaces draw, be exported, and does it compute the same?

As ONNX, run by onnxruntime; as a program of ``torch.export``, saved and loaded; channels last; and, for the drawn
networks and three published ones, compiled without a graph break in evaluation and in training mode, with the backend
that runs the captured graph as it is. Differences are from the module itself, as a part of the largest logit.

Of the published networks, three are taken at full depth and all with at most two blocks a stage: depth only repeats
blocks, and an exporter takes its time for each. Run with `make bench` (13 CPU minutes), or with the
word ``full`` for all of them at full depth (an hour or more). The README has the last table.
"""

from __future__ import annotations

import dataclasses
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from designspace.library.export import check_onnx, to_onnx, to_torch_export
from designspace.models import AnyNet
from designspace.networks import catalog
from designspace.networks.network import Network
from designspace.spaces.catalog import space

Size = tuple[int, int, int]
"""Batch size, height, width."""
LARGE: list[Size] = [(1, 224, 224), (3, 75, 61), (2, 33, 97)]
SMALL: list[Size] = [(1, 28, 28), (3, 75, 61), (2, 33, 47)]
IMAGES = {
    "stem": "cifar",
    "stem_width": 16,
    "in_channels": 1,
    "num_classes": 10,
    "resolution": 28,
    "flops": (2e6, 3.5e6),
}
AT_FULL_DEPTH = ("regnetx_200mf", "regnety_200mf", "resnest14")


def drawn() -> Iterator[tuple[str, Network]]:
    """Ten networks with a radix, of three spaces: the first ones drawn that have at most 12 blocks."""
    for name, radix, count in (("AnyNetXA", {"radix": [1, 2, 4]}, 4), ("AnyNeSt", {}, 3), ("RegNeSt", {}, 3)):
        population = space(name, **radix, **IMAGES).sample(100, seed=1)  # type: ignore[arg-type]
        fit = [network for network in population if network.radix and network.depth <= 12]
        for network in fit[:count]:
            yield f"{name} {network.id}, radix {network.radix}", network


def published(*, full: bool) -> Iterator[tuple[str, Network]]:
    """All published networks, those together that are the same once they are cut."""
    named: dict[Network, list[str]] = {}
    for name in catalog.names():
        network = catalog.get(name)
        stages = (s if full else dataclasses.replace(s, depth=min(s.depth, 2)) for s in network.stages)
        named.setdefault(dataclasses.replace(network, stages=tuple(stages)), []).append(name)
    for network, names in named.items():
        yield ", ".join(names), network


def model_of(network: Network) -> AnyNet:
    """A module whose batch-norm statistics are none that folding them away would not show."""
    generator = torch.Generator().manual_seed(0)
    model = AnyNet(network, seed=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.weight.data, 0.5),
                (module.bias.data, -0.2),
                (module.running_mean, -0.2),
                (module.running_var, 0.8),
            ):
                assert isinstance(tensor, Tensor)
                tensor.copy_(low + 0.4 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def images_of(network: Network, size: Size) -> Tensor:
    """Noise of a batch size, a height and a width."""
    batch, height, width = size
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, network.in_channels, height, width, generator=generator)


def difference(given: Tensor, expected: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((given - expected).abs().max() / expected.abs().max())


def worst(function: nn.Module, model: AnyNet, sizes: list[Size]) -> float:
    """The largest difference of a function from the module over some sizes."""
    with torch.no_grad():
        images = [images_of(model.network, size) for size in sizes]
        return max(difference(function(x), model(x)) for x in images)


def compiled(model: AnyNet, size: Size) -> float:
    """The largest difference of the compiled module, in evaluation and in training mode; a graph break raises."""
    x = images_of(model.network, size)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = []
    for training in (True, False):
        torch._dynamo.reset()
        model.train(training)
        given = torch.compile(model, fullgraph=True, backend="eager")(x).detach()
        model.load_state_dict(state)
        found.append(difference(given, model(x).detach()))
        model.load_state_dict(state)
    return max(found)


def row(name: str, network: Network, folder: Path, *, compiles: bool) -> str:
    """Export one network each way."""
    model = model_of(network)
    sizes = SMALL if network.in_channels == 1 else LARGE
    start = time.process_time()
    to_onnx(model, folder / "model.onnx")
    onnx_s = time.process_time() - start
    onnx = check_onnx(folder / "model.onnx", model, sizes)
    mib = (folder / "model.onnx").stat().st_size / 2**20
    start = time.process_time()
    to_torch_export(model, folder / "model.pt2", sizes[0][1])
    export_s = time.process_time() - start
    program = torch.export.load(io.BytesIO((folder / "model.pt2").read_bytes())).module()
    exported = worst(program, model, sizes[1:])
    whole = f"{compiled(model, sizes[1]):.1e}" if compiles else ""
    x = images_of(network, sizes[1])
    with torch.no_grad():
        expected = model(x)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        last = difference(model(x.to(memory_format=torch.channels_last)), expected)
    return (
        f"| {name} | {network.depth} | {onnx:.1e} | {mib:.1f} | {onnx_s:.0f} | {exported:.1e} | {export_s:.0f} "
        f"| {whole} | {last:.1e} |"
    )


def main(*, full: bool) -> None:
    """Print the table, a row at a time."""
    print("| network | blocks | ONNX | MiB | CPU s | torch.export | CPU s | torch.compile | channels last |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    thorough = [*drawn(), *((name, catalog.get(name)) for name in AT_FULL_DEPTH)]
    with tempfile.TemporaryDirectory() as folder:
        for networks, compiles in ((thorough, True), (published(full=full), False)):
            for name, network in networks:
                print(row(name, network, Path(folder), compiles=compiles), flush=True)


if __name__ == "__main__":
    main(full="full" in sys.argv[1:])
