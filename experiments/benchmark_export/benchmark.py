"""Check that every published network and networks drawn from spaces can be exported and compute the same values.

Each network is exported as ONNX, run by onnxruntime; exported by ``torch.export``, saved and loaded; and run channels
last. The drawn networks and three published ones are also compiled without a graph break, in evaluation and in training
mode, by the backend that runs the captured graph unchanged. Differences from the module are relative to the largest
logit.

Three published networks have their full depth, and all have a version with at most two blocks per stage, because
export time grows with depth, and depth only repeats blocks. Run with `make bench` (13 CPU minutes), or with the
argument ``full`` for all networks at full depth (an hour or more). README.md has the latest results.
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

sys.path.append(str(Path(__file__).parents[1]))
from this_machine import print_machine

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
    """Yield ten networks with split attention from three spaces: the first draws with at most 12 blocks."""
    for name, radix, count in (("AnyNetXA", {"radix": [1, 2, 4]}, 4), ("AnyNeSt", {}, 3), ("RegNeSt", {}, 3)):
        population = space(name, **radix, **IMAGES).sample(100, seed=1)  # type: ignore[arg-type]
        candidates = [network for network in population if network.radix and network.depth <= 12]
        for network in candidates[:count]:
            yield f"{name} {network.id}, radix {network.radix}", network


def published(*, full: bool) -> Iterator[tuple[str, Network]]:
    """Yield all published networks; names whose networks are equal after cutting their depth share one entry."""
    names_of: dict[Network, list[str]] = {}
    for name in catalog.names():
        network = catalog.get(name)
        stages = (s if full else dataclasses.replace(s, depth=min(s.depth, 2)) for s in network.stages)
        names_of.setdefault(dataclasses.replace(network, stages=tuple(stages)), []).append(name)
    for network, names in names_of.items():
        yield ", ".join(names), network


def model_of(network: Network) -> AnyNet:
    """Return a module with random batch-norm statistics, so that losing them in an export changes the outputs."""
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
    """Return noise images of a batch size, a height and a width."""
    batch, height, width = size
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, network.in_channels, height, width, generator=generator)


def difference(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return float((actual - expected).abs().max() / expected.abs().max())


def largest_difference(exported: nn.Module, model: AnyNet, sizes: list[Size]) -> float:
    """Return the largest difference between an exported module and its original over several sizes."""
    with torch.no_grad():
        images = [images_of(model.network, size) for size in sizes]
        return max(difference(exported(x), model(x)) for x in images)


def compiled_difference(model: AnyNet, size: Size) -> float:
    """Return the largest difference of the compiled module in both modes; a graph break raises an error."""
    x = images_of(model.network, size)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    differences = []
    for training in (True, False):
        torch._dynamo.reset()
        model.train(training)
        actual = torch.compile(model, fullgraph=True, backend="eager")(x).detach()
        model.load_state_dict(state)
        differences.append(difference(actual, model(x).detach()))
        model.load_state_dict(state)
    return max(differences)


def row(name: str, network: Network, folder: Path, *, compiles: bool) -> str:
    """Export one network in every format, and return its row of the table."""
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
    exported = largest_difference(program, model, sizes[1:])
    compiled = f"{compiled_difference(model, sizes[1]):.1e}" if compiles else ""
    x = images_of(network, sizes[1])
    with torch.no_grad():
        expected = model(x)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        last = difference(model(x.to(memory_format=torch.channels_last)), expected)
    return (
        f"| {name} | {network.depth} | {onnx:.1e} | {mib:.1f} | {onnx_s:.0f} | {exported:.1e} | {export_s:.0f} "
        f"| {compiled} | {last:.1e} |"
    )


def main(*, full: bool) -> None:
    """Print the table row by row."""
    print_machine()
    print("| network | blocks | ONNX | MiB | CPU s | torch.export | CPU s | torch.compile | channels last |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    thorough = [*drawn(), *((name, catalog.get(name)) for name in AT_FULL_DEPTH)]
    with tempfile.TemporaryDirectory() as folder:
        for networks, compiles in ((thorough, True), (published(full=full), False)):
            for name, network in networks:
                print(row(name, network, Path(folder), compiles=compiles), flush=True)


if __name__ == "__main__":
    main(full="full" in sys.argv[1:])
