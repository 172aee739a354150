"""Models as files for other programs: ONNX, and the programs of ``torch.export``.

Both take images of any batch size and any height and width, as the module does, prepared as for the module.
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
"""Average pools whose windows hang over the border are right in onnxruntime from version 19 on."""
INPUT, OUTPUT = "images", "logits"
EXTRA = "pip install onnx onnxscript onnxruntime"
"""What the extra ``export`` of the package is."""


def to_onnx(model: AnyNet, path: Path) -> None:
    """Write a model in evaluation mode as ONNX: ``images`` (N, C, H, W) float32 -> ``logits`` (N, num_classes).

    N, H and W are free. The file holds the weights. The model stays as it is: device, mode, memory format and hooks.

    Raises:
        InputError: a package that the exporter needs is not installed.
        RunError: the file cannot be written.
    """
    check_onnx_packages()
    # Larger than the product of the strides, so that no map is of one pixel: the exporter takes such a size as fixed.
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
    """Compare an ONNX file with the module that it was made from, as onnxruntime computes it on the CPU.

    Args:
        path: the file.
        model: the module; it is compared in evaluation mode, and stays as it is.
        sizes: batch size, height and width of each comparison.

    Returns:
        The largest difference of a logit, as a part of the largest logit of its comparison.

    Raises:
        InputError: onnxruntime is not installed.
        RunError: onnxruntime refuses the file.
    """
    runtime = _package("onnxruntime", "checking an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; else it warns of every device that it does not find
    reference = _copy(model)
    content = read_bytes(path)
    worst = 0.0
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for batch, height, width in sizes:
            images = _images(model, batch, height, width)
            with torch.inference_mode():
                expected = reference(images)
            given = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
            worst = max(worst, float((given - expected).abs().max() / expected.abs().max()))
    except Exception as error:  # onnxruntime's own kinds derive from it alone
        raise RunError(f"onnxruntime cannot run {path}: {error}") from error
    return worst


def to_torch_export(model: AnyNet, path: Path, resolution: int = 224) -> None:
    """Write a model in evaluation mode as a program that ``torch.export.load`` reads, on the CPU in float32.

    It takes any batch size and any height and width at which the same maps have more than one pixel as at square images
    of ``resolution`` pixels; torch refuses others. The model stays as it is.

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
    """Raise `InputError` unless what `to_onnx` needs is installed."""
    for name in ("onnx", "onnxscript"):
        _package(name, "writing ONNX")


def _package(name: str, what_for: str) -> Any:
    """Import an optional package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{what_for} needs the package {name}: {EXTRA}") from error


def _copy(model: AnyNet) -> AnyNet:
    """A copy to take apart: on the CPU, float32, contiguous, in evaluation mode, without the hooks of its owner."""
    copied = copy.deepcopy(model).to("cpu", torch.float32, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    evaluated: AnyNet = copied.eval()
    return evaluated


def _images(model: AnyNet, batch: int, height: int, width: int) -> Tensor:
    """Noise in the place of prepared images, the same every time: (batch, in_channels, height, width)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, model.network.in_channels, height, width, generator=generator)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a warning that torch gives of its own code (2.13, copying the description of a program's arguments)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        yield
