"""Tests of CIFAR with small archives of the same layout, because the real ones are too large to keep here."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from designspace.data import cifar, facts, load, prepare
from designspace.support.errors import RunError

KINDS = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}


def tar_gz(members):
    """Return a tar.gz archive of members by name."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def make_batches(data_set, count):
    """Return images (N, 3, 32, 32) and labels of each member of an archive, the test images last."""
    random = np.random.default_rng(0)
    classes = len(data_set.classes)
    members = len(data_set.archives[0].train) + 1
    return [
        (random.integers(0, 256, (count, 3, 32, 32), np.uint8), random.integers(0, classes, count).tolist())
        for _ in range(members)
    ]


def contents(archive, batches_of_members):
    """Return the members of an archive in the published format."""
    names = [*archive.train, archive.test]
    if archive.file.endswith("python.tar.gz"):
        return {
            name: pickle.dumps({b"data": images.reshape(-1, 3072), archive.labels: labels, b"filenames": [b"a.png"]}, 2)
            for name, (images, labels) in zip(names, batches_of_members, strict=True)
        }
    groups = [[7]] * archive.labels  # CIFAR-100 has the label of the superclass before that of the class
    return {
        name: b"".join(
            bytes([*(group[0] for group in groups), label]) + image.tobytes()
            for image, label in zip(images, labels, strict=True)
        )
        for name, (images, labels) in zip(names, batches_of_members, strict=True)
    }


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A function that replaces the archives of a data set by small ones, and returns their bytes and the images."""

    def publish(name, change=lambda members: members):
        data_set = KINDS[name]
        batches_of_members = make_batches(data_set, 6)
        packed = {a.file: tar_gz(change(contents(a, batches_of_members))) for a in data_set.archives}
        archives = tuple(a._replace(sha256=hashlib.sha256(packed[a.file]).hexdigest()) for a in data_set.archives)
        small = data_set._replace(archives=archives, images=(6 * (len(batches_of_members) - 1), 6))
        monkeypatch.setattr(cifar, "ADDRESS", (tmp_path / "web").as_uri() + "/")
        from designspace.data import catalog

        monkeypatch.setitem(catalog._DATA_SETS, name, catalog._cifar_data_set(small))
        return packed, batches_of_members

    return publish


def put(folder, packed, *files):
    folder.mkdir(parents=True, exist_ok=True)
    for file in files or packed:
        (folder / file).write_bytes(packed[file])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["binary", "python"])
def test_either_archive_can_be_loaded(published, tmp_path, name, kind):
    packed, batches_of_members = published(name)
    put(tmp_path / name, packed, *(file for file in packed if kind in file))
    images = load(name, tmp_path)
    np.testing.assert_array_equal(
        images.train_images, np.concatenate([pixels for pixels, _ in batches_of_members[:-1]])
    )
    assert images.train_labels.tolist() == [label for _, labels in batches_of_members[:-1] for label in labels]
    np.testing.assert_array_equal(images.test_images, batches_of_members[-1][0])
    assert images.test_labels.tolist() == batches_of_members[-1][1]
    assert (images.shape, images.num_classes) == ((3, 32, 32), len(KINDS[name].classes))
    assert facts(name)[:2] == (images.mean, images.std)


def test_the_classes_are_the_published_ones():
    assert len(set(cifar.CIFAR100.classes)) == 100
    assert list(cifar.CIFAR100.classes) == sorted(cifar.CIFAR100.classes)
    assert len(cifar.CIFAR10.classes) == 10
    for data_set in KINDS.values():
        assert data_set.images == (50_000, 10_000)
        assert all(len(archive.sha256) == 64 for archive in data_set.archives)


def test_prepare_fetches_the_second_archive_if_the_first_is_unavailable(published, tmp_path):
    packed, _ = published("cifar10")
    binary, python = packed
    put(tmp_path / "web", packed, python)
    assert prepare("cifar10", tmp_path / "a") == tmp_path / "a" / "cifar10"
    assert [path.name for path in (tmp_path / "a" / "cifar10").iterdir()] == [python]
    put(tmp_path / "web", packed)
    prepare("cifar10", tmp_path / "b")
    assert [path.name for path in (tmp_path / "b" / "cifar10").iterdir()] == [binary]
    load("cifar10", tmp_path / "a")
    load("cifar10", tmp_path / "b")


def test_an_archive_put_there_by_hand_is_used(published, tmp_path):
    packed, _ = published("cifar100")
    put(tmp_path / "cifar100", packed, "cifar-100-python.tar.gz")
    assert prepare("cifar100", tmp_path) == tmp_path / "cifar100"
    load("cifar100", tmp_path)


def test_the_error_names_missing_archives(published, tmp_path):
    packed, _ = published("cifar10")
    with pytest.raises(RunError, match=r"cifar-10-binary.tar.gz is missing; run: .*prepare data=cifar10"):
        load("cifar10", tmp_path)
    with pytest.raises(RunError) as caught:
        prepare("cifar10", tmp_path)
    for word in (
        *packed,
        "by hand",
        str(tmp_path / "cifar10"),
        hashlib.sha256(packed["cifar-10-binary.tar.gz"]).hexdigest(),
    ):
        assert word in str(caught.value)


def test_a_damaged_archive_is_reported_and_fetched_again(published, tmp_path):
    packed, _ = published("cifar10")
    put(tmp_path / "web", packed)
    file = "cifar-10-binary.tar.gz"
    for content in (b"", packed[file][:-5], b"<html>"):
        put(tmp_path / "cifar10", {file: content})
        with pytest.raises(RunError, match=r"is damaged: it is not the published file: its SHA-256 is .*prepare"):
            load("cifar10", tmp_path)
        prepare("cifar10", tmp_path)
        load("cifar10", tmp_path)


def test_a_damaged_archive_beside_an_intact_one_is_ignored(published, tmp_path):
    packed, _ = published("cifar10")
    put(tmp_path / "cifar10", packed | {"cifar-10-binary.tar.gz": b"cut"})
    load("cifar10", tmp_path)


class Harm:
    def __reduce__(self):
        return print, ("this must not be printed",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: dict(list(members.items())[1:]), "is not in it"),
        (lambda members: members | dict.fromkeys(list(members)[:1], b""), "images|not a pickle"),
        (
            lambda members: members | {name: members[name][:-1] for name in list(members)[:1]},
            "does not consist of|not a pickle",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["binary", "python"])
def test_archives_with_other_content_are_refused(published, tmp_path, kind, change, message):
    """Even with the right digest, the content is checked."""
    packed, _ = published("cifar10", change)
    put(tmp_path / "cifar10", packed, *(file for file in packed if kind in file))
    with pytest.raises(RunError, match=f"is damaged: .*({message})"):
        load("cifar10", tmp_path)


def test_no_code_in_a_pickle_is_run(published, tmp_path, capsys):
    packed, _ = published(
        "cifar10", lambda members: members | {next(iter(members)): pickle.dumps({b"data": Harm()}, 2)}
    )
    put(tmp_path / "cifar10", packed, "cifar-10-python.tar.gz")
    with pytest.raises(RunError, match=r"it refers to __builtin__.print, which images and labels do not need"):
        load("cifar10", tmp_path)
    assert capsys.readouterr().out == ""


def test_links_in_an_archive_are_not_followed(tmp_path):
    archive = KINDS["cifar10"].archives[0]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in (*archive.train, archive.test):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    path = tmp_path / "links.tar.gz"
    path.write_bytes(content.getvalue())
    with pytest.raises(cifar.BadContent, match="is not in it"):
        cifar._read_members(path, archive)
