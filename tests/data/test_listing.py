import os
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from designspace.data.image_folder import ImageFolder, read_image
from designspace.data.listing import CAN_READ_AVIF, EXTENSIONS, describe_left_out
from designspace.support.errors import InputError, RunError


def put(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Two classes of one image each."""
    for name in "ab":
        put(tmp_path / "set" / name / "0.png")
    return tmp_path / "set"


def test_files_that_are_left_out_are_counted_by_suffix(folder):
    for name in ("a/1.heic", "a/2.HEIC", "b/deep/notes.txt", "a/Makefile", "a/.1.jpg", "README.md", "a/.x/1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    put(folder / "loose.png")
    left_out = ImageFolder.of(folder).left_out
    assert left_out == {
        ".heic": 2,
        ".txt": 1,
        ".md": 1,
        "files without a suffix": 1,
        "hidden files": 1,
        "images beside the class folders": 1,
    }
    assert describe_left_out(left_out).startswith("2 .heic, 1 .md, 1 .txt, 1 files without")
    assert describe_left_out({f".{i:03}": 1 for i in range(30)}).endswith("1 .019 and 10 more")
    assert ImageFolder.of(folder).subset(2).left_out == left_out


def test_system_files_are_neither_classes_nor_images(folder):
    for name in ("__MACOSX/a/._0.png", "a/.DS_Store", "b/Thumbs.db", "desktop.ini", "a/._0.png", "a/@eaDir/0.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    listed = ImageFolder.of(folder)
    assert listed.classes == ("a", "b")
    assert len(listed) == 2
    assert listed.left_out == {}


@pytest.mark.parametrize("suffix", [*EXTENSIONS, ".GIF", ".JfIf"])
def test_images_of_every_suffix_are_read(folder, suffix):
    form = {".jfif": "JPEG", ".jpe": "JPEG", ".pgm": "PPM"}.get(suffix.lower())
    put(folder / "a" / f"1{suffix}", format=form)
    listed = ImageFolder.of(folder)
    assert f"a/1{suffix}" in listed.files
    assert abs(np.asarray(read_image(folder / "a" / f"1{suffix}")).astype(int) - 9).max() <= 2


def test_avif_is_listed_if_pillow_can_read_it():
    assert CAN_READ_AVIF == features.check("avif") == (".avif" in EXTENSIONS)


def test_pipes_sockets_and_broken_links_are_left_out(folder, monkeypatch):
    os.mkfifo(folder / "a" / "pipe.jpg")
    (folder / "a" / "to a device.jpg").symlink_to("/dev/zero")
    (folder / "a" / "to nothing.jpg").symlink_to("nothing")
    (folder / "a" / "to itself.jpg").symlink_to("to itself.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(folder / "b")  # because the path of a socket must be short
        listening.bind("s.png")
        listed = ImageFolder.of(folder)
    assert listed.files == ("a/0.png", "b/0.png")
    assert listed.left_out == {"pipes, sockets or devices": 3, "links to nothing": 2}


def test_a_folder_may_be_named_like_an_image(folder):
    put(folder / "b" / "x.jpg" / "1.png")
    assert ImageFolder.of(folder).files == ("a/0.png", "b/0.png", "b/x.jpg/1.png")


def test_links_to_a_folder_above_are_not_followed(folder, tmp_path):
    (folder / "a" / "parent").symlink_to("..")
    (folder / "a" / "root").symlink_to("/")
    (folder / "b" / "deep").mkdir()
    (folder / "b" / "deep" / "b").symlink_to(folder / "b")
    (folder / "all").symlink_to(".")
    (folder / "above").symlink_to(tmp_path)
    listed = ImageFolder.of(folder)
    assert listed.classes == ("a", "b")
    assert listed.files == ("a/0.png", "b/0.png")
    assert listed.left_out == {"links to a folder above": 5}


def test_the_same_image_in_two_classes_is_reported(folder, caplog):
    (folder / "b" / "1.png").symlink_to("../a/0.png")
    assert len(ImageFolder.of(folder)) == 3
    assert "an image is in the folders of two classes, by links, so one of the labels is wrong: " in caplog.text
    assert f"{folder}/a/0.png and {folder}/b/1.png" in caplog.text
    caplog.clear()
    os.link(folder / "a" / "0.png", folder / "b" / "2.png")
    ImageFolder.of(folder)
    assert "an image is in the folders of two classes" in caplog.text
    caplog.clear()
    for name in ("1.png", "2.png"):
        (folder / "b" / name).unlink()
    (folder / "a" / "1.png").symlink_to("0.png")
    assert len(ImageFolder.of(folder)) == 3
    assert caplog.text == ""


def test_names_that_are_not_utf8_are_refused_for_classes_only(folder):
    strange = os.fsdecode(b"caf\xe9")
    put(folder / "a" / strange / f"{strange}.png")
    listed = ImageFolder.of(folder)
    assert len(listed) == 3
    (folder / "a" / strange / f"{strange}.png").write_bytes(b"")
    with pytest.raises(RunError, match=r"cannot read .*set/a/caf\\xe9/caf\\xe9.png: it is not an image"):
        read_image(folder / listed.files[1])
    put(folder / strange / "0.png")
    with pytest.raises(InputError, match=r"set has a class folder whose name is not UTF-8: caf\\xe9; rename it"):
        ImageFolder.of(folder)


def test_a_folder_without_read_permission_is_an_error():
    with tempfile.TemporaryDirectory() as parent:  # the user that root becomes may not enter pytest's own folders
        Path(parent).chmod(0o755)
        folder = Path(parent) / "set"
        for name in "ab":
            put(folder / name / "0.png")
        (folder / "b").chmod(0)
        user = os.geteuid()
        if user == 0:  # root may read every folder
            os.seteuid(65534)
        try:
            with pytest.raises(RunError, match="cannot list the folder .*set/b: Permission denied"):
                ImageFolder.of(folder)
        finally:
            os.seteuid(user)
            (folder / "b").chmod(0o755)
