"""Export a trained network as a self-contained folder, or as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from designspace.cli import app
from designspace.cli.options import Count
from designspace.library.export import check_onnx, check_onnx_packages, to_onnx, to_torch_export
from designspace.library.loading import load
from designspace.library.saved import ONNX, TORCH_EXPORT, write_model
from designspace.models import AnyNet
from designspace.models.info import ModelInfo, published_info
from designspace.models.zoo import create_model
from designspace.support.errors import InputError
from designspace.support.reading import entries
from designspace.support.text import counted


@dataclass(frozen=True, kw_only=True)
class Options(app.Options):
    """Keys of configs/export.yaml, which describes them."""

    run: Path | None
    rank: Count | None
    id: str | None
    model: str | None
    weights: str | bool | None
    to: Path
    onnx: bool
    torch_export: bool


def run(options: Options) -> None:
    """Write the model folder, and print its path and how to load it."""
    if options.onnx:
        check_onnx_packages()  # before anything is written
    model, info = _chosen(options)
    folder = options.to
    write_model(folder, model, info)
    crop = info.preset.crop
    if options.onnx:
        to_onnx(model, folder / ONNX)
        print(f"{ONNX}: {_comparison(folder / ONNX, model, crop)}")
    if options.torch_export:
        to_torch_export(model, folder / TORCH_EXPORT, crop)
    names = ", ".join(path.name for path in entries(folder))
    print(f"{info.name}{_rank(info)} is in {folder}: {names}")
    print("load it on this or any other machine:\n")
    print(f"    import designspace\n    model = designspace.load({str(folder)!r})")


def _chosen(options: Options) -> tuple[AnyNet, ModelInfo]:
    """Return the chosen model and its `ModelInfo`."""
    if options.model is not None and options.run is None:
        model = create_model(options.model, options.weights or False)
        return model, model.weights or published_info(options.model, None)
    if options.run is None or options.model is not None:
        raise InputError("either run=... or model=... must be given, but not both; see --help")
    model = load(options.run, rank=options.rank if options.id is None else None, id=options.id)
    assert model.weights is not None
    return model, model.weights


def _rank(info: ModelInfo) -> str:
    """Return the rank and error of a run's network in brackets; an empty text for other models."""
    if info.selection is None or info.result is None:
        return ""
    metric = info.result.known_metric
    mean = f", {info.seeds.kind} {metric.text(info.seeds.final_mean)}" if info.seeds else ""
    count = counted(info.selection.done, "trained network")
    error = f"{metric.name} {metric.text(info.result.final_error)}"
    return f" (rank {info.selection.rank} of {count}, {error}{mean})"


def _comparison(path: Path, model: AnyNet, crop: int) -> str:
    """Return how much the logits of an ONNX file differ from torch's, as text."""
    try:
        difference = check_onnx(path, model, [(1, crop, crop), (3, crop + 11, crop + 3)])
    except InputError as error:
        return f"not compared with torch: {error}"
    return f"its logits differ from torch's by at most {difference:.1e} of the largest one (1 and 3 images, two sizes)"


if __name__ == "__main__":
    app.main("export", run)
