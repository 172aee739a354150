"""Write a trained network as a folder that stands alone, or as ONNX."""

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
    """Keys of configs/export.yaml, which says what they mean."""

    run: Path | None
    rank: Count | None
    id: str | None
    model: str | None
    weights: str | bool | None
    to: Path
    onnx: bool
    torch_export: bool


def run(options: Options) -> None:
    """Write the folder, and say where it is and how to load it."""
    if options.onnx:
        check_onnx_packages()  # before anything is written
    model, info = _chosen(options)
    folder = options.to
    write_model(folder, model, info)
    crop = info.preset.crop
    if options.onnx:
        to_onnx(model, folder / ONNX)
        print(f"{ONNX}: {_compared(folder / ONNX, model, crop)}")
    if options.torch_export:
        to_torch_export(model, folder / TORCH_EXPORT, crop)
    names = ", ".join(path.name for path in entries(folder))
    print(f"{info.name}{_rank(info)} is in {folder}: {names}")
    print("load it, here or anywhere:\n")
    print(f"    import designspace\n    model = designspace.load({str(folder)!r})")


def _chosen(options: Options) -> tuple[AnyNet, ModelInfo]:
    """The model that was asked for, and what is known about it."""
    if options.model is not None and options.run is None:
        model = create_model(options.model, options.weights or False)
        return model, model.weights or published_info(options.model, None)
    if options.run is None or options.model is not None:
        raise InputError("either run=... or model=... must be given, and not both; see --help")
    model = load(options.run, rank=options.rank if options.id is None else None, id=options.id)
    assert model.weights is not None
    return model, model.weights


def _rank(info: ModelInfo) -> str:
    """Rank and error of a run's network in brackets."""
    if info.selection is None or info.result is None:
        return ""
    mean = f", {info.seeds.kind} {info.seeds.final_mean:.2f}%" if info.seeds else ""
    count = counted(info.selection.done, "trained network")
    return f" (rank {info.selection.rank} of {count}, error {info.result.final_error:.2f}%{mean})"


def _compared(path: Path, model: AnyNet, crop: int) -> str:
    """How far an ONNX file is from torch, in words."""
    try:
        worst = check_onnx(path, model, [(1, crop, crop), (3, crop + 11, crop + 3)])
    except InputError as error:
        return f"not compared with torch: {error}"
    return f"its logits differ from torch's by {worst:.1e} of the largest one at most (1 and 3 images, two sizes)"


if __name__ == "__main__":
    app.main("export", run)
