"""Learning curves for TensorBoard, with one value per epoch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.support.errors import RunError
from designspace.trials.trial import EpochRecord

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter


class EventFile:
    """A new event file in a folder that may have others, from before an interruption.

    The others' events of epoch ``first`` and later are ignored: TensorBoard drops them when it reads the beginning of
    this file. A curve therefore neither repeats an epoch nor jumps back.

    Raises:
        RunError: the file cannot be written. Every method may raise it.
    """

    def __init__(self, folder: Path, first: int) -> None:
        # Imported late because only one of many processes that train together writes events.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._folder = folder
        self._event: Any = event_pb2.Event
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads the files in the order of their names, which by default only contain whole seconds.
            self._writer: EventsWriter = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        except OSError as error:
            raise self._failed(error) from error
        session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(self._event(wall_time=time.time(), step=first, session_log=session))

    def add(self, record: EpochRecord, images: int) -> None:
        """Write the values of an epoch with ``images`` training images; the step is the number of the epoch."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = {
            "loss/train": record.train_loss,
            "error/train": record.train_error,
            "error/test": record.test_error,
            "error/heldout": record.heldout_error,
            "learning_rate": record.lr,
            "images_per_s": images / record.wall_s if record.wall_s else None,
        }
        summaries = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value is not None]
        self._write(self._event(wall_time=time.time(), step=record.epoch, summary=Summary(value=summaries)))

    def flush(self) -> None:
        """Write all pending events to the file."""
        try:
            self._writer.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file."""
        try:
            self._writer.close()
        except OSError as error:
            raise self._failed(error) from error

    def _write(self, event: Any) -> None:
        try:
            self._writer.write_event(event)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RunError:
        return RunError(f"cannot write below {self._folder}: {error.strerror or error}")
