"""Tests of event files, read by an independent implementation of their format."""

import time

import pytest
from event_files import curves, events
from hypothesis import given, settings
from hypothesis import strategies as st

from designspace.support.errors import RunError
from designspace.training.events import EventFile
from designspace.trials.trial import EpochRecord


def record(epoch, heldout=None, wall_s=2.0):
    return EpochRecord(epoch, 0.1 / epoch, 1.5 / epoch, 50.0 / epoch, 60.0 / epoch, wall_s, heldout)


def write(folder, first, epochs, **options):
    file = EventFile(folder, first)
    for epoch in epochs:
        file.add(record(epoch, **options), 1000)
    file.close()


def test_every_value_of_an_epoch_is_written(tmp_path):
    before = time.time()
    write(tmp_path / "events", 1, [1, 2], heldout=40.0)
    expected = {
        "loss/train": [(1, 1.5), (2, 0.75)],
        "error/train": [(1, 50), (2, 25)],
        "error/test": [(1, 60), (2, 30)],
        "error/heldout": [(1, 40), (2, 40)],
        "learning_rate": [(1, pytest.approx(0.1)), (2, pytest.approx(0.05))],
        "images_per_s": [(1, 500), (2, 500)],
    }
    assert curves(tmp_path / "events") == expected
    (path,) = (tmp_path / "events").iterdir()
    assert all(before - 1 < event.wall_time < time.time() + 1 for event in events(path))


def test_missing_values_are_left_out(tmp_path):
    write(tmp_path, 1, [1], wall_s=0.0)
    assert sorted(curves(tmp_path)) == ["error/test", "error/train", "learning_rate", "loss/train"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
def test_a_repeated_epoch_is_shown_once(tmp_path_factory, sessions):
    """Each session starts at some epoch, at the latest after the last one reached, and lasts some epochs."""
    folder = tmp_path_factory.mktemp("events")
    reached = 0
    for start, count in sessions:
        first = min(start, reached + 1)
        write(folder, first, range(first, first + count))
        reached = first + count - 1
    assert [step for step, _ in curves(folder)["loss/train"]] == list(range(1, reached + 1))


def test_flushed_events_are_in_the_file(tmp_path):
    file = EventFile(tmp_path, 1)
    file.add(record(1), 10)
    file.flush()
    assert curves(tmp_path)["error/test"] == [(1, 60)]
    file.close()


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "events").write_text("")
    with pytest.raises(RunError, match="cannot write below"):
        EventFile(tmp_path / "events", 1)
