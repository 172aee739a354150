"""Rows of a large array of images on a device: taken there, or read ahead from the host while the device computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_AHEAD = 3
"""Picks that are being read, or wait for the device."""
_READERS = 8
"""Threads that read: files on disks and networks are faster when several ask at once."""


def rows(images: Tensor, picks: Sequence[Tensor], device: torch.device) -> Generator[Tensor]:
    """Give the rows of each pick, one pick after the other, on a device.

    Args:
        images: uint8, (N, C, H, W): on the device, or on the host, perhaps mapped from a file.
        picks: indices, each (n,), on the host.
        device: where the rows are to be.
    """
    if images.device == device:
        for pick in picks:
            yield images.index_select(0, pick.to(device, non_blocking=True))
        return
    yield from _ahead(images, picks, device)


def _ahead(images: Tensor, picks: Sequence[Tensor], device: torch.device) -> Generator[Tensor]:
    """Give rows that a thread reads ahead. Closing the generator ends the thread."""
    ready: queue.Queue[tuple[Tensor, torch.cuda.Event | None] | BaseException] = queue.Queue(1)
    closed = threading.Event()

    def read() -> None:
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)  # a thread begins with the first GPU
            for found in _read(images, picks, device):
                ready.put(found)
                if closed.is_set():
                    return
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=read, name="reads images", daemon=True)
    thread.start()
    try:
        for _ in picks:
            found = ready.get()
            if isinstance(found, BaseException):
                raise found
            there, copied = found
            if copied is not None:
                stream = torch.cuda.current_stream(device)
                stream.wait_event(copied)
                there.record_stream(stream)  # its memory must not be given away before this stream has read it
            yield there
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
    """Read rows into memory that the device can copy from by itself, and have them copied, on a stream of their own."""
    on_gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
    largest = max((len(pick) for pick in picks), default=0)
    slots = [
        torch.empty((largest, *images.shape[1:]), dtype=images.dtype, pin_memory=on_gpu)
        for _ in range(min(_AHEAD, len(picks)))
    ]
    copied: list[torch.cuda.Event | None] = [None] * len(slots)
    with ThreadPoolExecutor(_READERS) as readers:
        for number, pick in enumerate(picks):
            slot = slots[number % len(slots)][: len(pick)]
            if (event := copied[number % len(slots)]) is not None:
                event.synchronize()

            def gather(part: slice, slot: Tensor = slot, pick: Tensor = pick) -> None:
                torch.index_select(images, 0, pick[part], out=slot[part])

            share = -(-len(pick) // _READERS)
            list(readers.map(gather, [slice(start, start + share) for start in range(0, len(pick), share)]))
            if stream is None:
                yield slot.clone(), None
                continue
            with torch.cuda.stream(stream):
                there = slot.to(device, non_blocking=True)
                event = stream.record_event()
            copied[number % len(slots)] = event
            yield there, event
