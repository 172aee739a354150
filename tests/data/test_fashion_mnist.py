"""Fetching and reading Fashion-MNIST.

Small files replace the real ones, except in the last test: this is one of the two test files that need the real images.
"""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from designspace.data import counts, facts, fashion_mnist, load, prepare
from designspace.support.errors import RunError


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Arrays, and small packed files by name that replace the published ones; no source can be reached."""
    random = np.random.default_rng(0)
    arrays = {
        "train_images": random.integers(0, 256, (20, 28, 28), np.uint8),
        "train_labels": np.arange(20, dtype=np.uint8) % 10,
        "test_images": random.integers(0, 256, (10, 28, 28), np.uint8),
        "test_labels": np.arange(10, dtype=np.uint8),
    }
    files = {}
    for part, file in fashion_mnist.FILES.items():
        content = idx(arrays[part])
        small = file._replace(size=len(content), sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(fashion_mnist.FILES, part, small)
        files[f"{file.name}.gz"] = gzip.compress(content)
    monkeypatch.setattr(fashion_mnist, "ADDRESSES", ((tmp_path / "nowhere").as_uri() + "/",))
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    return arrays, files


@pytest.fixture
def root(published, tmp_path):
    """A folder of data sets that holds the published files."""
    put(published[1], tmp_path / "root" / "fashion_mnist")
    return tmp_path / "root"


def put(files, folder):
    folder.mkdir(parents=True)
    for name, packed in files.items():
        (folder / name).write_bytes(packed)


def program(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    (folder / name).chmod(0o755)


def test_published_files_are_those_of_the_authors():
    sizes = {part: (file.size, file.header) for part, file in fashion_mnist.FILES.items()}
    assert sizes == {
        "train_images": (16 + 60000 * 784, 16),
        "train_labels": (8 + 60000, 8),
        "test_images": (16 + 10000 * 784, 16),
        "test_labels": (8 + 10000, 8),
    }


def test_load_returns_the_published_arrays(published, root):
    data = load("fashion_mnist", root)
    for part, array in published[0].items():
        loaded = getattr(data, part)
        np.testing.assert_array_equal(loaded, array[:, None] if "images" in part else array)
    assert (data.name, data.shape, data.num_classes) == ("fashion_mnist", (1, 28, 28), 10)
    part = load("fashion_mnist", root, train_images=10, test_images=5)
    assert sorted(part.train_labels) == [*range(10)]
    assert len(part.test_labels) == 5


def test_unpacked_copies_are_used_only_if_they_are_intact(published, root, monkeypatch):
    expected = load("fashion_mnist", root).train_images
    copy = root / "fashion_mnist" / "train-images-idx3-ubyte"
    content = copy.read_bytes()
    copy.write_bytes(bytes(len(content)))
    np.testing.assert_array_equal(load("fashion_mnist", root).train_images, expected)
    assert copy.read_bytes() == content
    monkeypatch.setattr(fashion_mnist.gzip, "decompress", None)
    np.testing.assert_array_equal(load("fashion_mnist", root).train_images, expected)


def test_files_can_be_read_from_a_folder_that_cannot_be_written_to(published, root, monkeypatch):
    def fail(path, data):
        raise RunError(f"cannot write {path}") from OSError("read-only file system")

    monkeypatch.setattr(fashion_mnist, "write_bytes", fail)
    assert len(load("fashion_mnist", root).train_labels) == 20


def test_load_names_the_missing_file_and_downloads_nothing(published, tmp_path, monkeypatch):
    put(published[1], tmp_path / "source")
    monkeypatch.setattr(fashion_mnist, "ADDRESSES", ((tmp_path / "source").as_uri() + "/",))
    with pytest.raises(RunError, match=r"train-images.*\.gz is missing; run: .*designspace.prepare data=fashion_mnist"):
        load("fashion_mnist", tmp_path / "root")
    assert not (tmp_path / "root").exists()


DAMAGES = {
    "cut off": (lambda packed: packed[:-20], "not a complete gzip file"),
    "cut to nothing": (lambda packed: b"", "has 0 bytes"),
    "another file": (lambda packed: b"<html>not found</html>", "not a complete gzip file"),
    "a bit flipped": (lambda packed: packed[:-5] + bytes([packed[-5] ^ 1]) + packed[-4:], "not a complete gzip file"),
    "another content": (
        lambda packed: gzip.compress(gzip.decompress(packed)[:-1] + b"\xff"),
        "not the published file: its SHA-256 differs",
    ),
    "longer": (lambda packed: gzip.compress(gzip.decompress(packed) + b"\0"), "has 19 bytes, not 18"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named_and_replaced(published, root, tmp_path, monkeypatch, damage):
    change, message = DAMAGES[damage]
    path = root / "fashion_mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(RunError, match=f"t10k-labels.*is damaged.*{message}.*designspace.prepare data=fashion_mnist"):
        load("fashion_mnist", root)
    put(published[1], tmp_path / "source")
    monkeypatch.setattr(fashion_mnist, "ADDRESSES", ((tmp_path / "source").as_uri() + "/",))
    good = root / "fashion_mnist" / "t10k-images-idx3-ubyte.gz"
    untouched = good.stat().st_mtime_ns
    assert prepare("fashion_mnist", root) == root / "fashion_mnist"
    assert good.stat().st_mtime_ns == untouched
    load("fashion_mnist", root)


def test_prepare_keeps_intact_files_and_needs_no_source(root):
    assert prepare("fashion_mnist", root) == root / "fashion_mnist"


def test_the_mirror_provides_files_that_are_missing_or_damaged_at_the_first_address(published, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    put({**published[1], "t10k-images-idx3-ubyte.gz": b"half a fi"}, first)
    put(published[1], second)
    monkeypatch.setattr(fashion_mnist, "ADDRESSES", (first.as_uri() + "/", second.as_uri() + "/"))
    prepare("fashion_mnist", tmp_path / "root")
    load("fashion_mnist", tmp_path / "root")


def test_the_error_lists_all_sources_and_files_if_none_can_be_reached(published, tmp_path):
    with pytest.raises(RunError) as caught:
        prepare("fashion_mnist", tmp_path / "root")
    message = str(caught.value)
    for part in ("nowhere", "apt-get (dataset-fashion-mnist)", "by hand", str(tmp_path / "root" / "fashion_mnist")):
        assert part in message
    for name, file in zip(published[1], fashion_mnist.FILES.values(), strict=True):
        assert name in message
        assert file.sha256 in message


@pytest.mark.parametrize("lists", ["there", "missing"])
def test_files_are_taken_from_the_debian_package(published, tmp_path, monkeypatch, lists):
    put(published[1], tmp_path / "package" / "usr" / "share" / "datasets" / "fashion-mnist")
    programs = tmp_path / "programs"
    # Imitates an apt-get without package lists, until they are fetched into a temporary folder.
    program(
        programs,
        "apt-get",
        f"""
        case "$*" in
            "download dataset-fashion-mnist") test {lists} = there || exit 100 ;;
            *Dir::State=*Dir::Cache=*update) touch updated; exit 0 ;;
            *Dir::State=*download*) test -e updated || exit 100 ;;
        esac
        touch dataset-fashion-mnist_0_all.deb""",
    )
    program(programs, "dpkg-deb", f'test "$1" = --extract && test -e "$2" && cp -r {tmp_path}/package "$3"')
    monkeypatch.setenv("PATH", str(programs))
    prepare("fashion_mnist", tmp_path / "root")
    load("fashion_mnist", tmp_path / "root")
    assert sorted(path.name for path in (tmp_path / "root" / "fashion_mnist").glob("*.gz")) == sorted(published[1])


def test_the_error_output_of_apt_is_reported(published, tmp_path, monkeypatch):
    program(tmp_path / "programs", "apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    with pytest.raises(RunError, match=r"apt-get .*failed: E: Unable to locate package"):
        prepare("fashion_mnist", tmp_path / "root")


def test_facts_match_the_images(fashion_mnist):
    images = load("fashion_mnist", fashion_mnist)
    mean, std, classes = facts("fashion_mnist")
    assert (mean, std) == (images.mean, images.std)
    assert counts("fashion_mnist") == (len(images.train_images), len(images.test_images))
    assert len(classes) == images.num_classes
    pixels = images.train_images / 255
    assert (pixels.mean(), pixels.std()) == (pytest.approx(mean[0], abs=1e-5), pytest.approx(std[0], abs=1e-5))
