"""Runners, which run one network on one device again and again, and time each run."""

from __future__ import annotations

import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from designspace.library.export import INPUT, OUTPUT, onnx_runtime, to_onnx
from designspace.models import AnyNet
from designspace.models.cpu import keep_freed_memory
from designspace.networks.network import Network
from designspace.spaces.costs import Setting
from designspace.support.errors import InputError

SEED = 0
"""Seed of the weights and of the images."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Several runs of one network, one after the other."""

    ms: Sequence[float]
    """Time of each run."""
    mj: float | None = None
    """Energy per run; None if the device does not tell it."""


class Runner(ABC):
    """One network with images on a device, ready to run."""

    @abstractmethod
    def run(self, count: int) -> Runs:
        """Run the network ``count`` times, and return the time of each run, from the images to the logits."""


class CpuRunner(Runner):
    """A torch module on CPUs."""

    def __init__(self, network: Network, setting: Setting, resolution: int) -> None:
        self._model, self._images = _module_and_images(network, setting, resolution, "cpu")

    def run(self, count: int) -> Runs:
        """Run the module; see `Runner`."""
        times = []
        with torch.inference_mode():
            for _ in range(count):
                begin = time.perf_counter()
                self._model(self._images)
                times.append(1000 * (time.perf_counter() - begin))
        return Runs(times)


class CudaRunner(Runner):
    """A torch module on a GPU, timed by the GPU's own events.

    Each run is awaited before the next one starts, so that a time includes the launch of the kernels, as for a single
    request. cudnn chooses its algorithms without trying them (``torch.backends.cudnn.benchmark`` is off by default).
    """

    def __init__(self, network: Network, setting: Setting, resolution: int) -> None:
        self._model, self._images = _module_and_images(network, setting, resolution, "cuda")
        self._meter = _nvml_device()

    def run(self, count: int) -> Runs:
        """Run the module; see `Runner`."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        times = []
        with torch.inference_mode():
            torch.cuda.synchronize()
            energy = self._energy_mj()
            for _ in range(count):
                start.record()
                self._model(self._images)
                end.record()
                end.synchronize()
                times.append(start.elapsed_time(end))
        return Runs(times, None if energy is None else (self._energy_mj() - energy) / count)  # type: ignore[operator]

    def _energy_mj(self) -> float | None:
        """Return the energy that the GPU has taken since its driver was loaded; None if it is not known."""
        if self._meter is None:
            return None
        import pynvml

        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._meter))


class OnnxRunner(Runner):
    """A network as ONNX, run by ONNX Runtime on CPUs."""

    def __init__(self, network: Network, setting: Setting, resolution: int) -> None:
        runtime = onnx_runtime("measuring with ONNX Runtime")
        model = AnyNet(network, SEED).eval()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.log_severity_level = 3  # errors only; otherwise it warns about every missing device
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            to_onnx(model, path)
            self._session: Any = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._images = {INPUT: _images(network, setting, resolution).numpy()}

    def run(self, count: int) -> Runs:
        """Run the session; see `Runner`."""
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            self._session.run([OUTPUT], self._images)
            times.append(1000 * (time.perf_counter() - begin))
        return Runs(times)


_RUNNERS: dict[str, type[CpuRunner] | type[CudaRunner] | type[OnnxRunner]] = {
    "cpu": CpuRunner,
    "cuda": CudaRunner,
    "onnxruntime": OnnxRunner,
}


def open_runner(network: Network, setting: Setting, resolution: int) -> Runner:
    """Build a network with seeded weights and made images (batch, in_channels, resolution, resolution).

    Raises:
        InputError: the network cannot be built, or a package is not installed.
    """
    return _RUNNERS[setting.device](network, setting, resolution)


def check_device(setting: Setting) -> None:
    """Raise unless this machine may be able to measure with a setting.

    Raises:
        InputError: it is not; the error says what is.
    """
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: torch finds no GPU on this machine; choose cpu or onnxruntime")
    if setting.device == "onnxruntime" and setting.precision != "float32":
        raise InputError(f"device=onnxruntime measures float32 only, not {setting.precision}; choose cpu or cuda")
    if setting.device != "cuda" and setting.threads < 1:
        raise InputError(f"device={setting.device} needs at least one thread, not {setting.threads}")


@contextmanager
def with_threads(setting: Setting) -> Iterator[None]:
    """Let torch use the threads of a setting while the block runs."""
    if setting.device != "cpu":
        yield
        return
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gpu_mhz() -> float:
    """Return the clock of the current GPU, in MHz; NaN without pynvml, which torch asks for it."""
    with suppress(ImportError, RuntimeError):
        return float(torch.cuda.clock_rate())
    return float("nan")


def median_ms(runs: Runs) -> float:
    """Return the median time of several runs, in ms."""
    return statistics.median(runs.ms)


def _module_and_images(network: Network, setting: Setting, resolution: int, device: str) -> tuple[AnyNet, Tensor]:
    """Return a module in evaluation mode with images for it."""
    dtype = getattr(torch, setting.precision)
    model = AnyNet(network, SEED).eval().to(device, dtype)
    return model, _images(network, setting, resolution).to(device, dtype)


def _images(network: Network, setting: Setting, resolution: int) -> Tensor:
    """Return reproducible noise instead of prepared images."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(setting.batch, network.in_channels, resolution, resolution, generator=generator)


def _nvml_device() -> Any:
    """Return NVML's handle of the current GPU; None without pynvml, or if the GPU does not count its energy."""
    with suppress(ImportError):
        import pynvml

        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            return handle
    return None
