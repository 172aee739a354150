"""Exports models for other programs: as ONNX, or as a program of ``torch.export``.

Like the module, both accept any batch size and any height and width; images are prepared in the same way.
"""

from __future__ import annotations

import copy
import importlib
import io
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from designspace.models.anynet import AnyNet
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_bytes, write_bytes

OPSET = 20
"""Version of ONNX's operators. From 19 on, onnxruntime computes average pools correctly at the border."""
INPUT, OUTPUT = "images", "logits"
EXTRA = "pip install onnx onnxscript onnxruntime"
"""Command that installs the packages of the extra ``export``."""


def to_onnx(model: AnyNet, path: Path) -> None:
    """Write a model in evaluation mode as ONNX: ``images`` (N, C, H, W) float32 -> ``logits`` (N, num_classes).

    N, H and W are variable. The file contains the weights. The model keeps its device, mode, memory format and hooks.

    Raises:
        InputError: a package that the exporter needs is not installed.
        RunError: the file cannot be written.
    """
    check_onnx_packages()
    # Larger than the product of the strides: the exporter would make the size of a map with a single pixel fixed.
    height = 8 * math.prod(stage.stride for stage in model.network.stages)
    shapes = {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
    with _quiet():
        program = torch.onnx.export(
            _copy(model),
            (_images(model, 2, height, height + height // 2),),
            dynamo=True,
            dynamic_shapes=(shapes,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    write_bytes(path, program.model_proto.SerializeToString())


def check_onnx(path: Path, model: AnyNet, sizes: Iterable[tuple[int, int, int]]) -> float:
    """Compare an ONNX file, run by onnxruntime on the CPU, with the module from which it was exported.

    Args:
        path: the file.
        model: the module; it is compared in evaluation mode, and not changed.
        sizes: batch size, height and width of each comparison.

    Returns:
        The largest difference of a logit, relative to the largest logit of its comparison.

    Raises:
        InputError: onnxruntime is not installed.
        RunError: onnxruntime cannot run the file.
    """
    runtime = onnx_runtime("checking an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only; otherwise it warns about every missing device
    reference = _copy(model)
    content = read_bytes(path)
    worst = 0.0
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for batch, height, width in sizes:
            images = _images(model, batch, height, width)
            with torch.inference_mode():
                expected = reference(images)
            logits = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
            worst = max(worst, float((logits - expected).abs().max() / expected.abs().max()))
    except Exception as error:  # the only base class of onnxruntime's errors
        raise RunError(f"onnxruntime cannot run {path}: {error}") from error
    return worst


def to_torch_export(model: AnyNet, path: Path, resolution: int = 224) -> None:
    """Write a model in evaluation mode as a program that ``torch.export.load`` reads, on the CPU in float32.

    The program accepts any batch size. Height and width must be such that the same maps have more than one pixel as for
    square images of ``resolution`` pixels; torch rejects others. The model is not changed.

    Raises:
        RunError: the file cannot be written.
    """
    with _quiet():
        program = torch.export.export(
            _copy(model),
            (_images(model, 2, resolution, resolution),),
            dynamic_shapes=({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},),
        )
        file = io.BytesIO()
        torch.export.save(program, file)
    write_bytes(path, file.getvalue())


def check_onnx_packages() -> None:
    """Raise `InputError` unless the packages that `to_onnx` needs are installed."""
    for name in ("onnx", "onnxscript"):
        _package(name, "writing ONNX")


def onnx_runtime(purpose: str) -> Any:
    """Return the module ``onnxruntime``.

    Raises:
        InputError: it is not installed; the error says what needs it, which ``purpose`` is.
    """
    return _package("onnxruntime", purpose)


def _package(name: str, purpose: str) -> Any:
    """Import an optional package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{purpose} needs the package {name}: {EXTRA}") from error


def _copy(model: AnyNet) -> AnyNet:
    """Return a copy on the CPU, in float32, contiguous, in evaluation mode, and without hooks."""
    copied = copy.deepcopy(model).to("cpu", torch.float32, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    evaluated: AnyNet = copied.eval()
    return evaluated


def _images(model: AnyNet, batch: int, height: int, width: int) -> Tensor:
    """Return reproducible noise instead of prepared images: (batch, in_channels, height, width)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, model.network.in_channels, height, width, generator=generator)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress a warning about torch's own code (2.13, copying the description of a program's arguments)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        yield
