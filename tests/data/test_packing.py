import fcntl
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from designspace import data
from designspace.data import decoding, packed, packing
from designspace.data.packing import pack
from designspace.data.splits import find_splits
from designspace.support.errors import InputError, RunError


@pytest.fixture
def source(image_folder, tmp_path):
    """A copy of the images."""
    shutil.copytree(image_folder, tmp_path / "images")
    return tmp_path / "images"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".npy"}


def resized(image, size):
    return np.asarray(decoding.resize_square(image, size)).transpose(2, 0, 1)


def reference_pixels(path, size):
    """Crop the centre and resize it, by other calls of Pillow."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def test_images_are_squares_of_the_right_class(image_folder, packed_root):
    images = data.load("flowers", packed_root)
    splits = find_splits(image_folder)
    assert images.shape == (3, 16, 16)
    assert images.num_classes == 2
    for split, listed in splits.items():
        arrays = getattr(images, f"{split}_images")
        assert isinstance(arrays, np.memmap)
        np.testing.assert_array_equal(getattr(images, f"{split}_labels"), listed.labels)
        for i in range(0, len(listed), 7):
            path = listed.path / listed.files[i]
            with Image.open(path) as image:
                width, height = image.size
            if (width - height) % 2 == 0:  # otherwise the centre is between two pixels
                assert abs(arrays[i].astype(int) - reference_pixels(path, 16)).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (300, 7), (75, 90)])
def test_channel_sums_match_the_pixels(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    channels = pixels.reshape(-1, 3).astype(np.int64)
    sums = decoding.channel_sums(Image.fromarray(pixels))
    assert sums.tolist() == [channels.sum(0).tolist(), (channels**2).sum(0).tolist()]


def test_the_number_of_processes_does_not_change_the_bytes(image_folder, packed_root, tmp_path):
    progress = []
    pack(find_splits(image_folder), tmp_path / "one", 16, 1, lambda *numbers: progress.append(numbers))
    assert content(tmp_path / "one") == content(packed_root / "flowers")
    assert progress[0] == (0, 170)
    assert progress[-1] == (170, 170)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        ".packing.lock",
        "packed.json",
        *("test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy"),
    ]


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (900, 900), (64, 64), (30, 200)])
def test_draft_decoding_is_not_visible(tmp_path, size):
    path = tmp_path / "a.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=92)
    with Image.open(path) as image:
        reference = resized(image, 32)
    drafted = resized(decoding.read_image(path, 3, least=decoding.MIN_DRAFT_FACTOR * 32), 32)
    error = ((drafted - reference.astype(float)) ** 2).mean()
    assert error < 255**2 / 10**3.6  # 36 dB


def test_a_killed_call_is_resumed(source, packed_root, tmp_path, monkeypatch):
    """Finished pieces are not decoded again, and the result is that of an uninterrupted call."""
    monkeypatch.setattr(packing, "PIECE", 8)
    monkeypatch.setattr(packed, "PIECE", 8)
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from designspace.data import decoding, packed, packing\n"
        "from designspace.data.splits import find_splits\n"
        "packing.PIECE = packed.PIECE = 8\n"
        "read = decoding.read_image\n"
        "decoding.read_image = lambda *a, **b: (time.sleep(0.02), read(*a, **b))[1]\n"
        "packing.pack(find_splits(Path(sys.argv[1])), Path(sys.argv[2]), 16, 1)\n"
    )
    folder = tmp_path / "flowers"
    process = subprocess.Popen([sys.executable, script, source, folder])
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        journals = list(folder.glob(".packing-*/journal.jsonl"))
        if journals and journals[0].read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished_pieces = journals[0].read_text().count("\n")
    with journals[0].open("a") as file:
        file.write('{"split": "train", "sta')  # a line that was cut off
    with pytest.raises(InputError, match="unknown data set 'flowers'"):
        data.load("flowers", tmp_path)
    decoded_paths = []
    read = decoding.read_image
    monkeypatch.setattr(
        decoding, "read_image", lambda path, *a, **b: (decoded_paths.append(path), read(path, *a, **b))[1]
    )
    pack(find_splits(source), folder, 16, 1)
    assert len(decoded_paths) <= 170 - 8 * finished_pieces
    assert content(folder) == content(packed_root / "flowers")
    packed.check(folder)


def interrupt_packing(monkeypatch, source, folder, size=16, after=1):
    """Pack and interrupt the call after ``after`` pieces."""
    real = packing.decode_all

    def decode_some(work, workers):
        for i, decoded in enumerate(real(work, workers)):
            if i == after:
                raise KeyboardInterrupt
            yield decoded

    with monkeypatch.context() as patch:
        patch.setattr(packing, "decode_all", decode_some)
        with pytest.raises(KeyboardInterrupt):
            pack(find_splits(source), folder, size, 1)


def test_pieces_that_changed_since_an_interrupted_call_are_decoded_again(source, tmp_path, monkeypatch):
    folder = tmp_path / "flowers"
    interrupt_packing(monkeypatch, source, folder, after=2)
    Image.new("RGB", (40, 30), (9, 8, 7)).save(source / "train" / "rose" / "000.png")
    filling = next(folder.glob(".packing-*/train.filling"))
    with filling.open("r+b") as file:
        file.seek(128 + 70 * 768)  # in the second piece
        file.write(b"x")
    pack(find_splits(source), folder, 16, 1)
    pack(find_splits(source), tmp_path / "anew", 16, 1)
    assert content(folder) == content(tmp_path / "anew")
    assert not list(folder.glob(".packing-*/"))


def test_another_size_after_an_interrupted_call_starts_again(source, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "flowers"
    interrupt_packing(monkeypatch, source, folder, size=24)
    with caplog.at_level(logging.INFO):
        pack(find_splits(source), folder, 16, 1)
    assert "left over from packing other images or another size" in caplog.text
    assert data.shape("flowers", tmp_path).size == 16
    assert not list(folder.glob(".packing-*/"))


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("moves", range(7))
def test_a_call_interrupted_while_moving_files_is_finished(source, tmp_path, monkeypatch, moves, broken):
    """The interruption happens after a number of files were moved to their final paths."""
    if broken:
        (source / "train" / "rose" / "003.png").write_bytes(b"")
    folder = tmp_path / "flowers"
    real, count = Path.replace, 0

    def replace(self, target):
        nonlocal count
        if Path(target).parent == folder:
            count += 1
            if count > moves:
                raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        if moves < 5:
            with pytest.raises(KeyboardInterrupt):
                pack(find_splits(source), folder, 8, 1)
            assert not packed.is_packed(folder)
    with monkeypatch.context() as patch:
        if 0 < moves < 5:
            patch.setattr(packing, "_fill", None)  # nothing is decoded again
        pack(find_splits(source), folder, 8, 1)
    packed.check(folder)
    assert data.counts("flowers", tmp_path).train == 150 - broken


def test_unreadable_images_are_left_out_and_named(source, packed_root, tmp_path):
    for name in ("train/rose/000.png", "train/tulip/074.png", "val/rose/005.png"):
        (source / name).write_bytes(b"no image")
    description = pack(find_splits(source), tmp_path / "flowers", 16, 2)
    assert (description.train.images, description.test.images) == (148, 19)
    assert [line.split(": ")[0] for line in description.train.unreadable] == [
        f"cannot read {source / 'train' / name}" for name in ("rose/000.png", "tulip/074.png")
    ]
    assert len(description.test.unreadable) == 1
    part, all_ = data.load("flowers", tmp_path), data.load("flowers", packed_root)
    np.testing.assert_array_equal(part.train_images, all_.train_images[1:-1])
    np.testing.assert_array_equal(part.train_labels, all_.train_labels[1:-1])
    np.testing.assert_array_equal(part.test_labels, np.delete(all_.test_labels, 5))
    np.testing.assert_allclose(part.mean, (part.train_images / 255).mean((0, 2, 3)), atol=1e-6)
    packed.check(tmp_path / "flowers")


def test_a_class_without_a_readable_image_is_an_error(source, tmp_path):
    for path in (source / "val" / "rose").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        RunError, match=r"val: no image of the classes rose can be read; the first error: cannot read .*000"
    ):
        pack(find_splits(source), tmp_path / "flowers", 16, 1)


def test_repeating_the_call_only_checks(image_folder, root, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in (root / "flowers").iterdir() if path.suffix}
    monkeypatch.setattr(packing, "_fill", None)
    progress = []
    pack(find_splits(image_folder), root / "flowers", 16, 1, lambda *numbers: progress.append(numbers))
    assert progress[-1] == (170, 170)
    del before[root / "flowers" / ".packing.lock"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_images_or_another_size_never_overwrite(source, root, image_folder):
    with pytest.raises(InputError, match=r"flowers already holds .*train and .*val at size 16; choose another"):
        pack(find_splits(image_folder), root / "flowers", 24, 1)
    with pytest.raises(InputError, match="already holds other images of"):
        pack(find_splits(source), root / "flowers", 16, 1)


def test_only_one_process_packs_at_a_time(image_folder, tmp_path):
    folder = tmp_path / "flowers"
    folder.mkdir()
    with (folder / ".packing.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process is packing into .*flowers; wait"):
            pack(find_splits(image_folder), folder, 16, 1)
    pack(find_splits(image_folder), folder, 16, 1)


def test_a_full_disk_is_an_error(image_folder, full_disk):
    with pytest.raises(RunError, match="train_images|more space|cannot"):
        pack(find_splits(image_folder), full_disk / "flowers", 64, 1)
    assert not packed.is_packed(full_disk / "flowers")


@pytest.mark.parametrize("size", [0, 7, 5000, 16.0, True, None, "16"])
def test_invalid_sizes_are_refused(image_folder, tmp_path, size):
    with pytest.raises(InputError, match=r"size \(pixels\) must be a whole number from 8 to 1024"):
        pack(find_splits(image_folder), tmp_path / "x", size, 1)
    with pytest.raises(InputError, match="workers must be a whole number >= 1"):
        pack(find_splits(image_folder), tmp_path / "x", 16, 0)


def test_worker_processes_end_when_their_parent_is_killed(source, tmp_path):
    """No worker keeps writing or waits forever."""
    script = tmp_path / "packs.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        "    from designspace.data.packing import pack\n"
        "    from designspace.data.splits import find_splits\n"
        "    pack(find_splits(Path(sys.argv[1])), Path(sys.argv[2]), 512, 2)\n"
    )
    process = subprocess.Popen([sys.executable, script, source, tmp_path / "flowers"], start_new_session=True)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not list((tmp_path / "flowers").glob(".packing-*/train.filling")):
        time.sleep(0.01)
    time.sleep(0.5)
    process.kill()
    process.wait()

    def remaining_processes():
        """Return the processes of that session."""
        paths = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == process.pid and fields[0] != "Z":
                paths.append(path)
        return paths

    while time.monotonic() < deadline and remaining_processes():
        time.sleep(0.05)
    assert remaining_processes() == []
