"""Tests of ImageNet with small archives (see `imagenet_archives`)."""

import tarfile

import numpy as np
import pytest
from imagenet_archives import CLASSES, TRAIN, VAL, archive_contents, jpeg, table, tar, write_archives
from PIL import Image

from designspace import data
from designspace.data import devkit, imagenet
from designspace.data.find import find_images
from designspace.data.packing import pack
from designspace.data.splits import find_splits
from designspace.support.errors import InputError, RunError


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """A function that writes the archives, some with other contents, and returns their paths."""
    return lambda **others: write_archives(tmp_path / "downloads", monkeypatch, **others)


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_published_archives_have_an_md5():
    assert {archive.file: len(archive.md5) for archive in (imagenet.TRAIN, imagenet.VAL, imagenet.DEVKIT)} == {
        "ILSVRC2012_img_train.tar": 32,
        "ILSVRC2012_img_val.tar": 32,
        "ILSVRC2012_devkit_t12.tar.gz": 32,
    }


def test_images_are_extracted_by_class(archives, tmp_path):
    progress = []
    folder = imagenet.extract(archives(), tmp_path / "root", on_progress=lambda *numbers: progress.append(numbers))
    assert folder == tmp_path / "root" / "imagenet"
    assert listed(folder / "train") == sorted(f"{name}/{name}_{i}.JPEG" for name in CLASSES for i in range(TRAIN))
    assert listed(folder / "val") == sorted(f"{CLASSES[i % 3]}/ILSVRC2012_val_{i + 1:08}.JPEG" for i in range(VAL))
    for i in range(VAL):
        path = folder / "val" / CLASSES[i % 3] / f"ILSVRC2012_val_{i + 1:08}.JPEG"
        assert path.read_bytes() == jpeg(100 + i)
    assert progress[-1] == (18, 18)
    assert find_images("imagenet", tmp_path / "root").classes == tuple(sorted(CLASSES))


def test_packed_imagenet_is_still_tested_on_its_original_images(archives, tmp_path):
    folder = imagenet.extract(archives(), tmp_path / "root")
    pack(find_splits(folder), folder, 8, 1)
    assert data.shape("imagenet", tmp_path / "root").fitting == (3, 8, 3)
    images = data.load("imagenet", tmp_path / "root")
    assert np.bincount(images.train_labels).tolist() == [TRAIN] * 3
    assert len(find_images("imagenet", tmp_path / "root").files) == VAL


def test_repeating_the_call_does_nothing_and_needs_no_archives(archives, tmp_path):
    paths = archives()
    folder = imagenet.extract(paths, tmp_path / "root")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for path in paths:
        path.unlink()
    imagenet.extract([], tmp_path / "root")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_call_is_resumed(archives, tmp_path, monkeypatch):
    paths = archives()
    real = imagenet._write
    for stop in (3, 8, 5):  # images until the interruption: within val, then twice within train
        remaining = stop

        def write(tar, member, target):
            nonlocal remaining
            if not remaining:
                target.write_bytes(b"half")
                raise KeyboardInterrupt
            remaining -= 1
            real(tar, member, target)

        monkeypatch.setattr(imagenet, "_write", write)
        with pytest.raises(KeyboardInterrupt):
            imagenet.extract(paths, tmp_path / "root")
    written = []
    monkeypatch.setattr(
        imagenet, "_write", lambda tar, member, target: (written.append(target), real(tar, member, target))
    )
    folder = imagenet.extract(paths, tmp_path / "root")
    assert len(written) == TRAIN  # the last class
    monkeypatch.undo()
    for path in folder.rglob("*.JPEG"):
        Image.open(path).load()
    assert [path.name for path in folder.rglob(".*") if path.is_dir()] == []


def test_a_folder_of_archives_is_accepted(archives, tmp_path):
    paths = archives()
    imagenet.extract([paths[0].parent], tmp_path / "root")


def test_other_files_are_refused(archives, tmp_path):
    paths = archives()
    for wrong, message in (
        (tmp_path / "a.tar", "a.tar is not an archive of ImageNet; .* takes the files ILSVRC2012_img_train.tar"),
        (tmp_path / "ILSVRC2012_img_val.tar", "ILSVRC2012_img_val.tar is not a file"),
    ):
        with pytest.raises(InputError, match=message):
            imagenet.extract([*paths, wrong], tmp_path / "root")
    with pytest.raises(InputError, match="devkit_t12.tar.gz must be among"):
        imagenet.extract(paths[:2], tmp_path / "root")
    with pytest.raises(InputError, match="img_train.tar must be among"):
        imagenet.extract(paths[1:], tmp_path / "root")


