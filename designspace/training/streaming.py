"""Rows of a large array of images: indexed on the device, or read ahead from the host while the device computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import torch
from torch import Tensor

_AHEAD = 3
"""Number of picks that are being read or copied ahead."""
_READERS = 8
"""Number of reading threads, several because parallel reads from disks and networks are faster."""


def rows(images: Tensor, picks: Sequence[Tensor], device: torch.device) -> Generator[Tensor]:
    """Yield the rows of each pick, one pick after the other, on a device.

    Args:
        images: uint8, uint16 or float32, (N, C, H, W), on the device or on the host, where they may be mapped from a
            file.
        picks: indices, each (n,), on the host.
        device: the device of the rows.

    Yields:
        Rows of the images' type; of uint16, whose operations torch does not have on all devices, the same values as
        float32.
    """
    is_wide = images.dtype == torch.uint16
    source = images.view(torch.int16) if is_wide else images
    read = _on_device if images.device == device else _ahead
    with closing(read(source, picks, device)) as chosen:
        for part in chosen:
            yield (part.to(torch.int32) & 0xFFFF).to(torch.float32) if is_wide else part


def _on_device(images: Tensor, picks: Sequence[Tensor], device: torch.device) -> Generator[Tensor]:
    """Yield rows of images that are on the device."""
    for pick in picks:
        yield images.index_select(0, pick.to(device, non_blocking=True))


def _ahead(images: Tensor, picks: Sequence[Tensor], device: torch.device) -> Generator[Tensor]:
    """Yield rows that a thread reads ahead. Closing the generator ends the thread."""
    ready: queue.Queue[tuple[Tensor, torch.cuda.Event | None] | BaseException] = queue.Queue(1)
    closed = threading.Event()

    def read() -> None:
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)  # the default of a new thread is the first GPU
            for item in _read(images, picks, device):
                ready.put(item)
                if closed.is_set():
                    return
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=read, name="reads images", daemon=True)
    thread.start()
    try:
        for _ in picks:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            on_device, copied = item
            if copied is not None:
                stream = torch.cuda.current_stream(device)
                stream.wait_event(copied)
                on_device.record_stream(stream)  # its memory must not be reused before this stream has read it
            yield on_device
    finally:
        closed.set()
        while thread.is_alive():
            try:
                ready.get(timeout=0.05)
            except queue.Empty:
                continue


def _read(
    images: Tensor, picks: Sequence[Tensor], device: torch.device
) -> Generator[tuple[Tensor, torch.cuda.Event | None]]:
    """Read rows into pinned memory, and copy them to the device asynchronously, on a separate stream."""
    on_gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
    largest = max((len(pick) for pick in picks), default=0)
    buffers = [
        torch.empty((largest, *images.shape[1:]), dtype=images.dtype, pin_memory=on_gpu)
        for _ in range(min(_AHEAD, len(picks)))
    ]
    copied: list[torch.cuda.Event | None] = [None] * len(buffers)
    with ThreadPoolExecutor(_READERS) as readers:
        for number, pick in enumerate(picks):
            buffer = buffers[number % len(buffers)][: len(pick)]
            if (event := copied[number % len(buffers)]) is not None:
                event.synchronize()

            def gather(part: slice, buffer: Tensor = buffer, pick: Tensor = pick) -> None:
                torch.index_select(images, 0, pick[part], out=buffer[part])

            part_size = -(-len(pick) // _READERS)
            list(readers.map(gather, [slice(start, start + part_size) for start in range(0, len(pick), part_size)]))
            if stream is None:
                yield buffer.clone(), None
                continue
            with torch.cuda.stream(stream):
                on_device = buffer.to(device, non_blocking=True)
                event = stream.record_event()
            copied[number % len(buffers)] = event
            yield on_device, event