def test_archives_are_checked_unless_check_is_false(archives, tmp_path):
    paths = archives()
    with paths[1].open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(RunError, match=r"img_val.tar is damaged or another file: its MD5 is .*check=false"):
        imagenet.extract(paths, tmp_path / "root")
    imagenet.extract(paths, tmp_path / "root", check=False)


def test_an_archive_is_checked_once(archives, tmp_path, monkeypatch):
    paths = archives()
    imagenet.extract(paths, tmp_path / "root")
    for name in ("train", "val"):
        (tmp_path / "root" / "imagenet" / name).rename(tmp_path / f"away {name}")
    monkeypatch.setattr(imagenet.hashlib, "file_digest", None)
    imagenet.extract(paths, tmp_path / "root")


def special_member(kind, name, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "name", ["../n00000001_1.JPEG", "/tmp/n00000001_1.JPEG", "a/n00000001_1.JPEG", "n00000001_1.sh"]
)
def test_names_that_lead_elsewhere_are_refused(archives, tmp_path, name):
    inner = tar([("n00000001_0.JPEG", jpeg(0)), (name, b"harm")])
    paths = archives(train=tar([("n00000001.tar", inner)]))
    with pytest.raises(
        RunError, match="img_train.tar contains '.*', where only files such as n01440764_18.JPEG are expected"
    ):
        imagenet.extract(paths, tmp_path / "root")
    assert listed(tmp_path / "root" / "imagenet" / "train") == [".n00000001.partial/n00000001_0.JPEG"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("where", ["train", "class", "val"])
def test_links_and_devices_are_refused(archives, tmp_path, kind, where):
    name = {"train": "n00000001.tar", "class": "n00000001_0.JPEG", "val": "ILSVRC2012_val_00000001.JPEG"}[where]
    content = tar([(name, special_member(kind, name, "/etc/passwd"))])
    if where == "class":
        content = tar([("n00000001.tar", content)])
    paths = archives(**{"val" if where == "val" else "train": content})
    with pytest.raises(RunError, match="where only files such as"):
        imagenet.extract(paths, tmp_path / "root")


def test_archives_that_are_cut_off_are_refused(archives, tmp_path):
    complete = archive_contents()
    paths = archives(train=complete["train"][: len(complete["train"]) // 2 + 1000])
    with pytest.raises(RunError, match="cut off|unexpected end"):
        imagenet.extract(paths, tmp_path / "root")
    paths = archives(val=complete["val"][:2048])
    with pytest.raises(RunError, match="cut off|unexpected end"):
        imagenet.extract(paths, tmp_path / "other")
    assert not (tmp_path / "other" / "imagenet" / "val").exists()


def test_missing_images_are_counted(archives, tmp_path):
    inner = [(f"{name}.tar", tar([(f"{name}_{i}.JPEG", jpeg(i)) for i in range(TRAIN - 1)])) for name in CLASSES]
    paths = archives(train=tar(inner))
    with pytest.raises(
        RunError, match="train has 9 images in 3 classes, not 12 in 3; delete the incomplete class folders"
    ):
        imagenet.extract(paths, tmp_path / "root")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(devkit.META, b"no matlab"), (devkit.TRUTH, b"1\n" * VAL)], "is damaged"),
        ([(devkit.META, table()), (devkit.TRUTH, b"1\n")], "it lists the classes of 1 images, not of 6"),
        ([(devkit.META, table()), (devkit.TRUTH, b"4\n" * VAL)], "is damaged: 4 is not in it"),
        ([(devkit.TRUTH, b"1\n" * VAL)], "is damaged: .*meta.mat is not in it"),
        ([(devkit.META, special_member(tarfile.SYMTYPE, devkit.META, "/etc/passwd"))], "meta.mat is not in it"),
    ],
)
def test_a_damaged_devkit_is_refused(archives, tmp_path, members, message):
    paths = archives(devkit=tar(members, "w:gz"))
    with pytest.raises(RunError, match=f"devkit_t12.tar.gz .*{message}"):
        imagenet.extract(paths, tmp_path / "root")


def test_a_devkit_that_is_not_an_archive_is_refused(tmp_path):
    path = tmp_path / "devkit.tar.gz"
    path.write_bytes(b"<html>")
    with pytest.raises(RunError, match=r"devkit.tar.gz is not a complete tar.gz file"):
        devkit.read_devkit(path, 1)
